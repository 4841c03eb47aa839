"""`realm train`: the training jobs. A new job is one small command that hands its recipe and its job to `_run`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from realm.cli.options import ForceOption, KbOption, ModelOption, given_path
from realm.cli.output import progress_bar, stdout
from realm.errors import RecipeError, SourceError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from realm.training.dev_metric import Evaluate
    from realm.training.embedding_progress import EmbeddingProgress
    from realm.training.job import Job
    from realm.training.job_report import JobReport
    from realm.training.log import Estimate
    from realm.training.recipe import LoopRecipe

    RecipeT = TypeVar("RecipeT", bound=LoopRecipe)
    JobT = TypeVar("JobT", bound=Job)

train = typer.Typer(help="Train a model from a recipe.", no_args_is_help=True)

# Of `realm.training.hard_negatives`, which is not imported for --help.
By = Literal["words", "vectors", "both"]

_NOT_DRAWN = ("dev_best_step", "dev_held_out_examples", "dev_held_out_masked_pieces")

RecipeArgument = Annotated[str, typer.Argument(help="A TOML file, or the name of a built-in recipe.")]
OutOption = Annotated[
    Path, typer.Option("--out", parser=given_path, metavar="<path>", help="Run folder: checkpoint, log, result.")
]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="key=value, over the recipe.")]


def add_to(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.add_typer(train, name="train")


@train.command()
def embedder(recipe: RecipeArgument, out: OutOption, set_: SetOption = None) -> None:
    """Question and block vectors, taught by the trunk's own similarities."""
    from realm.training.embedder import EmbedderJob, EmbedderRecipe

    _run(EmbedderRecipe, lambda chosen, _: EmbedderJob(chosen), recipe, out, set_)


@train.command()
def reader(recipe: RecipeArgument, out: OutOption, set_: SetOption = None) -> None:
    """Answer spans, from questions with marked answers."""
    from realm.training.reader import ReaderJob, ReaderRecipe

    _run(ReaderRecipe, lambda chosen, _: ReaderJob(chosen), recipe, out, set_)


@train.command()
def ict(recipe: RecipeArgument, out: OutOption, set_: SetOption = None) -> None:
    """Question and block vectors without questions: from a sentence, find the block that it was taken from."""
    from realm.training.ict import IctJob
    from realm.training.ict_recipe import IctRecipe

    def measure(_: IctRecipe, job: IctJob) -> Evaluate:
        return job.held_out_figures

    _run(IctRecipe, lambda chosen, report: IctJob(chosen, report=report), recipe, out, set_, measure)


@train.command()
def pretrain(recipe: RecipeArgument, out: OutOption, set_: SetOption = None) -> None:
    """Retriever and encoder together, by filling in names from retrieved blocks. See also `realm refresh`."""
    from realm.training.pretrain import PretrainJob
    from realm.training.pretrain_recipe import PretrainRecipe

    def measure(_: PretrainRecipe, job: PretrainJob) -> Evaluate:
        return job.held_out_figures

    _run(PretrainRecipe, lambda chosen, report: PretrainJob(chosen, out, report=report), recipe, out, set_, measure)


@train.command()
def assemble(
    run: Annotated[Path, typer.Argument(help="Run folder of `realm train pretrain`.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the model.")],
    max_span_width: Annotated[int, typer.Option("--max-span-width", min=1, help="Longest answer in word pieces.")] = 10,
) -> None:
    """Put what pre-training learned into one model that fine-tuning starts from; its reader has yet to learn."""
    from realm.training.pretrain_result import assemble_open_qa

    stdout.print(f"{assemble_open_qa(run, out, max_span_width)}: a model to fine-tune")


@train.command()
def finetune(recipe: RecipeArgument, out: OutOption, set_: SetOption = None) -> None:
    """Retriever and reader together, from questions with answers."""
    from realm.corpus.expressions import ExpressionMatcher
    from realm.evaluation.judging import is_right
    from realm.training.finetune import FinetuneJob
    from realm.training.finetune_recipe import FinetuneRecipe

    matcher = ExpressionMatcher()

    def measure(_: FinetuneRecipe, job: FinetuneJob) -> Evaluate:
        return lambda: job.dev_figures(lambda text, question: is_right(text, question, matcher))

    _run(FinetuneRecipe, lambda chosen, report: FinetuneJob(chosen, out, report=report), recipe, out, set_, measure)


@train.command()
def pack(
    embedder_run: Annotated[Path, typer.Argument(help="Run folder of `embedder`.")],
    reader_run: Annotated[Path, typer.Argument(help="Run folder of `reader` or `finetune`.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for config.json and weights.safetensors.")],
    earlier: Annotated[
        Path | None, typer.Option(help="Average the reader with this run, which it went on from.")
    ] = None,
    share: Annotated[float, typer.Option(min=0.01, max=1.0, help="Of the later reader in that average.")] = 0.5,
) -> None:
    """Put what two runs learned into one small file of half-precision weights, as realm-mini ships it."""
    from realm.training.packing import pack_runs

    size = pack_runs(embedder_run, reader_run, out, earlier_reader=earlier, share=share)
    stdout.print(f"{out}: {size / 1e6:.1f} MB")


