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

from realm.errors import CorruptFileError, ModelError, UsageError
from realm.features.inputs import InputBuilder
from realm.models.embedder import RealmEmbedder
from realm.training.block_source import BlockSource
from realm.training.checkpoint import CHECKPOINT_FOLDER
from realm.training.distributed import Processes
from realm.training.embedding_progress import EmbeddingProgress
from realm.training.exports import Export, RefreshPlan, drop_exports_after, export_embedder, exports, write_plan
from realm.training.heartbeat import TrainerBeat
from realm.training.refresh_recipe import RefreshRecipe
from realm.training.refresh_waiting import OtherProcess, Say
from realm.training.snapshot_making import make_snapshot, sound_export
from realm.training.snapshots import (
    SNAPSHOTS,
    Snapshot,
    drop_snapshots_after,
    drop_snapshots_unless_cut_at,
    prune_snapshots,
    snapshot_of,
)

_LOOKS_PER_PERIOD = 50
_LOG = logging.getLogger(__name__)


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
        self._period = recipe.period_steps
        self._tokenizer = tokenizer
        self._is_begun = False
        self._beat = TrainerBeat(run)
        self._other = OtherProcess(run, recipe, self._open, self._beat, say)
        self._exported: dict[int, str] = {}  # digests by step: of this training, not of one that was lost by a kill
        self._refresh_seconds, self._refreshed_at = 0.0, time.monotonic()

    def at_border(self, step: int) -> Snapshot:
        """The snapshot for a step; called on every process before the step, when `step` steps are done.

        Raises:
            ModelError: The embedder makes vectors that are not finite.
            UsageError: There is no snapshot and no living refresher; or there is one no longer, and the recipe says
                to stop.
        """
        self._begin(step)
        if self._recipe.refresh == "other_process":
            if self._processes.is_first:
                self._beat.beat(f"step {step:,}")
            self._export_if_due(step)
            if self.snapshot is None or self._looks_at(step):
                self._use(self._agreed(lambda: self._published_by(step)))
        elif self._agreed_to_embed(step):
            self._use(self._embed(step))
        assert self.snapshot is not None
        return self.snapshot

    def state(self) -> dict[str, Any]:
        """What a checkpoint remembers: the snapshot in use, and exports that may yet become snapshots."""
        if self.snapshot is None:
            return {"snapshot": None}
        newer = {str(step): digest for step, digest in self._exported.items() if step > self.snapshot.step}
        return {"snapshot": self.snapshot.name, "embedder": self.snapshot.export.embedder, "exported": newer}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up the snapshot that a checkpoint names; one that is missing or damaged is made anew.

        Raises:
            CorruptFileError: It cannot be made anew, because no copy of its embedder is left.
            KnowledgeBaseError: It is of another corpus.
            ModelError: It is of another model.
        """
        self._exported = {int(step): digest for step, digest in state.get("exported", {}).items()}
        name = state.get("snapshot")
        if name is None:
            return
        folder, embedder = self._run / SNAPSHOTS / name, state.get("embedder", "")
        if self._agreed(lambda: "" if self._holds(folder, embedder) else "damaged"):
            self._make_anew(folder, embedder)
        self.snapshot = self._open(folder)

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
            if self.snapshot is None:
                drop_snapshots_unless_cut_at(
                    self._run, min(self._plan.max_pieces, self._embedder.config.max_position_embeddings)
                )
            self._exported = {export.step: export.embedder for export in exports(self._run)} | self._exported
            if self._recipe.refresh == "other_process":
                drop_snapshots_after(self._run, step)
                write_plan(self._run, self._plan.of(self._blocks), self._tokenizer)
        self._other.begin()

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

    def _holds(self, folder: Path, embedder: str) -> bool:
        """Whether a folder has a whole snapshot, of this embedder if it is known."""
        try:
            export = self._open(folder).export
        except (CorruptFileError, ModelError, OSError):
            return False
        return embedder in ("", export.embedder) and export.is_sound()

    def _make_anew(self, folder: Path, embedder: str) -> None:
        export = sound_export(self._run, folder.name, embedder)
        if export is None:
            raise CorruptFileError(
                f"{self._run / CHECKPOINT_FOLDER} goes on with {folder}, which is missing or damaged, and no copy of "
                "its embedder is left to make it anew. Put that folder back, or begin anew in another run folder."
            )
        if self._processes.is_first:
            self._say(f"{folder} is missing or damaged, and is made anew from its embedder")
        self._make(export)

    def _use(self, name: str) -> None:
        """Change to a snapshot, if it is another one, and delete what is not needed any more."""
        if not name:
            return
        before = self.state()["snapshot"]
        self.snapshot = self._open(self._run / SNAPSHOTS / name)
        self._other.renew()
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
        there = snapshot_of(self._run, export, self._blocks)
        name = self._agreed(lambda: there.name if there is not None else "")
        if not name:
            name = self._make(export).name
        self._refresh_seconds, self._refreshed_at = time.monotonic() - begin, time.monotonic()
        return name

    def _make(self, export: Export) -> Path:
        return make_snapshot(
            self._run, export, self._blocks, self._builder, self._embedder.device, max_pieces=self._plan.max_pieces,
            processes=self._processes, progress=self._progress,
        )  # fmt: skip

    def _export(self, step: int) -> None:
        self._exported[step] = export_embedder(self._run, step, self._embedder).embedder

    # ---- another process embeds

    def _export_if_due(self, step: int) -> None:
        """Called at every border: also in a run that was killed before its first snapshot."""
        is_due = step % self._period == 0 or (self.snapshot is None and not exports(self._run))
        if is_due and self._processes.is_first:
            self._export(step)

    def _published_by(self, step: int) -> str:
        return self._other.newest(step, self.snapshot, self._exported, self._is_too_stale(step))
