"""A job of a few numbers, to test the training loop with; as a program it trains runs that kill themselves.

python toy_job.py FOLDER      FOLDER/cut is killed twice and resumed twice, FOLDER/whole never stops
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from realm.training.loop import LoopSettings, train

ROWS = 8
SETTINGS = LoopSettings(
    steps=11, learning_rate=0.05, warmup_steps=3, clip_norm=0.5, save_every_steps=4, log_every_steps=3, seed=5
)


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


class ToyJob:
    """Mean squared error of `ROWS` rows a step, given in `parts` parts.

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
        return list(zip(inputs.chunk(self._parts), inputs.sum(-1).chunk(self._parts), strict=True))

    def loss(self, micro_batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Mapping[str, float]]:
        inputs, targets = micro_batch
        return ((self.model(inputs) - targets) ** 2).sum() / ROWS, {"rows": float(len(inputs))}

    def save(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        torch.save(self.model.state_dict(), folder / "weights")


def _kill_at(step_to_die: int) -> Callable[[int], None]:
    def check(step: int) -> None:
        if step == step_to_die:
            os.kill(os.getpid(), signal.SIGKILL)

    return check


def _train_in_child(run: Path, kill_step: int) -> int:
    """Train in a forked process, which shares the imports but no computation; give what ended it."""
    child = os.fork()
    if not child:
        train(ToyJob(before_step=_kill_at(kill_step)), SETTINGS, run)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    ends = [_train_in_child(folder / "cut", step) for step in (6, 10, -1)]
    print(*ends, _train_in_child(folder / "whole", -1))
