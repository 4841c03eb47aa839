"""Runs of `ict` that are killed and resumed, or shared by two processes: the same losses as one alone."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from memory_blocks import ict_recipe, train_run
from safetensors.torch import load_file

PROGRAM = str(Path(__file__).with_name("memory_blocks.py"))
CLOCKS = {"seconds_per_step", "seconds_left", "examples_per_second"}


def log_of(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def run_processes(trunk: Path, run: Path, count: int) -> None:
    """Train in `count` processes, as torchrun would start them."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count), "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, PROGRAM, str(trunk), str(run)],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank), "ACCELERATE_USE_CPU": "true"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    said = [process.communicate(timeout=300)[1] for process in started]
    assert [process.returncode for process in started] == [0] * count, "\n".join(said)


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(trunk: Path, tmp_path: Path) -> None:
    train_run(ict_recipe(trunk), tmp_path / "1")
    run_processes(trunk, tmp_path / "2", 2)
    one, two = (log_of(tmp_path / str(count)) for count in (1, 2))
    assert len(one) == len(two) >= 6
    for first, second in zip(one, two, strict=True):
        assert first.keys() == second.keys()
        for key in first.keys() - CLOCKS - {"padding_share"}:
            assert second[key] == pytest.approx(first[key], rel=1e-3, abs=1e-5), key
    weights = [load_file(tmp_path / str(count) / "model" / "model.safetensors") for count in (1, 2)]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, atol=1e-4, rtol=1e-3)


@pytest.mark.slow
def test_run_that_is_killed_twice_learns_what_one_does_that_never_stops(trunk: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, PROGRAM, str(trunk), str(tmp_path), "--kill", "3,5"],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["-9", "-9", "0", "0"]
    cut, whole = ([line for line in log_of(tmp_path / name) if "loss" in line] for name in ("cut", "whole"))
    assert [line["step"] for line in whole] == [1, 2, 3, 4, 5, 6]
    for one, other in zip(cut, whole, strict=True):
        assert one.keys() == other.keys()
        for key in other.keys() - CLOCKS:
            assert one[key] == other[key], key
    weights = [load_file(tmp_path / name / "checkpoint" / "state.safetensors") for name in ("cut", "whole")]
    assert all(torch.equal(weights[0][name], value) for name, value in weights[1].items())
