"""`realm import` and `realm export`: what others have published, in; what others read, out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from realm.cli.info import print_search_remarks
from realm.cli.options import DiscardOption, ForceOption, KbOption, MaxRamOption, SkipBadOption, WordsOnlyOption
from realm.cli.output import print_estimate, print_skipped, progress_bar, stdout

if TYPE_CHECKING:
    from realm.openqa.exporting import ExportReport
    from realm.openqa.importing import ImportReport

import_ = typer.Typer(help="Make a knowledge base of what others have published.", no_args_is_help=True)
export = typer.Typer(help="Write a knowledge base in other formats.", no_args_is_help=True)

ModelOutOption = Annotated[
    Path | None, typer.Option("--model-out", help="Folder for the model; default: beside, with -model at the end.")
]


def add_to(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.add_typer(import_, name="import")
    app.add_typer(export, name="export")


@import_.command("huggingface")
def from_huggingface(
    folder: Annotated[Path, typer.Argument(help="Folder of a realm-orqa-*-openqa model.")],
    kb: KbOption = Path("kb"),
    model_out: ModelOutOption = None,
    titles: Annotated[
        Path | None, typer.Option(help="Titles of its blocks (titles.tfr); default: those in the folder, if any.")
    ] = None,
    force: ForceOption = False,
) -> None:
    """A model of transformers 4.37.2 with its blocks; its block vectors are taken over, not made anew."""
    from realm.interop.huggingface_folder import HuggingfaceFolder
    from realm.openqa.importing import import_release

    release = HuggingfaceFolder.open(folder, titles)
    with _importing() as show:
        report = import_release(release, kb, model_out, force=force, progress=show)
    _say_imported(report, kb)


@import_.command("google")
def from_google(
    folder: Annotated[Path, typer.Argument(help="Folder of checkpoints, blocks.tfr, titles.tfr, vocab.txt.")],
    kb: KbOption = Path("kb"),
    model_out: ModelOutOption = None,
    checkpoint: Annotated[Path | None, typer.Option(help="The fine-tuned checkpoint, where there are several.")] = None,
    force: ForceOption = False,
) -> None:
    """Google's TensorFlow release with its blocks; its block vectors are taken over, not made anew."""
    from realm.interop.google_folder import GoogleFolder
    from realm.openqa.importing import import_release

    release = GoogleFolder.open(folder, checkpoint)
    with _importing() as show:
        report = import_release(release, kb, model_out, force=force, progress=show)
    _say_imported(report, kb)


@import_.command("dpr")
def from_dpr(
    table: Annotated[Path, typer.Argument(help="psgs_w100.tsv, plain or .gz.")],
    kb: KbOption = Path("kb"),
    model: Annotated[str | None, typer.Option(help="Model folder; default: realm-mini.")] = None,
    skip_bad: SkipBadOption = False,
    max_ram: MaxRamOption = None,
    discard_pending: DiscardOption = False,
    words_only: WordsOnlyOption = False,
) -> None:
    """DPR's passages of Wikipedia, embedded by a model; goes on where it was stopped."""
    from realm.openqa.memory import parse_bytes
    from realm.openqa.model_folder import ModelFolder
    from realm.openqa.passages import import_passages

    max_ram_bytes = None if max_ram is None else parse_bytes(max_ram)
    opened = ModelFolder.open(model)
    with _importing() as show:
        report = import_passages(
            kb,
            table,
            opened,
            skip_bad=skip_bad,
            max_ram_bytes=max_ram_bytes,
            discard_pending=discard_pending,
            words_only=words_only,
            progress=show,
            announce=print_estimate,
        )
    print_skipped(report.skipped)
    _say_imported(report, kb)
    print_search_remarks(report.manifest, kb)


@export.command("huggingface")
def to_huggingface(
    out: Annotated[Path, typer.Argument(help="Folder to be made.")],
    kb: KbOption = Path("kb"),
    force: ForceOption = False,
) -> None:
    """Model, blocks and block vectors as transformers 4.37.2 reads them."""
    from realm.openqa.exporting import export_huggingface

    with _exporting() as show:
        report = export_huggingface(kb, out, force=force, progress=show)
    _say_exported(report, out)


@export.command("blocks")
def to_blocks(
    out: Annotated[Path, typer.Argument(help="A file: .parquet, .jsonl, .jsonl.zst or .jsonl.gz.")],
    kb: KbOption = Path("kb"),
    token_ids: Annotated[bool, typer.Option("--token-ids", help="With word pieces of texts and titles.")] = False,
    force: ForceOption = False,
) -> None:
    """Blocks with ids, titles, texts and offsets, in the order of the vectors."""
    from realm.openqa.exporting import export_blocks

    with _exporting() as show:
        report = export_blocks(kb, out, token_ids=token_ids, force=force, progress=show)
    _say_exported(report, out)


@export.command("vectors")
def to_vectors(
    out: Annotated[Path, typer.Argument(help="A .npy file.")],
    kb: KbOption = Path("kb"),
    force: ForceOption = False,
) -> None:
    """Block vectors as a matrix of 16-bit floats, in the order of the blocks."""
    from realm.openqa.exporting import export_vectors

    with _exporting() as show:
        report = export_vectors(kb, out, force=force, progress=show)
    _say_exported(report, out)


@contextmanager
def _importing() -> Iterator[Callable[[int, int, int, float], None]]:
    with progress_bar("importing", "blocks") as (bar, task):

        def show(done: int, total: int, blocks: int, seconds: float) -> None:
            bar.update(task, completed=done, total=total, rate=blocks / seconds if seconds else None)

        yield show


@contextmanager
def _exporting() -> Iterator[Callable[[int, int, float], None]]:
    with progress_bar("exporting", "rows") as (bar, task):

        def show(done: int, total: int, seconds: float) -> None:
            bar.update(task, completed=done, total=total, rate=done / seconds if seconds else None)

        yield show


def _say_imported(report: ImportReport, kb: Path) -> None:
    rate = f", {report.blocks / report.seconds:,.1f} blocks/s" if report.seconds and report.blocks else ""
    stdout.print(
        f"{kb}: version {report.manifest.version}, {report.documents:,} documents; "
        f"{report.blocks:,} blocks imported{rate}; model {report.manifest.model.name}"
    )


def _say_exported(report: ExportReport, out: Path) -> None:
    stdout.print(f"{out}: {report.rows:,} blocks of version {report.version}")
