"""What a run says: `log.jsonl`, one object per line, and the same numbers for TensorBoard; and what it will take.

Knows figures by name only. Only the first process has a log.
"""

from __future__ import annotations

import json
import math
import os
import resource
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from realm.errors import SourceError
from realm.extras import require

LOG_FILE = "log.jsonl"
TENSORBOARD_FOLDER = "tensorboard"
_DEV = "dev_"
_MEASURED_STEPS = 4


class Averages:
    """Means of logged figures over the steps since the last log line; a step where one is NaN does not count for it."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._sums: dict[str, float] = {}
        self._without: dict[str, int] = {}
        self._steps = 0
        self._seconds = 0.0
        self._timed_steps = 0

    def add_step(self, figures: Mapping[str, float], seconds: float) -> None:
        """Count a step with its figures and the time that it took."""
        for key, value in figures.items():
            if math.isnan(value):
                self._without[key] = self._without.get(key, 0) + 1
            else:
                self._sums[key] = self._sums.get(key, 0.0) + value
        self._steps += 1
        self._seconds += seconds
        self._timed_steps += 1

    def take(self) -> dict[str, float]:
        """The means, to which `seconds_per_step` and, from a figure `examples`, a rate are added; counts anew."""
        means = {key: value / (self._steps - self._without.get(key, 0)) for key, value in self._sums.items()}
        means["seconds_per_step"] = seconds = self._seconds / self._timed_steps
        if "examples" in means:
            means["examples_per_second"] = means["examples"] / seconds
        self._begin()
        return means

    def state(self) -> dict[str, Any]:
        """What a resumed run needs, so that its next log line also counts the steps before the checkpoint."""
        return {"sums": self._sums, "steps": self._steps, "without": self._without}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave; times are those of this process alone."""
        self._sums, self._steps = dict(state.get("sums", {})), state.get("steps", 0)
        self._without = dict(state.get("without", {}))


class RunLog:
    """The log of a run, cut to what is not lost.

    Args:
        run: The run folder.
        step: Steps done: lines of later steps come again. -1 to begin anew.
        tensorboard: Whether to write for TensorBoard, too.

    Raises:
        MissingExtraError: TensorBoard is wanted and not installed.
    """

    def __init__(self, run: Path, step: int, tensorboard: bool) -> None:
        self._path = run / LOG_FILE
        _cut(self._path, step)
        self._writer: Any = None
        if tensorboard:
            require("tensorboard", "train")
            from torch.utils.tensorboard import SummaryWriter

            # Steps from here on that an interrupted run has written are hidden.
            self._writer = SummaryWriter(str(run / TENSORBOARD_FOLDER), purge_step=step + 1)

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Add a line about training."""
        self._write(step, dict(figures), "train")

    def write_evaluation(self, step: int, figures: Mapping[str, float]) -> None:
        """Add a line with dev figures; their names begin with `dev_`."""
        self._write(step, {_DEV + key: value for key, value in figures.items()}, "dev")

    def close(self) -> None:
        """Write what TensorBoard's writer still holds."""
        if self._writer is not None:
            self._writer.close()

    def _write(self, step: int, figures: dict[str, float], group: str) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **figures}) + "\n")
        if self._writer is not None:
            for key, value in figures.items():
                self._writer.add_scalar(f"{group}/{key.removeprefix(_DEV)}", value, step)


def read_log(run: Path) -> list[dict[str, float]]:
    """The lines of a run's log, in order: those about training, and those with dev figures.

    Raises:
        SourceError: There is no log, or a line is none of a log.
    """
    path = run / LOG_FILE
    try:
        # A line that a kill cut short is the last one and has no end.
        lines = [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
        found: list[dict[str, float]] = [json.loads(line) for line in lines]
    except (OSError, ValueError) as exc:
        raise SourceError(f"{path} cannot be read ({exc}). Give the run folder of a training job.") from exc
    return found


class Estimate(NamedTuple):
    """What a run will take, measured in its first steps.

    Attributes:
        seconds_per_step: Median of the first steps but the very first, which also warms up.
        seconds_left: For the steps that are still to do, without evaluations and checkpoints.
        peak_bytes: Most memory so far: of the accelerator if there is one, or else of this process.
    """

    seconds_per_step: float
    seconds_left: float
    peak_bytes: int


def estimate(seconds: list[float], steps_left: int, device: torch.device) -> Estimate | None:
    """The estimate, as soon as there are steps enough: exactly once in a run's course.

    Args:
        seconds: Times of the steps that this process has done.
        steps_left: Steps still to do.
        device: What is computed on.
    """
    if len(seconds) > _MEASURED_STEPS or (len(seconds) < _MEASURED_STEPS and steps_left):
        return None
    usual = statistics.median(seconds[1:] or seconds)
    return Estimate(usual, usual * steps_left, _peak_bytes(device))


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _cut(path: Path, step: int) -> None:
    """Drop the lines of steps that were lost with a killed run: they come again."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    # A line that a kill cut short is the last one and has no end.
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
    if kept != lines:
        fresh = path.with_name(f".{path.name}.new")
        fresh.write_text("".join(kept), encoding="utf-8")
        os.replace(fresh, path)
