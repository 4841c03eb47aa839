"""The dev metric of a run: when it is measured, which weights were best, and when to stop.

Knows no metric: what is measured comes in as a function, because training may not know evaluation.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from realm.training.checkpoint import replace_folder
from realm.training.distributed import Processes
from realm.training.job import Job
from realm.training.recipe import LoopSettings

BEST_FOLDER = "best"

Evaluate = Callable[[], Mapping[str, float]]
"""Figures of the model as it is now. The first one decides, and more is better."""


class DevMetric:
    """Measures every so many steps, keeps the best weights, and knows when nothing gets better any more.

    Args:
        evaluate: Called on the first process, with the model in evaluation mode and without autograd.
        settings: Of the run.
        run: The run folder; the best weights are kept in `run/best`.
        processes: All of them learn what the first one has measured.
    """

    def __init__(self, evaluate: Evaluate, settings: LoopSettings, run: Path, processes: Processes) -> None:
        self._evaluate = evaluate
        self._every_steps, self._patience = settings.evaluate_every_steps, settings.patience
        self._folder = run / BEST_FOLDER
        self._processes = processes
        self._best = -math.inf
        self._best_step = -1
        self._without_better = 0

    def is_due(self, step: int, last_step: int) -> bool:
        """Whether to measure after so many steps: at the start, at every interval and at the end."""
        return step % self._every_steps == 0 or step == last_step

    def measure(self, step: int, job: Job) -> dict[str, float]:
        """Measure after so many steps; keep the weights if they are the best ones.

        Returns:
            The figures, on every process; then `best_step`.
        """
        text = ""
        job.begin_evaluation(step)
        if self._processes.is_first:
            job.model.eval()
            with torch.no_grad():
                text = json.dumps(dict(self._evaluate()))
            job.model.train()
        figures: dict[str, float] = json.loads(self._processes.gather_texts(text)[0])
        value = next(iter(figures.values()))
        if value > self._best:
            self._best, self._best_step, self._without_better = value, step, 0
            if self._processes.is_first:
                replace_folder(self._folder, job.save)
        else:
            self._without_better += 1
        return {**figures, "best_step": self._best_step}

    @property
    def is_exhausted(self) -> bool:
        """Whether `patience` evaluations in a row have brought nothing better."""
        return 0 < self._patience <= self._without_better

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        best = None if self._best_step < 0 else self._best
        return {"best": best, "best_step": self._best_step, "without_better": self._without_better}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave; a checkpoint that was made without a dev metric has nothing."""
        if state.get("best") is not None:
            self._best, self._best_step = float(state["best"]), int(state["best_step"])
            self._without_better = int(state["without_better"])
