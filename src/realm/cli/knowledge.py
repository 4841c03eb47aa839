"""`realm index`, `realm remove` and `realm info`: what is in a knowledge base."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from realm.cli.output import print_json, progress_bar, stderr, stdout

if TYPE_CHECKING:
    from realm.openqa.indexing import IndexReport
    from realm.openqa.model_folder import ModelFolder

KbOption = Annotated[Path, typer.Option("--kb", help="Folder of the knowledge base.")]


def add_to(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command()(index)
    app.command()(remove)
    app.command()(info)


def index(
    sources: Annotated[list[Path], typer.Argument(help="JSON lines (.jsonl, .zst, .gz), text, Markdown, folders.")],
    kb: KbOption = Path("kb"),
    model: Annotated[str | None, typer.Option(help="Model folder; default: realm-mini.")] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave unreadable records out.")] = False,
) -> None:
    """Make or update a knowledge base; only new and changed documents are embedded."""
    from realm.openqa.model_folder import ModelFolder

    print_index_report(index_with_progress(kb, sources, ModelFolder.open(model), skip_bad), kb)


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
    verify: Annotated[bool, typer.Option("--verify", help="Read every vector file and compare digests.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object and nothing else.")] = False,
) -> None:
    """Say what is in a knowledge base, and whether it holds together."""
    from realm.openqa.knowledge_base import KnowledgeBase

    base = KnowledgeBase.open(kb)
    if verify:
        base.verify()
    manifest = base.manifest
    figures = {
        "version": manifest.version,
        "documents": manifest.documents,
        "blocks": base.live_blocks,
        "dimensions": manifest.dim,
        "model": manifest.model.name,
        "model_digest": manifest.model.digest,
        "vector_bytes": sum(segment.bytes for segment in manifest.segments),
        "verified": verify,
    }
    if json:
        print_json(figures)
        return
    for name, value in figures.items():
        stdout.print(f"{name:>14}  {value:,}" if type(value) is int else f"{name:>14}  {value}")


def index_with_progress(kb: Path, sources: list[Path], model: ModelFolder, skip_bad: bool) -> IndexReport:
    """Index with a bar on standard error."""
    from realm.openqa.indexing import index_sources

    with progress_bar("indexing", "blocks") as (bar, task):

        def show(report: IndexReport) -> None:
            rate = report.blocks / report.seconds if report.seconds else None
            bar.update(task, completed=report.characters_seen, total=report.characters, rate=rate)

        return index_sources(kb, sources, model, skip_bad=skip_bad, progress=show)


def print_index_report(report: IndexReport, kb: Path) -> None:
    """What a run did, in one or two lines."""
    if report.skipped is not None and report.skipped.total:
        stderr.print(report.skipped.summary())
        for example in report.skipped.examples.values():
            stderr.print(f"  first: {example}")
    rate = f", {report.blocks / report.seconds:,.1f} blocks/s" if report.seconds and report.blocks else ""
    version = report.manifest.version if report.manifest else 0
    stdout.print(
        f"{kb}: version {version}, {report.added:,} documents added, {report.updated:,} updated, "
        f"{report.unchanged:,} unchanged; {report.blocks:,} blocks embedded{rate}"
    )
