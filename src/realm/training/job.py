"""What is learned: data, loss and result of a job, as the loop sees them.

Knows no optimiser, no schedule and no run folder. A job's data and randomness are functions of (seed, step, rank,
count) alone, so that a resumed run computes what the uninterrupted one would have.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from torch import Tensor, nn

from realm.training.distributed import Processes

_ENOUGH_TRIES = 512

Figures: TypeAlias = Mapping[str, float | Tensor]
"""What is logged: numbers, or tensors of one number, which do not hold up the device until the end of a step."""


class Job(ABC):
    """What is learned. `model` holds all parameters; those that require grad are trained.

    A job never divides by the number of processes: it divides by the size of the whole step's batch, and the
    loop sums gradients and figures over processes.
    """

    model: nn.Module

    def begin_step(self, step: int) -> None:  # noqa: B027
        """Called on every process before the step's data is asked for: the place to change an index."""

    def begin_evaluation(self, step: int) -> None:  # noqa: B027
        """Called on every process before the dev metric is measured on the first one, when `step` steps are done."""

    @abstractmethod
    def micro_batches(self, step: int) -> Sequence[Any]:
        """This process's parts of the step's batch: a function of (seed, step, rank, count) alone."""

    @abstractmethod
    def loss(self, micro_batch: Any) -> tuple[Tensor, Figures]:
        """Loss of a part, and figures to log.

        Returns:
            Both scaled so that the parts of all processes sum to the step's loss and to the step's figures.
        """

    def gradients(self, step: int, backward: Callable[[Tensor], None]) -> dict[str, float]:
        """Add this process's part of the step's gradients to the parameters.

        Args:
            step: Number of the step, from 0.
            backward: Takes the place of `tensor.backward()`; one call per micro-batch.

        Returns:
            Figures of this process's part; `loss` is among them.
        """
        losses, seen = [], []
        for part in self.micro_batches(step):
            loss, figures = self.loss(part)
            backward(loss)
            losses.append(loss.detach())
            seen.append(figures)
        # A tensor is turned into a number only now: earlier, the device would wait for the next part's data.
        sums = {"loss": sum(map(float, losses))}
        for figures in seen:
            for key, value in figures.items():
                sums[key] = sums.get(key, 0.0) + float(value)
        return sums

    def culprit(self, step: int) -> str:
        """Asked of every process after a step with numbers that are not finite, with the step's randomness.

        Returns:
            What was not finite before any micro-batch's loss, for jobs that compute something over the whole batch;
            empty if a micro-batch is to be looked for.
        """
        return ""

    def state(self) -> dict[str, Any]:
        """What a checkpoint must remember besides weights and step, as JSON; for instance the index in use."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:  # noqa: B027
        """Take up what `state` gave when the checkpoint was written; called before the first step."""

    def parents(self) -> dict[str, str]:
        """Digests of the models that the job starts from, by name; a checkpoint of other parents is refused."""
        return {}

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the result. Only the first process is asked to."""


class Tries:
    """Notices that a run learns nothing, because nothing that its processes try gives an example.

    Args:
        all_there_are: After so many tried in vain it is time to stop, or after 512 if there are more.
        processes: All of them know what each has tried.

    Attributes:
        tried: How many were tried.
    """

    def __init__(self, all_there_are: int, processes: Processes) -> None:
        self._enough, self._processes = min(all_there_are, _ENOUGH_TRIES), processes
        self._has_one = False
        self.tried = 0
        self._reasons: Counter[str] = Counter()

    def are_in_vain(self, tried: int, usable: int, reasons: Mapping[str, int] | None = None) -> bool:
        """Whether to stop now. Once there was an example, never again.

        Args:
            tried: By this process, in this step.
            usable: How many of them gave an example.
            reasons: Why others gave none.
        """
        if self._has_one:
            return False
        sums = self._processes.sum_figures({"tried": tried, "usable": usable})
        self.tried, self._has_one = self.tried + int(sums["tried"]), sums["usable"] > 0
        for reason, count in self._processes.sum_figures(reasons or {}).items():
            self._reasons[reason] += int(count)
        return not self._has_one and self.tried >= self._enough

    def why(self) -> str:
        """Why there was no example, most frequent reason first."""
        return ", ".join(f"{reason} {count:,}" for reason, count in self._reasons.most_common() if count)
