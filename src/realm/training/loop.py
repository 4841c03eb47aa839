"""The one training loop: BERT's AdamW schedule, clipping, log, checkpoints, and resuming to the same next step.

A job's data and randomness are functions of (seed, step) alone, so a checkpoint is weights, optimiser and a
step number, and nothing else: a resumed run computes what the uninterrupted one would have.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from realm.errors import RecipeError
from realm.extras import require
from realm.training.checkpoint import restore_checkpoint, save_checkpoint

_LOG = "log.jsonl"


class Job(Protocol):
    """What is learned: data, loss and result. `model` holds all parameters; those that require grad are trained."""

    model: nn.Module

    def micro_batches(self, step: int) -> Sequence[Any]:
        """The parts of the step's batch, the same for the same step whenever it is asked for."""

    def loss(self, micro_batch: Any) -> tuple[Tensor, Mapping[str, float]]:
        """Loss of a part, scaled so that the parts of a step sum to the step's loss, and figures to log."""

    def save(self, folder: Path) -> None:
        """Write the result."""


@dataclass(frozen=True)
class LoopSettings:
    """How a job is trained.

    Attributes:
        steps: Optimiser steps in all.
        learning_rate: Peak, reached after warm-up, then linear decay to 0.
        warmup_steps: Linear warm-up.
        weight_decay: On everything but biases and layer norms.
        clip_norm: Largest global gradient norm.
        save_every_steps: Checkpoint interval.
        log_every_steps: Log interval.
        seed: Of all randomness.

    Raises:
        RecipeError: A number of steps that must be positive is not.
    """

    steps: int
    learning_rate: float
    warmup_steps: int
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    save_every_steps: int = 100
    log_every_steps: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "save_every_steps", "log_every_steps"):
            if getattr(self, name) < 1:
                raise RecipeError(f"{name} must be at least 1; found {getattr(self, name)}.")


Report = Callable[[int, Mapping[str, float]], None]


def train(job: Job, settings: LoopSettings, run: Path, report: Report | None = None) -> None:
    """Train a job in its run folder, resuming from its checkpoint if there is one.

    Args:
        job: What to learn.
        settings: How.
        run: Folder of `checkpoint/`, `log.jsonl` and the result `model/`.
        report: Called every `log_every_steps` with the step and the mean figures since the last call.

    Raises:
        RecipeError: The checkpoint in `run` has other parameters than the job.
    """
    run.mkdir(parents=True, exist_ok=True)
    accelerate = require("accelerate", "train")
    accelerator = accelerate.Accelerator(mixed_precision=_mixed_precision())
    job.model.to(accelerator.device)
    parameters = {name: p for name, p in job.model.named_parameters() if p.requires_grad}
    optimizer = bert_adamw(parameters, settings)
    figures = _Figures()
    step, logged = restore_checkpoint(run, parameters, optimizer)
    figures.restore(logged)
    _cut_log(run, step)
    job.model.train()
    while step < settings.steps:
        torch.manual_seed(settings.seed * 1_000_003 + step)
        _set_learning_rate(optimizer, settings, step)
        optimizer.zero_grad(set_to_none=True)
        for part in job.micro_batches(step):
            with accelerator.autocast():
                loss, metrics = job.loss(part)
            accelerator.backward(loss)
            figures.add({"loss": float(loss.detach()), **metrics})
        figures.add({"gradient_norm": float(accelerator.clip_grad_norm_(parameters.values(), settings.clip_norm))})
        optimizer.step()
        step += 1
        figures.count_step()
        if step % settings.log_every_steps == 0 or step == settings.steps:
            means = figures.take()
            _log(run, step, means)
            if report is not None:
                report(step, means)
        if step % settings.save_every_steps == 0 or step == settings.steps:
            save_checkpoint(run, step, parameters, optimizer, figures.state())
    job.model.eval()
    job.save(run / "model")


def bert_adamw(parameters: Mapping[str, nn.Parameter], settings: LoopSettings) -> torch.optim.AdamW:
    """AdamW with BERT's constants: eps 1e-6, no decay on biases and layer norms.

    Differs: BERT's own optimiser leaves out Adam's bias correction, which only matters in the first steps.
    """
    free = [p for name, p in parameters.items() if _is_free_of_decay(name)]
    decayed = [p for name, p in parameters.items() if not _is_free_of_decay(name)]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.999), eps=1e-6)


def learning_rate_at(settings: LoopSettings, step: int) -> float:
    """Linear warm-up from 0, then linear decay to 0 at the last step."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    remaining = settings.steps - step
    return settings.learning_rate * remaining / max(1, settings.steps - settings.warmup_steps)


class _Figures:
    """Sums of logged figures since the last log line; a figure is the sum over a step's parts, averaged over steps."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._steps = 0
        self._timed_steps = 0
        self._since = time.monotonic()

    def add(self, values: Mapping[str, float]) -> None:
        for key, value in values.items():
            self._sums[key] = self._sums.get(key, 0.0) + value

    def count_step(self) -> None:
        self._steps += 1
        self._timed_steps += 1

    def take(self) -> dict[str, float]:
        now = time.monotonic()
        means = {key: value / self._steps for key, value in self._sums.items()}
        means["seconds_per_step"] = (now - self._since) / self._timed_steps
        self._sums, self._steps, self._timed_steps, self._since = {}, 0, 0, now
        return means

    def state(self) -> dict[str, Any]:
        """What a resumed run needs, so that its next log line also counts the steps before the checkpoint."""
        return {"sums": self._sums, "steps": self._steps}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._sums, self._steps = dict(state.get("sums", {})), state.get("steps", 0)


def _is_free_of_decay(name: str) -> bool:
    return name.endswith("bias") or "LayerNorm" in name or "layer_normalization" in name


def _mixed_precision() -> str:
    from realm.models.precision import fastest_dtype

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return "bf16" if fastest_dtype(device) == torch.bfloat16 else "no"


def _set_learning_rate(optimizer: torch.optim.Optimizer, settings: LoopSettings, step: int) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate_at(settings, step)


def _log(run: Path, step: int, means: Mapping[str, float]) -> None:
    with (run / _LOG).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step, **means}) + "\n")


def _cut_log(run: Path, step: int) -> None:
    """Drop the lines of steps that were lost with a killed run: they come again."""
    path = run / _LOG
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    # A line that a kill cut short is the last one and has no end.
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
    if kept != lines:
        fresh = path.with_name(f".{_LOG}.new")
        fresh.write_text("".join(kept), encoding="utf-8")
        os.replace(fresh, path)
