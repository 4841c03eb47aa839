"""`realm train passages, negatives, assemble, pack, curves`: what goes into training runs, and what is made of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from realm.cli.options import ForceOption, KbOption, ModelOption, given_path
from realm.cli.output import progress_bar, stdout
from realm.errors import SourceError

if TYPE_CHECKING:
    from realm.records import ReadingExample

# Of `realm.training.hard_negatives`, which is not imported for --help.
By = Literal["words", "vectors", "both"]

_NOT_DRAWN = ("dev_best_step", "dev_held_out_examples", "dev_held_out_masked_pieces")


def add_to(train: typer.Typer) -> None:
    """Add these commands to those of the jobs."""
    for command in (passages, negatives, assemble, pack, curves):
        train.command()(command)


def assemble(
    run: Annotated[Path, typer.Argument(help="Run folder of `realm train pretrain`.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the model.")],
    max_span_width: Annotated[int, typer.Option("--max-span-width", min=1, help="Longest answer in word pieces.")] = 10,
) -> None:
    """Put what pre-training learned into one model that fine-tuning starts from; its reader has yet to learn."""
    from realm.training.pretrain_result import assemble_open_qa

    stdout.print(f"{assemble_open_qa(run, out, max_span_width)}: a model to fine-tune")


def pack(
    embedder_run: Annotated[Path, typer.Argument(help="Run folder of `embedder`, or realm-mini.")],
    reader_run: Annotated[Path, typer.Argument(help="Run folder of `reader` or `finetune`.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for config.json and weights.safetensors.")],
    earlier: Annotated[
        Path | None, typer.Option(help="Average the reader with this run, or realm-mini, which it went on from.")
    ] = None,
    share: Annotated[float, typer.Option(min=0.01, max=1.0, help="Of the later reader in that average.")] = 0.5,
) -> None:
    """Put what two runs learned into one small file of half-precision weights, as realm-mini ships it."""
    from realm.training.packing import pack_runs

    size = pack_runs(embedder_run, reader_run, out, earlier_reader=earlier, share=share)
    stdout.print(f"{out}: {size / 1e6:.1f} MB")


def passages(
    questions: Annotated[Path, typer.Argument(help="Questions with answers; formats as evaluate.")],
    out: Annotated[Path, typer.Option("--out", parser=given_path, metavar="<path>", help="JSON lines to write.")],
    kb: KbOption = Path("kb"),
    model: ModelOption = None,
    by: Annotated[By, typer.Option(help="Look for them by words (BM25), by the model's vectors, or by both.")] = "both",
    depth: Annotated[int, typer.Option(min=1, help="How many passages of a search to look at.")] = 20,
    negatives: Annotated[int, typer.Option(min=0, help="Most hard negatives for each question.")] = 0,
    force: ForceOption = False,
) -> None:
    """Find passages for questions that have answers alone: the best one that holds an answer, for other jobs to use."""
    from realm.corpus.questions import read_questions
    from realm.openqa.ask import OpenQA
    from realm.training.distant_passages import find_passages

    asked = list(read_questions(questions))
    found = find_passages(OpenQA.load(kb, model), asked, by=by, depth=depth, negatives=negatives)
    written, wrong = _write_examples(out, found, len(asked), force=force)
    besides = f", {wrong / written:.1f} hard negatives each" if negatives else ""
    stdout.print(f"{out}: passages for {written:,} of {len(asked):,} questions{besides}")


def negatives(
    examples: Annotated[Path, typer.Argument(help="Questions with their passages: JSON lines or SQuAD JSON.")],
    out: Annotated[Path, typer.Option("--out", parser=given_path, metavar="<path>", help="JSON lines to write.")],
    kb: KbOption = Path("kb"),
    model: ModelOption = None,
    by: Annotated[By, typer.Option(help="Look for them by words (BM25), by the model's vectors, or by both.")] = "both",
    count: Annotated[int, typer.Option(min=1, help="Most for each question.")] = 8,
    skip: Annotated[int, typer.Option(min=0, help="Pass over so many of the best: they may be right.")] = 0,
    depth: Annotated[int, typer.Option(min=1, help="How many passages of a search to look at.")] = 50,
    force: ForceOption = False,
) -> None:
    """Find hard negatives: passages that are like the right one and do not hold the answer, for other jobs to use."""
    from realm.corpus.questions import read_reading_examples
    from realm.openqa.ask import OpenQA
    from realm.training.hard_negatives import mine_hard_negatives

    asked = list(read_reading_examples(examples))
    mined = mine_hard_negatives(OpenQA.load(kb, model), asked, by=by, count=count, skip=skip, depth=depth)
    written, found = _write_examples(out, mined, len(asked), force=force)
    stdout.print(f"{out}: {written:,} questions, {found / written:.1f} hard negatives each")


def _write_examples(
    out: Path, examples: Iterator[ReadingExample | None], asked: int, *, force: bool
) -> tuple[int, int]:
    """Write examples as they come, where there are any; return how many there were, and hard negatives of them."""
    import json
    import time

    from realm.corpus.questions import reading_record
    from realm.interop.staging import staged_file

    begin, written, negatives = time.monotonic(), 0, 0
    with (
        staged_file(out, force=force) as staged,
        staged.open("w", encoding="utf-8") as file,
        progress_bar("searching", "questions", asked) as (bar, task),
    ):
        for done, example in enumerate(examples, start=1):
            if example is not None:
                written += 1
                negatives += len(example.hard_negatives)
                file.write(json.dumps(reading_record(example), ensure_ascii=False) + "\n")
            bar.update(task, completed=done, rate=done / (time.monotonic() - begin))
        if not written:
            raise SourceError(
                f"None of {asked:,} questions has an answer in the passages found. Give a larger --depth, or a "
                "knowledge base that answers them."
            )
    return written, negatives


def curves(
    runs: Annotated[list[Path], typer.Argument(help="Run folders; runs that went on from each other side by side.")],
    out: Annotated[Path, typer.Option("--out", help="The picture, PNG.")],
    figure: Annotated[
        list[str] | None, typer.Option("--figure", help="A figure of the log; several may be given.")
    ] = None,
) -> None:
    """Draw what runs have logged: the loss and all dev figures, unless others are asked for."""
    from realm.evaluation.curves import draw_curves
    from realm.training.log import read_log

    logs = {str(run): read_log(run) for run in runs}
    logged = list(dict.fromkeys(key for lines in logs.values() for line in lines for key in line if key != "step"))
    wanted = figure or ["loss", *(key for key in logged if key.startswith("dev_") and key not in _NOT_DRAWN)]
    if unknown := [key for key in wanted if key not in logged]:
        raise SourceError(f"No run has logged {', '.join(unknown)}; there are {', '.join(sorted(logged))}.")
    figures = {
        key: {
            run: points for run, lines in logs.items() if (points := [(n["step"], n[key]) for n in lines if key in n])
        }
        for key in wanted
    }
    stdout.print(f"{draw_curves(out, figures)}: {', '.join(wanted)}")
