"""The other process as the trainer sees it: what it has published, whether it lives, and how long it is waited for."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from realm.errors import KnowledgeBaseError, UsageError
from realm.training.exports import Export
from realm.training.heartbeat import HeartbeatWatch, TrainerBeat
from realm.training.refresh_recipe import RefreshRecipe
from realm.training.snapshots import EMBEDDER, Snapshot, snapshot_folders

Say = Callable[[str], None]


class OtherProcess:
    """Chooses among what is published, and decides whether a step waits for more. Read `newest` first.

    Args:
        run: The run folder.
        recipe: How long to wait, and what then.
        open_snapshot: Opens a folder; raises a `KnowledgeBaseError` where it is no snapshot of this run.
        beat: The trainer's sign of life, given while it waits.
        say: Is told what a person should know.
    """

    def __init__(
        self, run: Path, recipe: RefreshRecipe, open_snapshot: Callable[[Path], Snapshot], beat: TrainerBeat, say: Say
    ) -> None:
        self._run, self._recipe, self._open, self._beat, self._say = run, recipe, open_snapshot, beat, say
        self._said_dead, self._gave_up = "", False
        self._passed_over: set[str] = set()

    def begin(self) -> None:
        """Look from now on for signs of life."""
        self.watch = HeartbeatWatch(self._run)

    def renew(self) -> None:
        """There is a new snapshot: the next one is waited for as long again."""
        self._gave_up = False

    def newest(self, step: int, current: Snapshot | None, exported: Mapping[int, str], is_too_stale: bool) -> str:
        """Name of a newer snapshot, or nothing; waits for one where there must be one.

        Args:
            step: Steps done.
            current: The snapshot in use.
            exported: Digests of the exports of this training, by step.
            is_too_stale: Whether a newer one is needed.

        Raises:
            UsageError: There is no snapshot and no living refresher; or there is one no longer, and the recipe says
                to stop.
        """
        waiting_since, said = time.monotonic(), False
        while True:
            name = self._published(step, current, exported)
            if name or self._goes_on_without(step, current, is_too_stale, time.monotonic() - waiting_since):
                return name
            if not said:
                why = "the first snapshot" if current is None else "a newer snapshot"
                self._say(f"step {step:,}: waiting for {why}, from: realm refresh {self._run}")
                said = True
            self._beat.beat(f"step {step:,}, waiting for a snapshot")
            time.sleep(self._recipe.poll_seconds)

    def _published(self, step: int, current: Snapshot | None, exported: Mapping[int, str]) -> str:
        for number, folder in reversed(snapshot_folders(self._run).items()):
            there = Export.read(folder / EMBEDDER)
            is_newer = (-1 if current is None else current.step) < number <= step
            if not is_newer or there is None or there.embedder != exported.get(number):
                continue
            try:
                return self._open(folder).name
            except KnowledgeBaseError as exc:
                if folder.name not in self._passed_over:
                    self._passed_over.add(folder.name)
                    self._say(f"{folder.name} is passed over: {exc}")
        return ""

    def _goes_on_without(self, step: int, snapshot: Snapshot | None, is_too_stale: bool, waited_seconds: float) -> bool:
        """Whether a step is done with what there is; says what is wrong, or raises."""
        silent = self.watch.silent_seconds()
        # The first snapshot is waited for longer: a person has to start the other process.
        if silent > (self._recipe.max_wait_seconds if snapshot is None else self._recipe.heartbeat_seconds):
            problem = f"no sign of life from a refresher for {silent:,.0f} s ({self.watch.who})"
            self._handle(problem, self.watch.who, snapshot)
            return True
        self._said_dead = ""
        if snapshot is not None and (self._gave_up or not is_too_stale):
            return True
        if snapshot is not None and waited_seconds >= self._recipe.max_wait_seconds:
            self._gave_up = True
            problem = f"waited {waited_seconds:,.0f} s for a snapshot newer than {step - snapshot.step:,} steps"
            self._handle(problem, f"step {step}", snapshot)
            return True
        return False

    def _handle(self, problem: str, cause: str, snapshot: Snapshot | None) -> None:
        """Raise, or warn once for each cause."""
        mend = f"Start one with: realm refresh {self._run}"
        if snapshot is None or self._recipe.when_refresher_dies == "stop":
            raise UsageError(f"{problem}. {mend}")
        if self._said_dead != cause:
            self._said_dead = cause
            self._say(f"{problem}; training goes on with {snapshot.name}. {mend}")
