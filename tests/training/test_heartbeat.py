"""One refresher at a time; a dead one is noticed by the clock of whoever looks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from realm.errors import UsageError
from realm.training import heartbeat
from realm.training.heartbeat import HeartbeatWatch, claimed, read_beat

BEAT = 0.05


def forge(run: Path, **values: object) -> None:
    """A claim as somebody else would have left it."""
    (run / "refresher").mkdir()
    beat = {"token": "x", "machine": "elsewhere", "host": "far", "pid": 1, "every_seconds": BEAT, "beats": 3}
    (run / "refresher" / "beat.json").write_text(json.dumps({**beat, "doing": "nothing", **values}))


def test_a_second_refresher_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    with claimed(tmp_path, BEAT) as claim:
        claim.tell("embedding step 500")
        time.sleep(3 * BEAT)
        with pytest.raises(UsageError, match=rf"by process {os.getpid()} on .* \(embedding step 500\)"):  # noqa: SIM117
            with claimed(tmp_path, BEAT):
                pass
        claim.require()
    assert read_beat(tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_a_claim_whose_count_stands_still_is_taken_whatever_its_times_say(tmp_path: Path) -> None:
    forge(tmp_path)
    tomorrow = time.time() + 86_400
    os.utime(tmp_path / "refresher" / "beat.json", (tomorrow, tomorrow))
    began = time.monotonic()
    with claimed(tmp_path, BEAT):
        assert time.monotonic() - began >= 4 * BEAT
        found = read_beat(tmp_path)
        assert found is not None
        assert found["pid"] == os.getpid()


def test_a_process_of_this_machine_that_has_ended_is_replaced_at_once(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    forge(tmp_path, machine=heartbeat._machine(), pid=ended.pid, every_seconds=1000)
    with claimed(tmp_path, BEAT) as claim:
        claim.require()


def test_a_refresher_that_lost_its_claim_stops(tmp_path: Path) -> None:
    with claimed(tmp_path, BEAT) as claim:
        heartbeat.remove_folder(tmp_path / "refresher")
        forge(tmp_path, beats=9)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and not claim._lost:
            time.sleep(BEAT)
        with pytest.raises(UsageError, match="another process refreshes this run now"):
            claim.require()
    found = read_beat(tmp_path)
    assert found is not None
    assert found["beats"] == 9


def test_silence_counts_from_the_last_new_beat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(heartbeat.time, "monotonic", lambda: now)
    watch = HeartbeatWatch(tmp_path)
    now = 130.0
    assert watch.silent_seconds() == 30.0
    assert "no refresher" in watch.who
    forge(tmp_path, beats=4)
    assert watch.silent_seconds() == 0.0
    now = 150.0
    assert watch.silent_seconds() == 20.0
    assert watch.who == "process 1 on far, last seen nothing"
