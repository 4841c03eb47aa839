"""Which exports and snapshots count: after kills, mended mistakes and wrong blocks."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_embedder import change, tiny_blocks
from tiny_trainer import CPU, Trainer, begun, refreshed

from realm.errors import UsageError
from realm.training import snapshot_making
from realm.training.exports import exports, read_plan, write_plan
from realm.training.refresh_process import RefreshReport, refresh_run
from realm.training.snapshot_making import make_snapshot, started_export

Make = Callable[..., Trainer]


def digest_in_use(work: Trainer) -> str:
    assert work.refresher.snapshot is not None
    return work.refresher.snapshot.export.embedder


def resumed_with_other_weights(trainer: Make) -> Trainer:
    """Killed after step 4, when the export of step 3 was being embedded; resumed at 2; it comes to other weights."""
    first = begun(trainer())
    refreshed(first)
    first.go(2)
    saved = first.checkpoint()
    first.go(2)
    started_export(first.run, exports(first.run)[-1])
    again = trainer().resume(saved)
    change(again.embedder, 77)
    return again


def test_what_a_lost_training_began_to_embed_is_not_gone_on_with(trainer: Make) -> None:
    again = resumed_with_other_weights(trainer)
    again.go(2)
    assert refreshed(again) == 3
    assert [step for step, _ in again.go(1)] == [3]
    assert digest_in_use(again) == exports(again.run)[-1].embedder


def test_a_snapshot_of_a_lost_training_is_not_used_and_makes_room_for_the_right_one(trainer: Make) -> None:
    again = resumed_with_other_weights(trainer)
    again.go(1)
    lost = snapshot_making.begun_export(again.run, 3)
    assert lost is not None
    again.go(1)
    make_snapshot(again.run, lost, again.blocks, again.builder, CPU, max_pieces=160)
    assert [step for step, _ in again.go(1)] == [0]
    assert refreshed(again) == 3
    assert [step for step, _ in again.go(1)] == [3]
    assert digest_in_use(again) == exports(again.run)[-1].embedder


def test_a_lost_snapshot_is_not_used_either_when_the_export_of_its_step_is_gone(trainer: Make) -> None:
    again = resumed_with_other_weights(trainer)
    again.go(8)
    assert [export.step for export in exports(again.run)] == [6, 9]
    assert refreshed(again) == 3
    assert [step for step, _ in again.go(1)] == [0]
    last = trainer().resume(again.checkpoint())
    assert [step for step, _ in last.go(1)] == [0]
    assert refreshed(last) == 9
    assert [step for step, _ in last.go(1)] == [9]


def test_a_snapshot_that_took_longer_than_its_export_was_kept_is_used_also_after_a_resume(trainer: Make) -> None:
    work = begun(trainer())
    refreshed(work)
    work.go(4)
    slow = started_export(work.run, exports(work.run)[-1])
    work.go(6)
    assert [export.step for export in exports(work.run)] == [6, 9]
    make_snapshot(work.run, slow, work.blocks, work.builder, CPU, max_pieces=160)
    again = trainer().resume(work.checkpoint())
    assert [step for step, _ in again.go(1)] == [3]


def test_a_run_begun_anew_with_another_embedder_does_not_use_the_first_snapshot(trainer: Make) -> None:
    first = begun(trainer())
    refreshed(first)
    first.go(2)
    mended = trainer()
    change(mended.embedder, 99)
    begun(mended)
    other = threading.Timer(0.5, refresh_run, [mended.run], {"once": True})
    other.start()
    assert [step for step, _ in mended.go(1)] == [0]
    other.join()
    assert digest_in_use(mended) == exports(mended.run)[-1].embedder != digest_in_use(first)


def test_a_run_begun_anew_with_blocks_of_another_length_does_not_use_the_first_snapshot(trainer: Make) -> None:
    trainer(refresh="in_step").go(1)
    mended = trainer(refresh="in_step")
    mended.refresher._plan = dataclasses.replace(mended.refresher._plan, max_pieces=40)
    mended.go(1)
    assert mended.refresher.snapshot is not None
    assert mended.refresher.snapshot.vectors.parents.max_pieces == 40


def test_a_refresher_with_other_blocks_stops_before_it_embeds(trainer: Make, trunk: Path, tmp_path: Path) -> None:
    work = begun(trainer())
    (tmp_path / "other").mkdir()
    tiny_blocks(trunk, tmp_path / "other", 12, seed=9)
    with pytest.raises(UsageError, match=r"25 blocks, .* the trainer has 20, .* Give --blocks the same source"):
        refresh_run(work.run, once=True, blocks=next((tmp_path / "other").glob("*.jsonl")))
    assert not (work.run / "refreshing").exists()
    assert refresh_run(work.run, once=True) == 1


def test_a_refresher_stops_when_its_training_is_begun_anew_with_other_blocks(
    trainer: Make, trunk: Path, tmp_path: Path
) -> None:
    work = begun(trainer())
    others = tiny_blocks(trunk, tmp_path, 12, seed=9)

    def begin_anew(step: int, seconds: float) -> None:
        plan, folder = read_plan(work.run)
        write_plan(work.run, plan.of(others), folder / "tokenizer.json")
        change(work.embedder, 5)
        work.refresher._export(0)

    with pytest.raises(UsageError, match="is not what is trained with"):
        refresh_run(work.run, poll_seconds=0.01, report=RefreshReport(published=begin_anew))


def test_a_snapshot_of_other_blocks_is_passed_over_said_once_and_made_anew(
    trainer: Make, trunk: Path, tmp_path: Path
) -> None:
    work = begun(trainer())
    refreshed(work)
    work.go(4)
    others = tiny_blocks(trunk, tmp_path, 12, seed=9)
    make_snapshot(work.run, exports(work.run)[-1], others, work.builder, CPU, max_pieces=160)
    assert [step for step, _ in work.go(2)] == [0, 0]
    (said,) = work.said
    assert "step-00000003 is passed over" in said
    assert "snapshot of another corpus (25 blocks" in said
    assert refreshed(work) == 3
    assert [step for step, _ in work.go(1)] == [3]
