"""`realm train`: the training jobs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from realm.cli.output import progress_bar, stdout
from realm.errors import RecipeError

if TYPE_CHECKING:
    from realm.training.loop import Job, LoopSettings

train = typer.Typer(help="Train a model from a recipe.", no_args_is_help=True)

RecipeArgument = Annotated[str, typer.Argument(help="A TOML file, or the name of a built-in recipe.")]
OutOption = Annotated[Path, typer.Option("--out", help="Run folder: checkpoint, log, result.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="key=value, over the recipe.")]


def add_to(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.add_typer(train, name="train")


@train.command()
def embedder(recipe: RecipeArgument, out: OutOption, set_: SetOption = None) -> None:
    """Question and block vectors, taught by the trunk's own similarities."""
    from realm.training.embedder import EmbedderJob, EmbedderRecipe

    _run(EmbedderRecipe, EmbedderJob, recipe, out, set_ or [])


@train.command()
def reader(recipe: RecipeArgument, out: OutOption, set_: SetOption = None) -> None:
    """Answer spans, from questions with marked answers."""
    from realm.training.reader import ReaderJob, ReaderRecipe

    _run(ReaderRecipe, ReaderJob, recipe, out, set_ or [])


@train.command()
def pack(
    embedder_run: Annotated[Path, typer.Argument(help="Run folder of `realm train embedder`.")],
    reader_run: Annotated[Path, typer.Argument(help="Run folder of `realm train reader`.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for config.json and weights.safetensors.")],
) -> None:
    """Put what two runs learned into one small file of half-precision weights, as realm-mini ships it."""
    from realm.training.packing import pack_runs

    size = pack_runs(embedder_run, reader_run, out)
    stdout.print(f"{out}: {size / 1e6:.1f} MB")


def _run(kind: type[Any], job_kind: Any, recipe_name: str, out: Path, overrides: list[str]) -> None:
    from realm.training.loop import train as run_loop
    from realm.training.recipe import as_toml, find_recipe, load_recipe

    recipe = load_recipe(kind, find_recipe(recipe_name), overrides)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise RecipeError(f"--out {out} cannot be made: {exc.strerror or exc}. Give another folder.") from exc
    (out / "recipe.toml").write_text(as_toml(recipe), encoding="utf-8")
    job: Job = job_kind(recipe)
    settings: LoopSettings = recipe.loop()
    with progress_bar("training", "steps", settings.steps) as (bar, task):

        def report(step: int, figures: Mapping[str, float]) -> None:
            shown = "  ".join(f"{key} {value:.3f}" for key, value in figures.items())
            bar.console.print(f"step {step}  {shown}")
            bar.update(task, completed=step, rate=1 / figures["seconds_per_step"])

        run_loop(job, settings, out, report)
    stdout.print(f"{out}: done after {settings.steps:,} steps; the result is in {out / 'model'}")
