"""The other process: waits for exports, embeds all blocks with the newest, publishes, until training is finished.

    run/exports ──newest──► embed (goes on where a killed one stopped) ──► run/snapshots ──► look again, with sleep

It talks to the trainer through the run folder alone. Read `refresh_run` first.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from realm.errors import RecipeError
from realm.features.inputs import InputBuilder
from realm.text.pieces import PieceTokenizer
from realm.training.block_source import BlockSource, open_blocks
from realm.training.checkpoint import no_room_is_said
from realm.training.distributed import Processes
from realm.training.embedding_progress import EmbeddingProgress
from realm.training.exports import Export, RefreshPlan, exports, has_plan, is_finished, is_wanted, read_plan
from realm.training.heartbeat import TRAINER, Claim, HeartbeatWatch, claimed
from realm.training.snapshot_making import begun_export, begun_exports, make_snapshot, started_export
from realm.training.snapshots import snapshot_of

_TRAINER_SILENT_SECONDS = 600.0


@dataclass(frozen=True)
class RefreshReport:
    """What is told while a run is refreshed.

    Attributes:
        opening: Called with the number of blocks while their store is made.
        embedding: Called with the step and how far its embedding is.
        published: Called with the step, and seconds it took.
        say: Called with what a person should know.
    """

    opening: Callable[[int], None] = lambda blocks: None
    embedding: Callable[[int, EmbeddingProgress], None] = lambda step, progress: None
    published: Callable[[int, float], None] = lambda step, seconds: None
    say: Callable[[str], None] = lambda what: None


class _Abandoned(Exception):
    """Nobody waits for these vectors any more."""


def refresh_run(
    run: Path,
    *,
    once: bool = False,
    poll_seconds: float = 5.0,
    blocks: Path | None = None,
    cache: Path | None = None,
    device: torch.device | None = None,
    report: RefreshReport = RefreshReport(),
) -> int:
    """Refresh a run's index until its training is finished; waits for one that has not begun.

    Args:
        run: The run folder, which the trainer writes on this machine or another one.
        once: End when the newest export has been embedded.
        poll_seconds: How long to sleep between two looks.
        blocks: Where the blocks are on this machine, if elsewhere than on the trainer's.
        cache: Folder of stores of blocks; `cache` in the run folder unless given.
        device: Where to embed; the fastest there is unless given.
        report: Is told what happens.

    Returns:
        How many snapshots were published.

    Raises:
        RecipeError: With `once`, the run does not ask for this, or there is no export; or it is finished without.
        UsageError: Another process refreshes this run; or the blocks are not those that are trained with.
        SourceError: The blocks cannot be read.
        TrainingError: There is no room on the disk.
    """
    with no_room_is_said(run, lambda: "What is published stays, and so does what is embedded"):
        processes = Processes.current()
        if not once:
            _wait_for_plan(run, poll_seconds, report.say if processes.is_first else lambda what: None)
        plan, tokenizer_folder = read_plan(run)
        device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if not processes.is_first:
            return _help(run, plan, tokenizer_folder, processes, blocks, cache, device)
        with claimed(run) as claim:
            claim.tell("opening the blocks")
            work = _Work(run, plan, tokenizer_folder, processes, device, claim, report)
            work.open(blocks, cache)
            return work.until_finished(once, poll_seconds)


class _Work:
    """One process at it: the first one, which has the claim, or one that helps."""

    def __init__(
        self,
        run: Path,
        plan: RefreshPlan,
        tokenizer_folder: Path,
        processes: Processes,
        device: torch.device,
        claim: Claim | None,
        report: RefreshReport,
    ) -> None:
        self._run, self._plan, self._processes = run, plan, processes
        self._device, self._claim, self._report = device, claim, report
        self._tokenizer = PieceTokenizer.from_folder(tokenizer_folder)
        self._builder = InputBuilder(self._tokenizer)
        self._trainer, self._said_silent = HeartbeatWatch(run, TRAINER), False

    def open(self, blocks: Path | None, cache: Path | None) -> None:
        """Open the blocks; raise if they are not the trainer's, before anything is embedded."""
        self._source = blocks or Path(self._plan.blocks)
        self._blocks: BlockSource = open_blocks(
            self._source, self._tokenizer, cache or self._run / "cache", self._plan.max_documents,
            max_pieces=self._plan.max_pieces, progress=self._report.opening,
        )  # fmt: skip
        self._plan.require(self._blocks, self._source)

    def until_finished(self, once: bool, poll_seconds: float) -> int:
        published = 0
        while not is_finished(self._run):
            export = next_export(self._run, self._blocks)
            if export is None and once:
                if not exports(self._run):
                    raise RecipeError(f"{self._run} has no export yet. Start the training, or leave out --once.")
                break
            if export is None:
                self._tell("waiting for an export")
                self._look_after_trainer()
                time.sleep(poll_seconds)
                continue
            begin = time.monotonic()
            try:
                export = started_export(self._run, export)
            except FileNotFoundError:
                continue  # another one has taken its place
            self._processes.gather_texts(f"{export.step}")
            try:
                self.embed(export)
            except _Abandoned:
                continue
            published += 1
            self._report.published(export.step, time.monotonic() - begin)
        self._processes.gather_texts("")
        return published

    def embed(self, export: Export) -> None:
        def progress(done: EmbeddingProgress) -> None:
            if self._claim is not None:
                self._claim.tell(f"embedding step {export.step:,}: {done.done:,} of {done.total:,} blocks")
            self._require_wanted(export)
            self._report.embedding(export.step, done)

        self._plan, _ = read_plan(self._run)  # training may have been begun anew
        self._plan.require(self._blocks, self._source)
        try:
            make_snapshot(
                self._run, export, self._blocks, self._builder, self._device, max_pieces=self._plan.max_pieces,
                processes=self._processes, progress=progress, before_publishing=lambda: self._require_wanted(export),
            )  # fmt: skip
        except FileNotFoundError as exc:
            # A trainer that makes the snapshot of its checkpoint anew clears away what else was begun.
            if self._processes.count > 1 or begun_export(self._run, export.step) == export:
                raise
            raise _Abandoned from exc

    def _require_wanted(self, export: Export) -> None:
        """Raise if another process has the claim, training has ended, or it goes on from before this export."""
        if self._claim is not None:
            self._claim.require()
        # With helpers, leaving would keep them waiting for this process's shards.
        if self._processes.count == 1 and (is_finished(self._run) or not is_wanted(export, exports(self._run))):
            raise _Abandoned

    def _look_after_trainer(self) -> None:
        """Say once when the trainer seems to have stopped; one that is started again is worked for again."""
        silent = self._trainer.silent_seconds()
        has_ended = self._trainer.has_ended()
        if not has_ended and silent < _TRAINER_SILENT_SECONDS:
            self._said_silent = False
        elif not self._said_silent:
            self._said_silent = True
            found = "has ended" if has_ended else f"has given no sign of life for {silent / 60:,.0f} minutes"
            self._report.say(
                f"{self._run}: its training {found} and is not finished ({self._trainer.who}). Give its command again "
                "to go on, or stop this one with Ctrl-C."
            )

    def _tell(self, doing: str) -> None:
        if self._claim is not None:
            self._claim.require()
            self._claim.tell(doing)


