"""Runs that the system kills, or leaves without room, end as if nothing had happened."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import toy_job

pytest.importorskip("accelerate", reason="training needs the extra `train`")


def result(run: Path) -> tuple[bytes, list[dict[str, Any]]]:
    """Weights and optimiser state of the last checkpoint, bit by bit, and the log without times."""
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    kept = [{key: value for key, value in line.items() if not key.startswith("seconds")} for line in log]
    return (run / "checkpoint" / "state.safetensors").read_bytes(), kept


@dataclasses.dataclass(frozen=True)
class Harmed:
    """Runs of the program in `toy_job`: their folder, how each process ended, and what was complained about."""

    folder: Path
    ends: list[list[int]]
    complaints: str


@pytest.fixture(scope="module")
def harmed(tmp_path_factory: pytest.TempPathFactory) -> Harmed:
    folder = tmp_path_factory.mktemp("harmed")
    program = subprocess.run(
        [sys.executable, toy_job.__file__, str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert program.returncode == 0, program.stderr
    return Harmed(folder, [[int(end) for end in line.split()] for line in program.stdout.splitlines()], program.stderr)


def same_models(one: Path, other: Path) -> bool:
    found, expected = (torch.load(run / "model" / "weights", weights_only=True) for run in (one, other))
    return all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.slow
def test_run_killed_twice_by_the_system_ends_with_the_same_bits(harmed: Harmed) -> None:
    assert harmed.ends[:2] == [[-9, -9, 0], [0]]
    assert result(harmed.folder / "cut") == result(harmed.folder / "whole")
    assert same_models(harmed.folder / "cut", harmed.folder / "whole")


@pytest.mark.slow
def test_run_killed_at_random_moments_ends_with_the_same_bits_log_index_and_best_weights(harmed: Harmed) -> None:
    hunted, calm = harmed.folder / "hunted", harmed.folder / "calm"
    assert set(harmed.ends[2][:-1]) == {-9}
    assert len(harmed.ends[2]) > 1
    assert harmed.ends[2][-1] == 0
    assert result(hunted) == result(calm)
    assert same_models(hunted, calm)
    states = [json.loads((run / "checkpoint" / "state.json").read_text()) for run in (hunted, calm)]
    assert states[0] == states[1]
    assert states[0]["job"]["version"] != 0
    assert sorted(path.name for path in hunted.iterdir()) == [
        "best", "checkpoint", "finished.json", "log.jsonl", "model",
    ]  # fmt: skip


@pytest.mark.slow
def test_run_without_room_for_a_checkpoint_goes_on_from_the_last_one_once_there_is(harmed: Harmed) -> None:
    assert harmed.ends[4] == [2, 0]
    assert "File too large. The checkpoint of step 4 is whole: make room, then give the same" in harmed.complaints
    log = result(harmed.folder / "full")[1]
    assert [line["step"] for line in log] == [3, 6, 9, 11]
