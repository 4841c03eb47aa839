"""Keys of recipes whose jobs search an index snapshot: when it is made anew, and what happens when it is not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from realm.errors import RecipeError
from realm.training.recipe import LoopRecipe


@dataclass(frozen=True, kw_only=True)
class RefreshRecipe(LoopRecipe):
    """Base of recipes whose jobs search a snapshot; the keys of the loop are those of `LoopSettings`.

    Attributes:
        refresh: One of the three modes.
        refresh_every_steps: Steps between two exports, at least.
        stale_factor: Only every so many-th refresh takes place: the paper's ablation has 30.
        turn_share: Of the time, what embedding may take, in mode `in_turns`.
        keep_snapshots: So many of the newest stay, and those that a checkpoint names.
        max_stale_steps: In mode `other_process`, wait for a new snapshot at this staleness; 0 never to wait. Not less
            than the steps between two exports: there would be nothing to wait for.
        max_wait_seconds: The longest such wait; what comes then is as when the refresher dies. Before the first
            snapshot, the longest time without a refresher; then the run stops.
        heartbeat_seconds: A refresher that gives no sign of life for so long is dead.
        poll_seconds: Sleep between two looks, while waiting.
        when_refresher_dies: `warn` and go on with the last snapshot, or `stop`.

    Raises:
        RecipeError: The trainer would wait before there is a new export.

    Source: REALM, section 3.3 and table 2 (30x stale MIPS).
    """

    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        "refresh_every_steps": (1, math.inf),
        "stale_factor": (1, math.inf),
        "turn_share": (0.01, 1),
        "keep_snapshots": (1, math.inf),
        "max_stale_steps": (0, math.inf),
        "max_wait_seconds": (0, math.inf),
        "heartbeat_seconds": (1, math.inf),
        "poll_seconds": (0.01, 3600),
    }
    choices: ClassVar[Mapping[str, Sequence[str]]] = {
        "refresh": ("in_step", "in_turns", "other_process"),
        "when_refresher_dies": ("warn", "stop"),
    }
    may_change: ClassVar[frozenset[str]] = frozenset(
        {"keep_snapshots", "max_wait_seconds", "heartbeat_seconds", "poll_seconds", "when_refresher_dies"}
    )

    refresh: str = "in_step"
    refresh_every_steps: int = 500
    stale_factor: int = 1
    turn_share: float = 0.5
    keep_snapshots: int = 2
    max_stale_steps: int = 0
    max_wait_seconds: float = 3600.0
    heartbeat_seconds: float = 60.0
    poll_seconds: float = 1.0
    when_refresher_dies: str = "warn"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.refresh == "other_process" and 0 < self.max_stale_steps < self.period_steps:
            raise RecipeError(
                f"max_stale_steps is {self.max_stale_steps:,}, but a new snapshot comes every {self.period_steps:,} "
                f"steps at most (refresh_every_steps = {self.refresh_every_steps:,}, stale_factor = "
                f"{self.stale_factor:,}), so the trainer would wait in vain. Raise it to {self.period_steps:,} or "
                "more, or leave it out."
            )

    @property
    def period_steps(self) -> int:
        """Steps between two refreshes, at least."""
        return self.refresh_every_steps * self.stale_factor
