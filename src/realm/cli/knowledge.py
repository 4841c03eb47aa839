"""`realm index`, `embed`, `remove` and `compact`: how a knowledge base is made and kept fresh."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from realm.cli.info import print_search_remarks
from realm.cli.options import (
    DiscardOption,
    KbOption,
    MaxRamOption,
    SkipBadOption,
    WhereOption,
    WordsOnlyOption,
    given_path,
)
from realm.cli.output import print_estimate, print_skipped, progress_bar, stderr, stdout
from realm.errors import UsageError

if TYPE_CHECKING:
    from realm.openqa.index_report import IndexReport
    from realm.openqa.knowledge_base import KnowledgeBase
    from realm.openqa.model_folder import ModelFolder

_IDS_SHOWN = 10


def add_to(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command()(index)
    app.command()(embed)
    app.command()(remove)
    app.command()(compact)


def index(
    sources: Annotated[list[Path], typer.Argument(parser=given_path, help="Files and folders of documents.")],
    kb: KbOption = Path("kb"),
    model: Annotated[str | None, typer.Option(help="Model folder; default: realm-mini.")] = None,
    skip_bad: SkipBadOption = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove documents that came from these sources and are no longer there.")
    ] = False,
    prune_all: Annotated[
        bool, typer.Option("--prune-all", help="Remove all documents that these sources do not have.")
    ] = False,
    id_prefix: Annotated[
        str, typer.Option(help="Put before every id, to keep apart documents of several folders.", show_default=False)
    ] = "",
    text_column: Annotated[str, typer.Option(help="Field or column of records that holds their text.")] = "text",
    discard_pending: DiscardOption = False,
    max_ram: MaxRamOption = None,
    search: Annotated[str | None, typer.Option(help="From now on: exact, faiss, or auto (by size).")] = None,
    hybrid_weight: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="From now on, the share of the words in finding passages: 0 is none."),
    ] = None,
    words_only: WordsOnlyOption = False,
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
        prune_all=prune_all,
        id_prefix=id_prefix,
        text_column=text_column,
        discard_pending=discard_pending,
        max_ram_bytes=max_ram_bytes,
        search=search,
        hybrid_weight=hybrid_weight,
        words_only=words_only,
    )
    print_index_report(report, kb)


def embed(
    kb: KbOption = Path("kb"),
    discard_pending: DiscardOption = False,
    max_ram: MaxRamOption = None,
) -> None:
    """Embed the passages that were indexed with --words-only, so that they are found by vectors, too.

    A run that is stopped is gone on with by the same line.
    """
    from realm.openqa.late_vectors import embed_blocks
    from realm.openqa.memory import parse_bytes

    with progress_bar("embedding", "blocks") as (bar, task):

        def show(report: IndexReport) -> None:
            if bar.tasks[task].total is None and report.estimate is not None:
                print_estimate(report.estimate)
            rate = report.embedded / report.seconds if report.seconds else None
            bar.update(task, completed=report.embedded, total=report.late, rate=rate)

        report = embed_blocks(
            kb,
            max_ram_bytes=None if max_ram is None else parse_bytes(max_ram),
            discard_pending=discard_pending,
            progress=show,
        )
        if not report.embedded:
            bar.update(task, total=1, completed=1)
    _print_discarded(report.discarded_blocks)
    rate = f", {report.embedded / report.seconds:,.1f} blocks/s" if report.seconds and report.embedded else ""
    version = report.manifest.version if report.manifest else 0
    stdout.print(f"{kb}: version {version}, {report.embedded:,} blocks embedded{rate}")
    if report.manifest is not None:
        print_search_remarks(report.manifest, kb)


def remove(
    ids: Annotated[list[str] | None, typer.Argument(help="Document ids.")] = None,
    kb: KbOption = Path("kb"),
    where: WhereOption = None,
    discard_pending: DiscardOption = False,
) -> None:
    """Take documents out of a knowledge base: those of some ids, or all that fit a condition."""
    from realm.openqa.document_list import list_documents
    from realm.openqa.indexing import remove_documents
    from realm.openqa.knowledge_base import KnowledgeBase

    if (where is None) == (not ids):
        raise UsageError("Give either ids of documents or --where CONDITION. See: realm remove --help")
    base = KnowledgeBase.open(kb)
    asked = list(dict.fromkeys(ids or [])) if where is None else [one.id for one in list_documents(base, where)]
    unknown = _unknown(base, asked) if where is None else []
    if not asked:
        stdout.print(f"no document fits the condition; {kb} is still version {base.manifest.version}")
        return
    if len(unknown) == len(asked):
        raise UsageError(f"{kb} has no document {_named(unknown)}. See: realm list --kb {kb}")
    removed, manifest = remove_documents(kb, asked, discard_pending=discard_pending)
    if unknown:
        stderr.print(f"not there: {_named(unknown)}")
    stdout.print(f"removed {removed:,} of {len(asked):,} documents; {kb} is now version {manifest.version}")


def compact(
    kb: KbOption = Path("kb"),
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Make search indexes anew from the vectors.")] = False,
    discard_pending: DiscardOption = False,
) -> None:
    """Drop old versions of a knowledge base, and everything that only they need."""
    from realm.openqa.compaction import compact as compact_folder
    from realm.openqa.memory import format_bytes

    with progress_bar("compacting", "") as (bar, task):
        report = compact_folder(
            kb,
            rebuild=rebuild,
            discard_pending=discard_pending,
            progress=lambda part: bar.update(task, description=f"compacting {part}"),
        )
        bar.update(task, total=1, completed=1, description="compacting")
    _print_discarded(report.discarded_blocks)
    stdout.print(
        f"{kb}: version {report.manifest.version}, {report.dropped_versions:,} old versions and "
        f"{report.dropped_blocks:,} old blocks dropped, {format_bytes(max(report.freed_bytes, 0))} freed"
    )
    print_search_remarks(report.manifest, kb)


def index_with_progress(
    kb: Path,
    sources: list[Path],
    model: ModelFolder,
    *,
    max_ram_bytes: int | None = None,
    words_only: bool = False,
    **options: Any,
) -> IndexReport:
    """Index with a bar on standard error, and before long work a line that says how long; see `index_sources`."""
    from realm.openqa.indexing import index_sources

    is_free = words_only or model.device.type == "cuda"
    with progress_bar("indexing", "blocks") as (bar, task):
        is_first = True

        def show(report: IndexReport) -> None:
            nonlocal is_first
            if is_first and report.estimate is not None:
                print_estimate(report.estimate)
            is_first = False
            rate = report.blocks / report.seconds if report.seconds else None
            done, total = report.characters_seen, max(report.characters, report.characters_seen)
            if report.late:
                # What there is to do now is counted in blocks, and some of it may have been stored by earlier runs.
                rate = report.embedded / report.seconds
                done, total = report.embedded, report.late
            bar.update(task, completed=done, total=total, rate=rate)

        return index_sources(
            kb,
            sources,
            model,
            max_ram_bytes=max_ram_bytes,
            # Cutting keeps up with a graphics card only if several do it; cores that embed have enough to do.
            processes=min(4, os.cpu_count() or 1) if is_free and max_ram_bytes is None else 1,
            words_only=words_only,
            progress=show,
            **options,
        )


def print_index_report(report: IndexReport, kb: Path) -> None:
    """What a run did, in a few lines."""
    print_skipped(report.skipped)
    _print_discarded(report.discarded_blocks)
    what, blocks = "stored", report.blocks
    if report.manifest is None or report.manifest.is_embedded:
        what, blocks = "embedded", report.embedded
    rate = f", {blocks / report.seconds:,.1f} blocks/s" if report.seconds and blocks else ""
    removed = f"{report.removed:,} removed, " if report.removed else ""
    moved = f" ({report.moved:,} of them moved)" if report.moved else ""
    version = report.manifest.version if report.manifest else 0
    stdout.print(
        f"{kb}: version {version}, {report.added:,} documents added, {report.updated:,} updated, {removed}"
        f"{report.unchanged:,} unchanged{moved}; {blocks:,} blocks {what}{rate}"
    )
    if report.manifest is not None:
        print_search_remarks(report.manifest, kb)


def _print_discarded(blocks: int) -> None:
    if blocks > 0:
        stderr.print(f"an unfinished run of {blocks:,} blocks was discarded")


def _unknown(base: KnowledgeBase, ids: list[str]) -> list[str]:
    known = base.documents.get(ids, with_text=False)
    return [id for id in ids if id not in known]


def _named(ids: list[str]) -> str:
    left_out = f" and {len(ids) - _IDS_SHOWN:,} more" if len(ids) > _IDS_SHOWN else ""
    return ", ".join(map(repr, ids[:_IDS_SHOWN])) + left_out
