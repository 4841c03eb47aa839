"""`realm refresh`: keeps the index of a training run fresh, from another process or machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from realm.cli.output import progress_bar, stdout

if TYPE_CHECKING:
    from realm.training.embedding_progress import EmbeddingProgress


def add_to(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command()(refresh)


def refresh(
    run: Annotated[Path, typer.Argument(help="Run folder of `realm train pretrain` or `finetune`.")],
    once: Annotated[bool, typer.Option("--once", help="End when the newest export is embedded.")] = False,
    poll_seconds: Annotated[
        float, typer.Option("--poll-seconds", min=0.05, help="Sleep between two looks for an export.")
    ] = 5.0,
    blocks: Annotated[
        Path | None, typer.Option("--blocks", help="Where the blocks are, if elsewhere than on the trainer's machine.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option("--cache", help="Folder for the store of blocks; default: RUN/cache.")
    ] = None,
) -> None:
    """Embed all blocks with every new export of a run and publish snapshots, until its training is finished.

    May be started before the training.
    """
    from realm.training.refresh_process import RefreshReport, refresh_run

    with progress_bar("waiting", "blocks") as (bar, task):

        def opening(done: int) -> None:
            bar.update(task, description=f"reading blocks: {done:,}")

        def embedding(step: int, progress: EmbeddingProgress) -> None:
            bar.update(
                task, description=f"step {step:,}", completed=progress.done, total=progress.total,
                rate=progress.blocks_per_second,
            )  # fmt: skip

        def published(step: int, seconds: float) -> None:
            bar.console.print(f"step {step:,}: published after {seconds:,.1f} s")
            bar.reset(task, description="waiting")

        report = RefreshReport(opening, embedding, published, bar.console.print)
        count = refresh_run(run, once=once, poll_seconds=poll_seconds, blocks=blocks, cache=cache, report=report)
    stdout.print(f"{run}: {count:,} snapshots published")
