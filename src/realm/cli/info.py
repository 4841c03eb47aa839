"""`realm info`: what is in a knowledge base, and how it is searched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from realm.cli.options import JsonOption, KbOption
from realm.cli.output import print_json, stderr, stdout

if TYPE_CHECKING:
    from realm.openqa.knowledge_base import KnowledgeBase
    from realm.openqa.manifest import Manifest

_VERSIONS_SHOWN = 10


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(info)


def info(
    kb: KbOption = Path("kb"),
    verify: Annotated[bool, typer.Option("--verify", help="Read every file and compare digests.")] = False,
    json: JsonOption = False,
) -> None:
    """Say what is in a knowledge base, and whether it holds together."""
    from realm.openqa.knowledge_base import KnowledgeBase
    from realm.openqa.verification import verify_folder

    base = KnowledgeBase.open(kb)
    if verify:
        verify_folder(kb)
    figures = _figures(base) | {"verified": verify}
    if json:
        print_json(figures)
        return
    for name, value in figures.items():
        if value is None:
            continue
        stdout.print(f"{name:>14}  {_shown(value)}")


def print_search_remarks(manifest: Manifest, kb: Path) -> None:
    """What somebody who made a version should know of its search: that it misses too much, or is not what was asked."""
    if not manifest.is_embedded:
        from realm.openqa.knowledge_base import embed_line

        stderr.print(
            f"{manifest.blocks - manifest.embedded:,} blocks have no vectors: questions are answered by words alone, "
            f"until all are embedded with: {embed_line(kb)}"
        )
        return
    faiss = manifest.faiss
    if faiss is None and manifest.search == "faiss":
        stderr.print("search is exact: FAISS was asked for, and begins at 1,000 blocks")
    if faiss is not None and not faiss.target_reached:
        worst = min(faiss.points, key=lambda point: point.recall)
        stderr.print(
            f"FAISS finds {worst.recall:.1%} of the best {worst.k:,} blocks, less than the {faiss.target:.0%} wanted; "
            "to find all: realm index SOURCE... --search exact"
        )


def _figures(base: KnowledgeBase) -> dict[str, Any]:
    from realm.openqa.knowledge_base import embed_line
    from realm.openqa.pending import read_pending

    manifest, faiss = base.manifest, base.manifest.faiss
    pending = read_pending(base.folder)
    pending_blocks = 0 if pending is None else pending.new_blocks(manifest)
    return {
        "version": manifest.version,
        "documents": manifest.documents,
        "blocks": base.live_blocks,
        "dimensions": manifest.dim,
        "without_vectors": (manifest.blocks - manifest.embedded) or None,
        "embed_with": None if manifest.is_embedded else embed_line(base.folder),
        "model": manifest.model.name,
        "model_digest": manifest.model.digest,
        "vector_bytes": sum(segment.bytes for segment in manifest.segments),
        "dead_blocks": manifest.blocks - base.live_blocks,
        "versions": base.versions(base.folder),
        "search": "exact" if faiss is None else "faiss",
        "search_setting": manifest.search,
        "recall_at_5": None if faiss is None else faiss.recall_at_5,
        "recall_at_5000": None if faiss is None else faiss.recall_at_5000,
        "recall_target": None if faiss is None else faiss.target,
        "target_reached": None if faiss is None else faiss.target_reached,
        "measured_with": None if faiss is None else faiss.probe,
        "hybrid_weight": manifest.hybrid_weight,
        "pending_blocks": pending_blocks or None,
        "pending_run": pending.command_line(base.folder) if pending is not None and pending_blocks else None,
    }


def _shown(value: Any) -> str:
    if type(value) is int:
        return f"{value:,}"
    if isinstance(value, list):
        left_out = f"… {len(value) - _VERSIONS_SHOWN:,} older, " if len(value) > _VERSIONS_SHOWN else ""
        return left_out + ", ".join(str(one) for one in value[-_VERSIONS_SHOWN:])
    return str(value)
