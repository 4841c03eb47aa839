"""What a step does about numbers that are no numbers: it finds the micro-batch they come from.

Knows neither the optimiser nor the run folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from realm.training.distributed import Processes
from realm.training.job import Job


class Backward:
    """The backward pass of a step, which remembers every micro-batch's loss.

    Args:
        watched: Gradients to look at after every pass; none in ordinary steps, because looking takes time.
    """

    def __init__(self, watched: Mapping[str, nn.Parameter] | None = None) -> None:
        self._watched = watched or {}
        self._losses: list[Tensor] = []
        self._bad_gradient: tuple[int, str] | None = None

    def __call__(self, loss: Tensor) -> None:
        """Take the place of `loss.backward()`."""
        # The backward pass is in the precision of the forward one, not in that of a surrounding autocast.
        with torch.autocast(loss.device.type, enabled=False):
            loss.backward()
        self._losses.append(loss.detach())
        if self._bad_gradient is None:
            for name, p in self._watched.items():
                if p.grad is not None and not torch.isfinite(p.grad).all():
                    self._bad_gradient = len(self._losses) - 1, name
                    break

    def complaint(self) -> str:
        """The first micro-batch with a loss or gradient that is not finite; empty if there is none."""
        count = len(self._losses)
        for number, loss in enumerate(self._losses):
            if not torch.isfinite(loss).all():
                return f"micro-batch {number + 1} of {count}: the loss is {float(loss)}"
        if self._bad_gradient is not None:
            number, name = self._bad_gradient
            return f"micro-batch {number + 1} of {count}: the gradient of {name} is not finite"
        return ""


def find_culprit(
    job: Job,
    step: int,
    backward: Backward,
    parameters: Mapping[str, nn.Parameter],
    begin: Callable[[], AbstractContextManager[None]],
    processes: Processes,
) -> str:
    """Which micro-batch of a step, and of which process, a number that is not finite comes from.

    Args:
        job: The job.
        step: The step that went wrong.
        backward: Of that step.
        parameters: All that are trained; their gradients are overwritten.
        begin: Puts everything as it was when the step's gradients were computed.
        processes: All of which must call this.
    """
    with begin():
        found = _first(job.culprit(step), processes)
    found = found or _first(backward.complaint(), processes)
    if not found:
        # Losses are finite, so it arose on the way back: the step is done again, looking at every gradient.
        for p in parameters.values():
            p.grad = None
        again = Backward(parameters)
        with begin():
            job.gradients(step, again)
        found = _first(again.complaint(), processes)
    return found or "the sum of its micro-batches: the gradient is not finite"


def _first(complaint: str, processes: Processes) -> str:
    for rank, text in enumerate(map(json.loads, processes.gather_texts(json.dumps(complaint)))):
        if text:
            return f"{text} (process {rank})" if processes.count > 1 else str(text)
    return ""
