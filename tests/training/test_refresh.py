"""Which snapshot a step uses, in all three modes, and what is said when there is none."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_embedder import change, tiny_blocks
from tiny_trainer import Trainer, recipe_of, refreshed

from realm.errors import RecipeError, UsageError
from realm.training import refresh
from realm.training.exports import exports
from realm.training.heartbeat import TRAINER, claimed, read_beat
from realm.training.refresh_process import RefreshReport, next_export, refresh_run
from realm.training.refresh_recipe import RefreshRecipe
from realm.training.snapshot_making import started_export
from realm.training.snapshots import snapshot_folders

Make = Callable[..., Trainer]


@pytest.fixture
def trainer(trunk: Path, tmp_path: Path) -> Make:
    blocks = tiny_blocks(trunk, tmp_path, 10)

    def make(run: str = "run", **keys: Any) -> Trainer:
        (tmp_path / run).mkdir(exist_ok=True)
        return Trainer(tmp_path / run, trunk, blocks, recipe_of(**keys))

    return make


def test_in_step_every_nth_step_has_a_fresh_snapshot(trainer: Make) -> None:
    work = trainer()
    used = work.go(8)
    assert [step for step, _ in used] == [0, 0, 0, 3, 3, 3, 6, 6]
    assert len({scores for _, scores in used}) == 3
    assert not work.said
    assert work.refresher.staleness(8)["stale_steps"] == 2
    assert 0 <= work.refresher.staleness(8)["stale_seconds"] < 60
    assert list(snapshot_folders(work.run)) == [3, 6]


def test_the_stale_factor_leaves_refreshes_out(trainer: Make) -> None:
    assert [step for step, _ in trainer(stale_factor=2).go(8)] == [0, 0, 0, 0, 0, 0, 6, 6]


def test_in_step_a_killed_run_goes_on_as_if_it_had_not_been(trainer: Make) -> None:
    whole = trainer("whole").go(8)
    for checkpoint_at in (2, 3, 5):
        first = trainer(f"cut at {checkpoint_at}")
        used = first.go(checkpoint_at)
        saved = first.checkpoint()
        first.go(7 - checkpoint_at)  # beyond the checkpoint, then killed
        embedded = len(first.embedded)
        again = trainer(f"cut at {checkpoint_at}").resume(saved)
        assert used + again.go(8 - checkpoint_at) == whole
        # The weights come to the same at steps 3 and 6: what was embedded before the kill is found.
        assert embedded
        assert not again.embedded


def test_in_turns_embedding_keeps_to_its_share_of_the_time(trainer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    work = trainer(refresh="in_turns", refresh_every_steps=2, turn_share=0.25)
    now = 0.0
    embed = work.refresher._embed

    def clock(step: int) -> str:
        nonlocal now
        begin = now
        name = embed(step)
        now = begin + 6.0
        work.refresher._refresh_seconds, work.refresher._refreshed_at = 6.0, now
        return name

    monkeypatch.setattr(refresh.time, "monotonic", lambda: now)
    monkeypatch.setattr(work.refresher, "_embed", clock)
    used = []
    for _ in range(20):
        used += [step for step, _ in work.go(1)]
        now += 2.0  # a step
    # 6 s of embedding are a quarter of the time after 18 s, or 9 steps, of training.
    assert used == [0] * 9 + [9] * 9 + [18] * 2


def test_the_trainer_changes_at_a_border_after_another_process_has_published(trainer: Make) -> None:
    work = trainer(refresh="other_process", poll_seconds=0.01)
    other = threading.Thread(target=refresh_run, args=(work.run,), kwargs={"once": False, "poll_seconds": 0.01})
    work.refresher._begin(0)  # writes the plan
    other.start()
    used, deadline = [0], time.monotonic() + 20
    while used[-1] < 3 and time.monotonic() < deadline:
        used += [step for step, _ in work.go(1)]
        time.sleep(0.02)
    (work.run / "finished.json").write_text("{}")
    other.join(20)
    assert not other.is_alive()
    assert used == sorted(used)
    assert used[-1] >= 3
    assert work.said == [f"step 0: waiting for the first snapshot, from: realm refresh {work.run}"]
    assert not (work.run / "refresher").exists()


def test_a_trainer_waits_at_the_bound_and_no_longer_than_it_may(trainer: Make) -> None:
    work = trainer(refresh="other_process", max_stale_steps=4, max_wait_seconds=0.2, poll_seconds=0.01)
    with claimed(work.run, 0.05):
        work.refresher._begin(0)
        work.refresher._export_if_due(0)
        assert refreshed(work) == 0
        assert [step for step, _ in work.go(4)] == [0] * 4
        began = time.monotonic()
        assert [step for step, _ in work.go(2)] == [0, 0]
        assert 0.2 <= time.monotonic() - began < 5
        assert len(work.said) == 2
        assert "waiting for a newer snapshot" in work.said[0]
        assert "waited 0 s for a snapshot newer than 4 steps; training goes on" in work.said[1]
        assert refreshed(work) == 3
        assert [step for step, _ in work.go(1)] == [3]


def test_a_dead_refresher_is_said_once_or_stops_the_run(trainer: Make) -> None:
    work = trainer(refresh="other_process", heartbeat_seconds=1, poll_seconds=0.01)
    work.refresher._begin(0)
    work.refresher._export_if_due(0)
    refreshed(work)
    with claimed(work.run, 0.05) as claim:
        claim.tell("embedding step 3")
        time.sleep(0.2)
        work.go(3)
    assert not work.said
    work.refresher._other.watch._since -= 2  # two seconds pass without a beat
    assert [step for step, _ in work.go(3)] == [0] * 3
    assert len(work.said) == 1
    assert "no sign of life from a refresher for 2 s" in work.said[0]
    assert "last seen embedding step 3" in work.said[0]
    strict = trainer(refresh="other_process", heartbeat_seconds=1, when_refresher_dies="stop", poll_seconds=0.01)
    strict.go(1)
    strict.refresher._other.watch._since -= 2
    with pytest.raises(UsageError, match=r"no sign of life .* Start one with: realm refresh"):
        strict.go(1)


def test_without_any_refresher_a_run_that_needs_one_stops_after_the_longest_wait(trainer: Make) -> None:
    work = trainer(refresh="other_process", heartbeat_seconds=1, max_wait_seconds=2, poll_seconds=0.05)
    began = time.monotonic()
    with pytest.raises(UsageError, match=r"no refresher has been seen\). Start one with: realm refresh"):
        work.go(1)
    assert time.monotonic() - began >= 2
    assert [export.step for export in exports(work.run)] == [0]


def test_a_refresher_says_once_that_its_trainer_has_ended(
    trainer: Make, trunk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = trainer(refresh="other_process", poll_seconds=0.01)
    work.refresher._begin(0)
    work.refresher._export_if_due(0)
    refreshed(work)
    work.go(2)
    said: list[str] = []
    finish = threading.Timer(3, (work.run / "finished.json").write_text, ["{}"])
    finish.start()
    beats = [read_beat(work.run, TRAINER)]
    assert beats[0] is not None
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (work.run / TRAINER / "beat.json").write_text(json.dumps({**beats[0], "pid": ended.pid}))
    refresh_run(work.run, poll_seconds=0.01, report=RefreshReport(say=said.append))
    finish.join()
    assert len(said) == 1
    assert f"its training has ended and is not finished (process {ended.pid} on" in said[0]


def test_what_a_killed_trainer_left_of_later_steps_is_dropped(trainer: Make) -> None:
    first = trainer(refresh="other_process", poll_seconds=0.01)
    first.refresher._begin(0)
    first.refresher._export_if_due(0)
    refreshed(first)
    first.go(2)
    saved = first.checkpoint()
    first.go(3)
    assert refreshed(first) == 3
    again = trainer(refresh="other_process", poll_seconds=0.01).resume(saved)
    assert [step for step, _ in again.go(2)] == [0, 0]
    assert list(snapshot_folders(again.run)) == [0]
    assert [export.step for export in exports(again.run)] == [0, 3]
    assert refreshed(again) == 3
    # What was begun of steps that a resumed training has yet to do is not gone on with.
    change(again.embedder, 50)
    again.refresher._export(9)
    (again.run / "refreshing").mkdir(exist_ok=True)
    started_export(again.run, exports(again.run)[-1])
    last = trainer(refresh="other_process", poll_seconds=0.01).resume(saved)
    last.refresher._begin(2)
    assert next_export(again.run, again.blocks) is None
    assert not exports(again.run)


def test_a_recipe_with_these_keys_checks_their_values() -> None:
    recipe_of()
    with pytest.raises(RecipeError, match="refresh must be one of in_step"):
        recipe_of(refresh="in_steps")
    with pytest.raises(RecipeError, match="stale_factor must be at least 1"):
        recipe_of(stale_factor=0)
    assert "poll_seconds" in RefreshRecipe.keys_that_may_change()


def test_a_recipe_whose_trainer_would_wait_for_an_export_of_later_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"max_stale_steps is 5, but .* every 6 steps .*_steps = 3, stale_factor = 2"):
        recipe_of(refresh="other_process", max_stale_steps=5, stale_factor=2)
    recipe_of(refresh="other_process", max_stale_steps=6, stale_factor=2)
    recipe_of(refresh="in_turns", max_stale_steps=5, stale_factor=2)


def test_vectors_of_a_snapshot_in_use_stay_readable_when_it_is_deleted(trainer: Make) -> None:
    rows = np.arange(10)
    work = trainer(keep_snapshots=1)
    work.go(1)
    first = work.refresher.snapshot
    assert first is not None
    before = first.vectors.vectors.take(rows)
    work.go(9)
    assert not first.folder.exists()
    assert first.vectors.vectors.take(rows).tobytes() == before.tobytes()
