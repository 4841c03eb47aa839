"""A job of a few numbers, to test the training loop with; as a program it trains runs that come to harm.

python toy_job.py FOLDER

FOLDER/cut is killed twice and resumed twice, FOLDER/whole never stops. FOLDER/hunted is killed at random moments until
it gets through, FOLDER/calm is the same run at peace. FOLDER/full finds no room for its second checkpoint, and then
does. Prints how every process ended, in these five groups.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from realm.errors import UsageError
from realm.training.distributed import Processes
from realm.training.job import Figures, Job
from realm.training.loop import train
from realm.training.recipe import LoopSettings

ROWS = 8
SETTINGS = LoopSettings(
    steps=11, learning_rate=0.05, warmup_steps=3, clip_norm=0.5, save_every_steps=4, log_every_steps=3, seed=5
)
HUNTED = dataclasses.replace(SETTINGS, steps=24, save_every_steps=1, evaluate_every_steps=3, patience=30)
FILE_LIMIT = 9_000


class ToyModel(nn.Module):
    """Two layers with a layer norm, and dropout unless told otherwise."""

    def __init__(self, width: int = 5, dropout: float = 0.3) -> None:
        super().__init__()
        self.dense = nn.Linear(4, width)
        self.LayerNorm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, 1)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.out(self.dropout(self.LayerNorm(self.dense(inputs)).tanh())).squeeze(-1)


class ToyJob(Job):
    """Mean squared error of `ROWS` rows a step, given in `parts` parts that processes share.

    Args:
        parts: Micro-batches of a step.
        before_step: Called with the number of a step before its data is handed out.
        model: The model to train.
    """

    def __init__(
        self, parts: int = 2, before_step: Callable[[int], None] | None = None, model: ToyModel | None = None
    ) -> None:
        torch.manual_seed(1)
        self.model: nn.Module = model or ToyModel()
        self._parts = parts
        self._before_step = before_step

    def micro_batches(self, step: int) -> Sequence[tuple[Tensor, Tensor]]:
        if self._before_step is not None:
            self._before_step(step)
        inputs = torch.randn(ROWS, 4, generator=torch.Generator().manual_seed(step))
        parts = list(zip(inputs.chunk(self._parts), inputs.sum(-1).chunk(self._parts), strict=True))
        return Processes.current().share(parts)

    def loss(self, micro_batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Figures]:
        inputs, targets = micro_batch
        return ((self.model(inputs) - targets) ** 2).sum() / ROWS, {"rows": float(len(inputs))}

    def save(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        torch.save(self.model.state_dict(), folder / "weights")

    def measure(self) -> Mapping[str, float]:
        """A dev metric: rises as the error on rows that no step has falls."""
        inputs = torch.randn(64, 4, generator=torch.Generator().manual_seed(10_000))
        return {"closeness": -float(((self.model(inputs) - inputs.sum(-1)) ** 2).mean())}


class IndexedJob(ToyJob):
    """A job with an index that is now and then made anew from the weights, and moves the targets."""

    version = 0.0

    def begin_step(self, step: int) -> None:
        if step % 7 == 3:
            self.version = float(sum(p.detach().sum() for p in self.model.parameters()))

    def loss(self, micro_batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Figures]:
        inputs, targets = micro_batch
        loss, figures = super().loss((inputs, targets + 0.1 * self.version))
        return loss, {**figures, "version": self.version}

    def state(self) -> dict[str, Any]:
        return {"version": self.version}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.version = state["version"]


def _kill_at(step_to_die: int) -> Callable[[int], None]:
    def check(step: int) -> None:
        if step == step_to_die:
            os.kill(os.getpid(), signal.SIGKILL)

    return check


def _limit_files_at(step_to_limit: int) -> Callable[[int], None]:
    def check(step: int) -> None:
        if step == step_to_limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT, FILE_LIMIT))

    return check


def _in_child(deed: Callable[[], None], kill_after_seconds: float | None = None) -> int:
    """Do something in a forked process, which shares the imports but no computation; give what ended it."""
    child = os.fork()
    if not child:
        try:
            deed()
        except UsageError as exc:
            print(exc, file=sys.stderr, flush=True)
            os._exit(2)
        os._exit(0)
    if kill_after_seconds is not None:
        time.sleep(kill_after_seconds)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _train_cut(run: Path, kill_step: int) -> int:
    return _in_child(lambda: train(ToyJob(before_step=_kill_at(kill_step)), SETTINGS, run))


def _train_hunted(run: Path, seconds: float | None) -> int:
    def deed() -> None:
        job = IndexedJob()
        train(job, HUNTED, run, evaluate=job.measure)

    return _in_child(deed, seconds)


def _train_full(run: Path, limit_step: int) -> int:
    return _in_child(lambda: train(ToyJob(before_step=_limit_files_at(limit_step), model=_wide()), SETTINGS, run))


def _wide() -> ToyModel:
    """A model whose checkpoint is larger than `FILE_LIMIT`."""
    torch.manual_seed(2)
    return ToyModel(width=300)


def _hunt(run: Path) -> list[int]:
    """Kill a run at random moments until it is through; on a slow machine they come later and later."""
    choice, ends = random.Random(8), []
    while not ends or (ends[-1] and len(ends) < 60):
        ends.append(_train_hunted(run, choice.uniform(0.02, 0.1 + 0.05 * len(ends))))
    return ends


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    # What takes long to import is imported once, and not in every process again: an optimiser brings a compiler.
    importlib.import_module("accelerate")
    torch.optim.AdamW(ToyModel().parameters())
    groups = [
        [_train_cut(folder / "cut", step) for step in (6, 10, -1)],
        [_train_cut(folder / "whole", -1)],
        _hunt(folder / "hunted"),
        [_train_hunted(folder / "calm", None)],
        [_train_full(folder / "full", step) for step in (6, -1)],
    ]
    for group in groups:
        print(*group)
