"""`realm index`, `remove`, `info` and `compact`: what is in a knowledge base, and how it is kept fresh."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from realm.cli.options import JsonOption, KbOption
from realm.cli.output import print_json, progress_bar, stderr, stdout
from realm.errors import UsageError

if TYPE_CHECKING:
    from realm.openqa.index_report import IndexReport
    from realm.openqa.knowledge_base import KnowledgeBase
    from realm.openqa.model_folder import ModelFolder

_VERSIONS_SHOWN = 10


def add_to(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command()(index)
    app.command()(remove)
    app.command()(info)
    app.command()(compact)


def index(
    sources: Annotated[list[Path], typer.Argument(help="Files and folders of documents.")],
    kb: KbOption = Path("kb"),
    model: Annotated[str | None, typer.Option(help="Model folder; default: realm-mini.")] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave unreadable records out.")] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Remove documents that the sources do not have.")] = False,
    max_ram: Annotated[str | None, typer.Option(help="Most memory to take, such as 2GB.")] = None,
    search: Annotated[str | None, typer.Option(help="From now on: exact, faiss, or auto (by size).")] = None,
    hybrid_weight: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="From now on, the share of the words in finding passages: 0 is none."),
    ] = None,
) -> None:
    """Make or update a knowledge base; only new and changed documents are embedded.

    A run that is stopped is gone on with by the same line.
    """
    from realm.openqa.manifest import SEARCHES
    from realm.openqa.memory import parse_bytes
    from realm.openqa.model_folder import ModelFolder

    if search is not None and search not in SEARCHES:
        raise UsageError(f"--search takes one of {', '.join(SEARCHES)}; found {search!r}.")
    max_ram_bytes = None if max_ram is None else parse_bytes(max_ram)
    report = index_with_progress(
        kb,
        sources,
        ModelFolder.open(model),
        skip_bad=skip_bad,
        prune=prune,
        max_ram_bytes=max_ram_bytes,
        search=search,
        hybrid_weight=hybrid_weight,
    )
    print_index_report(report, kb)


def remove(
    ids: Annotated[list[str], typer.Argument(help="Document ids.")],
    kb: KbOption = Path("kb"),
) -> None:
    """Take documents out of a knowledge base."""
    from realm.openqa.indexing import remove_documents

    removed, manifest = remove_documents(kb, ids)
    stdout.print(f"removed {removed} of {len(set(ids))} documents; {kb} is now version {manifest.version}")


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


def compact(
    kb: KbOption = Path("kb"),
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Make search indexes anew from the vectors.")] = False,
) -> None:
    """Drop old versions of a knowledge base, and everything that only they need."""
    from realm.openqa.compaction import compact as compact_folder
    from realm.openqa.memory import format_bytes

    with progress_bar("compacting", "") as (bar, task):
        report = compact_folder(
            kb, rebuild=rebuild, progress=lambda part: bar.update(task, description=f"compacting {part}")
        )
        bar.update(task, total=1, completed=1, description="compacting")
    _print_discarded(report.discarded_blocks)
    stdout.print(
        f"{kb}: version {report.manifest.version}, {report.dropped_versions:,} old versions and "
        f"{report.dropped_blocks:,} old blocks dropped, {format_bytes(max(report.freed_bytes, 0))} freed"
    )


def index_with_progress(
    kb: Path,
    sources: list[Path],
    model: ModelFolder,
    *,
    max_ram_bytes: int | None = None,
    **options: Any,
) -> IndexReport:
    """Index with a bar on standard error, and before long work a line that says how long; see `index_sources`."""
    from realm.openqa.indexing import index_sources

    with progress_bar("indexing", "blocks") as (bar, task):
        is_first = True

        def show(report: IndexReport) -> None:
            nonlocal is_first
            if is_first and report.estimate is not None and report.estimate.is_worth_telling:
                bar.console.print(report.estimate.summary())
            is_first = False
            rate = report.blocks / report.seconds if report.seconds else None
            total = max(report.characters, report.characters_seen)
            bar.update(task, completed=report.characters_seen, total=total, rate=rate)

        return index_sources(
            kb,
            sources,
            model,
            max_ram_bytes=max_ram_bytes,
            # Cutting keeps up with a graphics card only if several do it; a processor's cores have enough to do.
            processes=min(4, os.cpu_count() or 1) if model.device.type == "cuda" and max_ram_bytes is None else 1,
            progress=show,
            **options,
        )


def print_index_report(report: IndexReport, kb: Path) -> None:
    """What a run did, in a few lines."""
    if report.skipped is not None and report.skipped.total:
        stderr.print(report.skipped.summary())
        for example in report.skipped.examples.values():
            stderr.print(f"  first: {example}")
    _print_discarded(report.discarded_blocks)
    rate = f", {report.blocks / report.seconds:,.1f} blocks/s" if report.seconds and report.blocks else ""
    removed = f"{report.removed:,} removed, " if report.removed else ""
    version = report.manifest.version if report.manifest else 0
    stdout.print(
        f"{kb}: version {version}, {report.added:,} documents added, {report.updated:,} updated, {removed}"
        f"{report.unchanged:,} unchanged; {report.blocks:,} blocks embedded{rate}"
    )


def _print_discarded(blocks: int) -> None:
    if blocks > 0:
        stderr.print(f"an unfinished run over other sources was discarded: {blocks:,} blocks of it were embedded")


def _figures(base: KnowledgeBase) -> dict[str, Any]:
    manifest = base.manifest
    return {
        "version": manifest.version,
        "documents": manifest.documents,
        "blocks": base.live_blocks,
        "dimensions": manifest.dim,
        "model": manifest.model.name,
        "model_digest": manifest.model.digest,
        "vector_bytes": sum(segment.bytes for segment in manifest.segments),
        "dead_blocks": manifest.blocks - base.live_blocks,
        "versions": base.versions(base.folder),
        "search": "exact" if manifest.faiss is None else "faiss",
        "recall_at_5": None if manifest.faiss is None else manifest.faiss.recall_at_5,
        "recall_at_5000": None if manifest.faiss is None else manifest.faiss.recall_at_5000,
        "hybrid_weight": manifest.hybrid_weight,
    }


def _shown(value: Any) -> str:
    if type(value) is int:
        return f"{value:,}"
    if isinstance(value, list):
        left_out = f"… {len(value) - _VERSIONS_SHOWN:,} older, " if len(value) > _VERSIONS_SHOWN else ""
        return left_out + ", ".join(str(one) for one in value[-_VERSIONS_SHOWN:])
    return str(value)