@train.command()
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
    import json
    import time

    from realm.corpus.questions import read_reading_examples, reading_record
    from realm.interop.staging import staged_file
    from realm.openqa.ask import OpenQA
    from realm.training.hard_negatives import mine_hard_negatives

    asked = list(read_reading_examples(examples))
    mined = mine_hard_negatives(OpenQA.load(kb, model), asked, by=by, count=count, skip=skip, depth=depth)
    begin, found = time.monotonic(), 0
    with (
        staged_file(out, force=force) as staged,
        staged.open("w", encoding="utf-8") as file,
        progress_bar("searching", "questions", len(asked)) as (bar, task),
    ):
        for done, example in enumerate(mined, start=1):
            found += len(example.hard_negatives)
            file.write(json.dumps(reading_record(example), ensure_ascii=False) + "\n")
            bar.update(task, completed=done, rate=done / (time.monotonic() - begin))
    stdout.print(f"{out}: {len(asked):,} questions, {found / len(asked):.1f} hard negatives each")


@train.command()
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


def _run(
    kind: type[RecipeT],
    make_job: Callable[[RecipeT, JobReport], JobT],
    recipe_name: str,
    out: Path,
    overrides: list[str] | None,
    evaluate_with: Callable[[RecipeT, JobT], Evaluate] | None = None,
) -> None:
    """Train a job in its run folder, or go on with it; under `torchrun`, as one of several processes.

    Args:
        kind: The job's recipe.
        make_job: The job of a recipe, and what it tells while it is made and runs.
        recipe_name: As given by the caller.
        out: The run folder.
        overrides: key=value items.
        evaluate_with: Makes the dev metric of a job, for recipes that ask for one.
    """
    from realm.training.distributed import Processes, leave
    from realm.training.loop import train as run_loop
    from realm.training.recipe import find_recipe, load_recipe

    recipe = load_recipe(kind, find_recipe(recipe_name), overrides or [])
    if recipe.evaluate_every_steps and evaluate_with is None:
        raise RecipeError("evaluate_every_steps: this job has no dev metric; leave the key out.")
    processes = Processes.current()
    _claim(out, recipe, processes.is_first)
    with progress_bar("training", "steps", recipe.steps) as (bar, task):
        bar.disable = not processes.is_first
        waiting = bar.add_task("", total=None, unit="blocks", rate=None, visible=False)
        job = make_job(recipe, _job_report(bar, waiting))
        bar.update(waiting, visible=False)
        evaluate = evaluate_with(recipe, job) if evaluate_with is not None and recipe.evaluate_every_steps else None

        def report(step: int, figures: Mapping[str, float]) -> None:
            shown = "  ".join(f"{key} {value:.3g}" for key, value in figures.items())
            bar.console.print(f"step {step}  {shown}")
            bar.update(task, completed=step, rate=1 / figures["seconds_per_step"])

        run_loop(job, recipe.loop(), out, report, evaluate, lambda found: bar.console.print(_in_words(found)))
    if processes.is_first:
        stdout.print(_what_is_done(out))
    leave()


def _job_report(bar: Progress, task: TaskID) -> JobReport:
    """What there is to wait for, in a line of its own."""
    from realm.training.job_report import JobReport

    def opening(what: str, blocks: int) -> None:
        bar.update(task, description=f"{what}: {blocks:,}", visible=True)

    def embedding(progress: EmbeddingProgress) -> None:
        bar.update(
            task, description="embedding", completed=progress.done, total=progress.total,
            rate=progress.blocks_per_second, visible=progress.done < progress.total,
        )  # fmt: skip

    return JobReport(opening, embedding, bar.console.print)


def _claim(out: Path, recipe: LoopRecipe, is_first: bool) -> None:
    """Make the run folder and save the recipe in it, unless it holds a run of another recipe."""
    from realm.training.checkpoint import CHECKPOINT_FOLDER, read_state
    from realm.training.origin import Origin
    from realm.training.recipe import as_toml

    saved = read_state(out)
    if saved is not None:
        Origin.of(recipe, {}).check(saved, out / CHECKPOINT_FOLDER, with_parents=False)
    if not is_first:
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "recipe.toml").write_text(as_toml(recipe), encoding="utf-8")
    except OSError as exc:
        raise RecipeError(f"--out {out} cannot be made: {exc.strerror or exc}. Give another folder.") from exc


def _in_words(found: Estimate) -> str:
    minutes = found.seconds_left / 60
    left = f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
    return f"{found.seconds_per_step:.3g} s/step, about {left} to go, {found.peak_bytes / 1e9:.1f} GB of memory"


def _what_is_done(out: Path) -> str:
    import json

    from realm.training.loop import FINISHED_FILE, MODEL_FOLDER

    finished: dict[str, Any] = json.loads((out / FINISHED_FILE).read_text(encoding="utf-8"))
    early = "" if finished["step"] == finished["of_steps"] else f" of {finished['of_steps']:,}, nothing got better"
    return f"{out}: done after {finished['step']:,} steps{early}; the result is in {out / MODEL_FOLDER}"
