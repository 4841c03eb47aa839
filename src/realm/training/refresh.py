"""Index refresh as the trainer sees it: which snapshot a step uses, and when the next one is made.

    in_step         every n steps the trainer's processes embed all blocks, then go on; a run is the same every time
    in_turns        the same, but so that embedding takes no more than a share of the time
    other_process   the trainer exports its embedder every n steps and goes on; `realm refresh RUN` embeds, and the
                    trainer changes to a new snapshot at a batch border

Staleness in steps is steps done since the export; in seconds, time since the export by the trainer's clock alone.
Read `Refresher` first.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from realm.errors import UsageError
from realm.features.inputs import InputBuilder
from realm.models.embedder import RealmEmbedder
from realm.training.block_source import BlockSource
from realm.training.distributed import Processes
from realm.training.embedding_progress import EmbeddingProgress
from realm.training.exports import Export, RefreshPlan, drop_exports_after, export_embedder, exports, write_plan
from realm.training.heartbeat import HeartbeatWatch, TrainerBeat
from realm.training.refresh_recipe import RefreshRecipe
from realm.training.snapshots import (
    SNAPSHOTS,
    Snapshot,
    drop_snapshots_after,
    make_snapshot,
    prune_snapshots,
    snapshot_folders,
    snapshot_of,
)

_LOOKS_PER_PERIOD = 50
_LOG = logging.getLogger(__name__)
Say = Callable[[str], None]


class Refresher:
    """Says which snapshot the next step uses.

    Args:
        run: The run folder; the same one for all processes.
        recipe: When to refresh.
        blocks: The corpus.
        builder: Of the model's tokenizer.
        embedder: The one that is trained; its weights are read at exports.
        plan: Of which blocks, for another process; and the longest input.
        tokenizer: The model's `tokenizer.json`, for another process.
        processes: This process among those that train.
        progress: Is told how embedding goes, in the modes where the trainer does it; see `embed_corpus`.
        say: Is told what a person should know; a warning of this module's logger unless given.
    """

    def __init__(
        self,
        run: Path,
        recipe: RefreshRecipe,
        blocks: BlockSource,
        builder: InputBuilder,
        embedder: RealmEmbedder,
        plan: RefreshPlan,
        tokenizer: Path,
        *,
        processes: Processes = Processes(),  # noqa: B008 - frozen
        progress: Callable[[EmbeddingProgress], None] | None = None,
        say: Say = _LOG.warning,
    ) -> None:
        self.snapshot: Snapshot | None = None
        self._run, self._recipe, self._blocks, self._builder = run, recipe, blocks, builder
        self._embedder, self._plan, self._processes = embedder, plan, processes
        self._progress, self._say = progress, say
        self._period = recipe.refresh_every_steps * recipe.stale_factor
        self._tokenizer = tokenizer
        self._is_begun = False
        self._beat = TrainerBeat(run)
        self._said_dead, self._gave_up = "", False
        self._refresh_seconds, self._refreshed_at = 0.0, time.monotonic()

    def at_border(self, step: int) -> Snapshot:
        """The snapshot for a step; called on every process before the step, when `step` steps are done.

        Raises:
            KnowledgeBaseError: A snapshot is of another corpus.
            ModelError: A snapshot is of another model; or the embedder makes vectors that are not finite.
            UsageError: There is no snapshot and no living refresher; or there is one no longer, and the recipe says
                to stop.
        """
        self._begin(step)
        if self._recipe.refresh == "other_process":
            if self._processes.is_first:
                self._beat.beat(f"step {step:,}")
            self._export_if_due(step)
            if self.snapshot is None or self._looks_at(step):
                self._use(self._agreed(lambda: self._newest(step)))
        elif self._agreed_to_embed(step):
            self._use(self._embed(step))
        assert self.snapshot is not None
        return self.snapshot

    def state(self) -> dict[str, Any]:
        """What a checkpoint remembers: the snapshot in use."""
        return {"snapshot": None if self.snapshot is None else self.snapshot.name}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up the snapshot that a checkpoint names.

        Raises:
            CorruptFileError: It is not there any more, or not whole.
        """
        name = state.get("snapshot")
        if name is not None:
            self.snapshot = self._open(self._run / SNAPSHOTS / name)

    def staleness(self, step: int) -> dict[str, float]:
        """Figures for the log: age of the snapshot in use, in steps and seconds."""
        if self.snapshot is None:
            return {}
        seconds = max(0.0, time.time() - self.snapshot.export.exported_at)
        return {"stale_steps": float(step - self.snapshot.step), "stale_seconds": seconds}

    def _begin(self, step: int) -> None:
        if self._is_begun:
            return
        self._is_begun = True
        if self._processes.is_first:
            drop_exports_after(self._run, step)
            if self._recipe.refresh == "other_process":
                drop_snapshots_after(self._run, step)
                write_plan(self._run, self._plan, self._tokenizer)
        self._watch = HeartbeatWatch(self._run)

    def _looks_at(self, step: int) -> bool:
        """Whether this border is one of those where processes agree what to do: they must look at the same ones."""
        return step % max(1, self._period // _LOOKS_PER_PERIOD) == 0 or self._is_too_stale(step)

    def _is_too_stale(self, step: int) -> bool:
        limit = self._recipe.max_stale_steps
        return bool(limit) and self.snapshot is not None and step - self.snapshot.step >= limit

    def _agreed(self, decide: Callable[[], str]) -> str:
        """What the first process decides; the others wait for it."""
        return self._processes.gather_texts(decide() if self._processes.is_first else "")[0]

    def _open(self, folder: Path) -> Snapshot:
        return Snapshot.open(folder, self._blocks, self._embedder.config)

    def _use(self, name: str) -> None:
        """Change to a snapshot, if it is another one, and delete what is not needed any more."""
        if not name:
            return
        before = self.state()["snapshot"]
        self.snapshot = self._open(self._run / SNAPSHOTS / name)
        self._gave_up = False
        if self._processes.is_first:
            prune_snapshots(self._run, self._recipe.keep_snapshots, {name, before})

    # ---- the trainer embeds

    def _agreed_to_embed(self, step: int) -> bool:
        current = self.snapshot
        if current is None:
            return True
        if self._recipe.refresh == "in_step":
            return step % self._period == 0 and current.step != step
        if step - current.step < self._period:
            return False
        return self._agreed(lambda: "now" if self._is_our_turn() else "") == "now"

    def _is_our_turn(self) -> bool:
        """Whether embedding as long as last time keeps to its share of the time since then."""
        trained = time.monotonic() - self._refreshed_at
        return self._refresh_seconds <= self._recipe.turn_share * (trained + self._refresh_seconds)

    def _embed(self, step: int) -> str:
        begin = time.monotonic()
        if self._processes.is_first:
            self._export(step)
        self._processes.barrier()
        export = next((found for found in exports(self._run) if found.step == step), None)
        if export is None:
            raise UsageError(f"{self._run}: the export of step {step} is not to be seen here. Is the folder shared?")
        there = snapshot_of(self._run, export)
        name = self._agreed(lambda: there.name if there is not None else "")
        if not name:
            name = make_snapshot(
                self._run, export, self._blocks, self._builder, self._embedder.device,
                max_pieces=self._plan.max_pieces, processes=self._processes, progress=self._progress,
            ).name  # fmt: skip
        self._refresh_seconds, self._refreshed_at = time.monotonic() - begin, time.monotonic()
        return name

    def _export(self, step: int) -> Export:
        return export_embedder(self._run, step, self._embedder)

    # ---- another process embeds

    def _export_if_due(self, step: int) -> None:
        """Called at every border: also in a run that was killed before its first snapshot."""
        is_due = step % self._period == 0 or (self.snapshot is None and not exports(self._run))
        if is_due and self._processes.is_first:
            self._export(step)

    def _newest(self, step: int) -> str:
        """Name of a newer snapshot, or nothing; waits for one where there must be one."""
        waiting_since, said = time.monotonic(), False
        while True:
            name = self._published_by(step)
            if name:
                return name
            waited = time.monotonic() - waiting_since
            if self._goes_on_without(step, waited):
                return ""
            if not said:
                why = "the first snapshot" if self.snapshot is None else "a newer snapshot"
                self._say(f"step {step:,}: waiting for {why}, from: realm refresh {self._run}")
                said = True
            self._beat.beat(f"step {step:,}, waiting for a snapshot")
            time.sleep(self._recipe.poll_seconds)

    def _published_by(self, step: int) -> str:
        """Newest snapshot that is newer than the one in use and not of steps that are still to be done."""
        current = -1 if self.snapshot is None else self.snapshot.step
        newest = max((number for number in snapshot_folders(self._run) if current < number <= step), default=None)
        return "" if newest is None else snapshot_folders(self._run)[newest].name

    def _goes_on_without(self, step: int, waited_seconds: float) -> bool:
        """Whether the step is done with what there is; says what is wrong, or raises."""
        silent = self._watch.silent_seconds()
        # The first snapshot is waited for longer: a person has to start the other process.
        if silent > (self._recipe.max_wait_seconds if self.snapshot is None else self._recipe.heartbeat_seconds):
            self._handle(f"no sign of life from a refresher for {silent:,.0f} s ({self._watch.who})", self._watch.who)
            return True
        self._said_dead = ""
        if self.snapshot is not None and (self._gave_up or not self._is_too_stale(step)):
            return True
        if self.snapshot is not None and waited_seconds >= self._recipe.max_wait_seconds:
            stale = self.staleness(step)["stale_steps"]
            self._gave_up = True
            self._handle(f"waited {waited_seconds:,.0f} s for a snapshot newer than {stale:,.0f} steps", f"step {step}")
            return True
        return False

    def _handle(self, problem: str, cause: str) -> None:
        """Raise, or warn once for each cause."""
        mend = f"Start one with: realm refresh {self._run}"
        if self.snapshot is None or self._recipe.when_refresher_dies == "stop":
            raise UsageError(f"{problem}. {mend}")
        if self._said_dead != cause:
            self._said_dead = cause
            self._say(f"{problem}; training goes on with {self.snapshot.name}. {mend}")
