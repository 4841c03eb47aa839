"""`realm train`: the training jobs. A new job is one small command that hands its recipe and its job to `_run`. What
goes into runs and what is made of them is in `training_tools`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

import realm.cli.training_tools
from realm.cli.options import given_path
from realm.cli.output import progress_bar, stdout
from realm.errors import RecipeError

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

RecipeArgument = Annotated[str, typer.Argument(help="A TOML file, or the name of a built-in recipe.")]
OutOption = Annotated[
    Path, typer.Option("--out", parser=given_path, metavar="<path>", help="Run folder: checkpoint, log, result.")
]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="key=value, over the recipe.")]


def add_to(app: typer.Typer) -> None:
    """Add this group's commands."""
    realm.cli.training_tools.add_to(train)
    app.add_typer(train, name="train")


@train.command()
def embedder(recipe: RecipeArgument, out: OutOption, set_: SetOption = None) -> None:
    """Question and block vectors, taught by the trunk's own similarities."""
    from realm.training.embedder import EmbedderJob
    from realm.training.embedder_recipe import EmbedderRecipe

    _run(EmbedderRecipe, lambda chosen, report: EmbedderJob(chosen, out, report), recipe, out, set_)


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