def _wait_for_plan(run: Path, poll_seconds: float, say: Callable[[str], None]) -> None:
    """Wait until the trainer has said what is to be embedded, or has finished without."""
    said = False
    while not (has_plan(run) or is_finished(run)):
        if not said:
            say(f'waiting for a training with refresh = "other_process" in {run}')
            said = True
        time.sleep(poll_seconds)


def next_export(run: Path, blocks: BlockSource) -> Export | None:
    """What to embed now: what was begun, or else the newest export, unless it is published already."""
    offered = exports(run)
    for begun in reversed(begun_exports(run)):
        if is_wanted(begun, offered) and snapshot_of(run, begun, blocks) is None:
            return begun
    newest = offered[-1] if offered else None
    return newest if newest is not None and snapshot_of(run, newest, blocks) is None else None


def _help(
    run: Path,
    plan: RefreshPlan,
    tokenizer_folder: Path,
    processes: Processes,
    blocks: Path | None,
    cache: Path | None,
    device: torch.device,
) -> int:
    """Embed this process's share of whatever the first one takes up."""
    work = _Work(run, plan, tokenizer_folder, processes, device, None, RefreshReport())
    work.open(blocks, cache)
    published = 0
    while step := processes.gather_texts("")[0]:
        export = begun_export(run, int(step))
        if export is None:
            raise RecipeError(f"{run}: the export of step {step} is not to be seen here. Is the folder shared?")
        work.embed(export)
        published += 1
    return published
