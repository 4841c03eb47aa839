"""The one training loop: BERT's AdamW schedule, clipping, log, checkpoints, and resuming to the same next step.

A job's data and randomness are functions of (seed, step, rank, count) alone, so a checkpoint is weights, optimiser,
a step number and a few JSON values: a resumed run computes what the uninterrupted one would have.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from realm.artifacts import sha256_of_text, write_json_atomically
from realm.errors import RecipeError, TrainingError
from realm.extras import require
from realm.training.checkpoint import (
    CHECKPOINT_FOLDER,
    full_disk_is_said,
    read_state,
    recover_folder,
    replace_folder,
    restore_checkpoint,
    save_checkpoint,
)
from realm.training.dev_metric import BEST_FOLDER, DevMetric, Evaluate
from realm.training.distributed import Processes
from realm.training.finiteness import Backward, find_culprit
from realm.training.job import Job
from realm.training.log import Averages, Estimate, RunLog, estimate
from realm.training.origin import Origin
from realm.training.recipe import MENDING_KEYS, LoopSettings
from realm.training.recomputing import compute_layers_twice
from realm.training.schedule import bert_adamw, learning_rate_at, set_rates

MODEL_FOLDER = "model"
FINISHED_FILE = "finished.json"
_LOG = logging.getLogger(__name__)
_SEEDS_APART = 1_000_003
_RANKS_APART = 1_000_000_000_039

Report = Callable[[int, Mapping[str, float]], None]


def train(
    job: Job,
    settings: LoopSettings,
    run: Path,
    report: Report | None = None,
    evaluate: Evaluate | None = None,
    announce: Callable[[Estimate], None] | None = None,
) -> None:
    """Train a job in its run folder, resuming from its checkpoint if there is one.

    Args:
        job: What to learn.
        settings: How.
        run: Folder of `checkpoint/`, `log.jsonl`, `tensorboard/`, the result `model/` and, when all is done,
            `finished.json`. With `evaluate` also of `best/`, which then is the result.
        report: Called on the first process every `log_every_steps`, with the step and the mean figures since then.
        evaluate: Dev metric; see `DevMetric`. Used if `evaluate_every_steps` is not 0.
        announce: Called on the first process once the first steps tell how long the run will take.

    Raises:
        RecipeError: The checkpoint in `run` is of another recipe or model; the job has nothing to train.
        UsageError: Processes see different checkpoints, because they do not share the run folder.
        TrainingError: A loss or gradient is not finite, or there is no room on the disk: the last checkpoint is whole.
    """
    run.mkdir(parents=True, exist_ok=True)
    with full_disk_is_said(run):
        loop = _Loop(job, settings, run, report or _nothing, announce or _nothing)
        if evaluate is not None and settings.evaluate_every_steps:
            loop.dev_metric = DevMetric(evaluate, settings, run, loop.processes)
        loop.resume()
        try:
            loop.go()
        finally:
            loop.close()


class _Loop:
    """A run in progress."""

    def __init__(
        self, job: Job, settings: LoopSettings, run: Path, report: Report, announce: Callable[[Estimate], None]
    ) -> None:
        self.processes = Processes.current()
        self._job, self._settings, self._run = job, settings, run
        self._report, self._announce = report, announce
        self._device: torch.device = require("accelerate", "train").PartialState().device
        job.model.to(self._device)
        if settings.gradient_checkpointing:
            compute_layers_twice(job.model)
        self._parameters = {name: p for name, p in job.model.named_parameters() if p.requires_grad}
        if not self._parameters:
            raise RecipeError("There is nothing to train: every parameter of the model is frozen.")
        self._optimizer = bert_adamw(self._parameters, settings)
        self._origin = Origin.of(settings, job.parents())
        self._averages = Averages()
        self._seconds: list[float] = []
        self._log: RunLog | None = None
        self.dev_metric: DevMetric | None = None

    def resume(self) -> None:
        """Take up the checkpoint, if there is one."""
        if self.processes.is_first:
            for name in (CHECKPOINT_FOLDER, BEST_FOLDER, MODEL_FOLDER):
                recover_folder(self._run / name)
        self.processes.barrier()
        saved = read_state(self._run)
        digest = sha256_of_text(json.dumps(saved, sort_keys=True))[:12]
        seen = "no checkpoint" if saved is None else f"a checkpoint of step {saved['step']:,} ({digest})"
        self.processes.require_shared(self._run, seen)
        if saved is not None:
            self._origin.check(saved, self._run / CHECKPOINT_FOLDER)
        self._step, state = restore_checkpoint(self._run, self._parameters, self._optimizer)
        self.processes.spread(self._job.model)
        self._averages.restore(state.get("figures", {}))
        if saved is not None:
            self._job.restore(state.get("job", {}))
        if self.dev_metric is not None:
            self.dev_metric.restore(state.get("evaluation", {}))
        if self.processes.is_first:
            (self._run / FINISHED_FILE).unlink(missing_ok=True)
            self._log = RunLog(self._run, -1 if saved is None else self._step, self._settings.tensorboard)
            self._tell_changes(state.get("recipe", {}))
        self._fresh = saved is None

    def _tell_changes(self, before: Mapping[str, Any]) -> None:
        """Say and log which keys that losses hang on have changed."""
        for key in MENDING_KEYS:
            old, new = before.get(key), getattr(self._settings, key)
            if old not in (None, new) and self._log is not None and self._step < self._settings.steps:
                _LOG.warning("From step %s on %s is %g; it was %g.", f"{self._step + 1:,}", key, new, old)
                self._log.write(self._step, {f"new_{key}": new})

    def go(self) -> None:
        """Train to the end and write the result."""
        settings = self._settings
        self._job.model.train()
        if self._fresh:
            self._evaluate()
        while self._step < settings.steps and not self._is_exhausted:
            began = time.monotonic()
            figures = self._train_step(self._step)
            self._seconds.append(time.monotonic() - began)
            self._step += 1
            self._averages.add_step(figures, self._seconds[-1])
            if self._step % settings.log_every_steps == 0 or self._step == settings.steps:
                self._write_log()
            self._tell_estimate()
            self._evaluate()
            if self._step % settings.save_every_steps == 0 or self._step == settings.steps or self._is_exhausted:
                self._save()
        self._job.model.eval()
        if self.processes.is_first:
            best = self._run / BEST_FOLDER
            keeps_best = self.dev_metric is not None and best.exists()
            write = (lambda folder: shutil.copytree(best, folder)) if keeps_best else self._job.save
            replace_folder(self._run / MODEL_FOLDER, write)
            write_json_atomically(self._run / FINISHED_FILE, {"step": self._step, "of_steps": settings.steps})
        self.processes.barrier()

    def close(self) -> None:
        """Finish the log."""
        if self._log is not None:
            self._log.close()

    @property
    def _is_exhausted(self) -> bool:
        return self.dev_metric is not None and self.dev_metric.is_exhausted

    def _train_step(self, step: int) -> dict[str, float]:
        """One optimiser step; gives the figures of all processes."""
        set_rates(self._optimizer, self._settings, step)
        self._optimizer.zero_grad(set_to_none=True)
        self._job.begin_step(step)
        backward = Backward()
        with self._computing(step):
            part = self._job.gradients(step, backward)
        self.processes.sum_gradients(self._parameters.values())
        figures = self.processes.sum_figures(part)
        norm = float(nn.utils.clip_grad_norm_(self._parameters.values(), self._settings.clip_norm))
        if not (math.isfinite(norm) and math.isfinite(figures.get("loss", 0.0))):
            culprit = find_culprit(
                self._job, step, backward, self._parameters, lambda: self._computing(step), self.processes
            )
            raise TrainingError(f"Step {step + 1:,}, {culprit}. {self._what_is_kept()}")
        self._optimizer.step()
        return {**figures, "gradient_norm": norm}

    @contextmanager
    def _computing(self, step: int) -> Iterator[None]:
        """The step's randomness, and bfloat16 where the device has it."""
        from realm.models.precision import fastest_dtype

        torch.manual_seed(self._settings.seed * _SEEDS_APART + step + self.processes.rank * _RANKS_APART)
        has_bfloat16 = fastest_dtype(self._device) == torch.bfloat16
        # Without autocast's cache, which would hold a second copy of all weights through the whole step.
        with torch.autocast(self._device.type, torch.bfloat16, enabled=has_bfloat16, cache_enabled=False):
            yield

    def _what_is_kept(self) -> str:
        saved = read_state(self._run)
        kept = "There is no checkpoint yet" if saved is None else f"The checkpoint of step {saved['step']:,} is kept"
        return f"{kept}, and nothing later. Lower learning_rate or clip_norm, or look at the data of this step."

    def _write_log(self) -> None:
        means = self._averages.take()
        means["learning_rate"] = learning_rate_at(self._settings, self._step - 1)
        means["seconds_left"] = means["seconds_per_step"] * (self._settings.steps - self._step)
        if self._log is not None:
            self._log.write(self._step, means)
            self._report(self._step, means)

    def _tell_estimate(self) -> None:
        found = estimate(self._seconds, self._settings.steps - self._step, self._device)
        if found is not None and self.processes.is_first:
            self._announce(found)

    def _evaluate(self) -> None:
        if self.dev_metric is None or not self.dev_metric.is_due(self._step, self._settings.steps):
            return
        figures = self.dev_metric.measure(self._step, self._job)
        if self._log is not None:
            self._log.write_evaluation(self._step, figures)

    def _save(self) -> None:
        for name, p in self._parameters.items():
            if not torch.isfinite(p).all():
                raise TrainingError(f"After step {self._step:,} {name} is not finite. {self._what_is_kept()}")
        if not self.processes.is_first:
            return
        state: dict[str, Any] = {"figures": self._averages.state(), "job": self._job.state()}
        if self.dev_metric is not None:
            state["evaluation"] = self.dev_metric.state()
        save_checkpoint(self._run, self._step, self._parameters, self._optimizer, {**self._origin.state(), **state})


def _nothing(*_: Any) -> None:
    """What is reported to nobody."""
