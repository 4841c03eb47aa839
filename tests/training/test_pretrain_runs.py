"""Runs of `pretrain` that are killed, shared by two processes, or refreshed by another: all learn the same."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from pretrain_towns import write_towns
from safetensors.torch import load_file

from realm.artifacts import sha256_of_file
from realm.training.loop import FINISHED_FILE

PROGRAM = str(Path(__file__).with_name("pretrain_towns.py"))
REFRESH = """
import typer
from realm.cli.refresh import add_to
app = typer.Typer()
app.callback()(lambda: None)
add_to(app)
app()
"""
TIMES = {"seconds_per_step", "seconds_left", "examples_per_second", "stale_seconds", "retrieval_share"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("towns")
    write_towns(found)
    return found


def started(trunk: Path, folder: Path, run: Path, *more: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, PROGRAM, str(trunk), str(folder), str(run), *more],
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", **environment},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def log_of(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("changes", [[], ['query_tower="fresh"', "dropout=0.2", 'marginal="span"', "stale_factor=2"]])
def test_killed_and_resumed_run_is_the_run_that_never_stopped(
    trunk: Path, folder: Path, tmp_path: Path, changes: list[str]
) -> None:
    # Killed when the snapshot of step 3 is published, which the checkpoint of step 2 does not name; and once more.
    out, err = started(trunk, folder, tmp_path, "--kill", "3,5", *changes).communicate(timeout=300)
    assert out.split() == ["-9", "-9", "0", "0"], err
    assert log_of(tmp_path / "cut") == log_of(tmp_path / "whole")
    cut, whole = (sha256_of_file(tmp_path / run / "checkpoint" / "state.safetensors") for run in ("cut", "whole"))
    assert cut == whole


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(trunk: Path, folder: Path, tmp_path: Path) -> None:
    for count in (1, 2):
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(found.getsockname()[1]), "WORLD_SIZE": str(count)}
        processes = [
            started(trunk, folder, tmp_path / str(count), **shared, RANK=str(rank), LOCAL_RANK=str(rank))
            for rank in range(count)
        ]
        said = [process.communicate(timeout=300)[1] for process in processes]
        assert [process.returncode for process in processes] == [0] * count, "\n".join(said)
    one, two = (log_of(tmp_path / str(count)) for count in (1, 2))
    assert len(one) == len(two) == 9
    for first, second in zip(one, two, strict=True):
        assert first.keys() == second.keys()
        for key in first.keys() - {"padding_share"}:
            assert second[key] == pytest.approx(first[key], rel=1e-3, abs=1e-5), key
    for half in ("embedder", "encoder"):
        weights = [load_file(tmp_path / str(count) / "model" / half / "model.safetensors") for count in (1, 2)]
        for name, value in weights[0].items():
            torch.testing.assert_close(weights[1][name], value, atol=1e-4, rtol=1e-3)


@pytest.mark.slow
def test_another_process_refreshes_the_index_and_ends_with_the_training(
    trunk: Path, folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    changes = ['refresh="other_process"', "steps=12", "max_stale_steps=5", "poll_seconds=0.05", "keep_snapshots=9",
               "save_every_steps=4", "heartbeat_seconds=200"]  # fmt: skip
    trainer = started(trunk, folder, run, *changes)
    while not (run / "refresh" / "plan.json").exists() and trainer.poll() is None:
        time.sleep(0.05)
    refresher = subprocess.Popen(
        [sys.executable, "-c", REFRESH, "refresh", str(run), "--poll-seconds", "0.05"],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        said = trainer.communicate(timeout=400)[1]
        refreshed = refresher.communicate(timeout=60)[1] if not trainer.returncode else ""
        assert (trainer.returncode, refresher.returncode) == (0, 0), said + refreshed
    finally:
        for process in (trainer, refresher):
            process.kill()
    lines = [line for line in log_of(run) if "loss" in line]
    assert [line["step"] for line in lines] == list(range(1, 13))
    assert all(line["stale_steps"] == line["step"] - 1 - line["snapshot_step"] < 5 for line in lines)
    used = sorted({int(line["snapshot_step"]) for line in lines})
    assert used[0] == 0
    assert len(used) >= 3
    assert set(used) <= {0, 3, 6, 9}
    assert (run / FINISHED_FILE).is_file()
