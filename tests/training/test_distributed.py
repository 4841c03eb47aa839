"""Several processes: two under torchrun do what one does."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import two_processes
from safetensors.torch import load_file
from torch import nn
from toy_job import HUNTED, SETTINGS, ToyJob

from realm.training.distributed import Processes
from realm.training.loop import train

pytest.importorskip("accelerate", reason="training needs the extra `train`")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of what two processes did."""
    folder = tmp_path_factory.mktemp("two_processes")
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1"]
    program = subprocess.run(
        [sys.executable, *launch, "--master-port", str(free_port()), two_processes.__file__, str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"},
    )
    assert program.returncode == 0, program.stderr
    return folder


def seen(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / f"seen-{rank}.json").read_text()) for rank in range(2)]


def lines(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def without_times(line: dict[str, float]) -> dict[str, float]:
    return {key: value for key, value in line.items() if not key.startswith("seconds")}


@pytest.mark.slow
def test_two_processes_share_sum_and_gather(two: Path) -> None:
    first, second = seen(two)
    assert (first["share"], second["share"]) == ([0, 2, 4], [1, 3])
    for process in (first, second):
        # The third parameter has a gradient nowhere, and so gets none.
        assert process["gradients"] == [[3.0] * 3, [5.0, 6.0, 7.0], None]
        assert process["figures"] == {"both": 4.5, "only_0": 7.0, "only_1": 7.0}
        assert process["rows"] == [[0, 1], [100, 101], [102, 103], [104, 105]]
        assert process["no_rows"] == [[100, 101], [102, 103]]
        assert process["texts"] == ["", "é"]
        assert process["weight"] == 3.0


@pytest.mark.slow
def test_two_processes_log_the_losses_and_figures_of_one(two: Path, tmp_path: Path) -> None:
    train(ToyJob(1, model=two_processes.small_model()), SETTINGS, tmp_path)
    expected, found = lines(tmp_path), lines(two / "two")
    assert len(found) == len(expected) == 4
    for one, other in zip(expected, found, strict=True):
        assert without_times(other) == pytest.approx(without_times(one), abs=1e-5, rel=0)
    weights, others = (load_file(run / "checkpoint" / "state.safetensors") for run in (tmp_path, two / "two"))
    for name, value in weights.items():
        torch.testing.assert_close(others[name], value, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_two_processes_measure_and_stop_as_one(two: Path, tmp_path: Path) -> None:
    job = ToyJob(1, model=two_processes.small_model())
    train(job, HUNTED, tmp_path, evaluate=job.measure)
    expected, found = lines(tmp_path), lines(two / "measured")
    assert [sorted(line) for line in found] == [sorted(line) for line in expected]
    for one, other in zip(expected, found, strict=True):
        assert without_times(other) == pytest.approx(without_times(one), abs=1e-4, rel=0)


@pytest.mark.slow
def test_only_the_first_process_reports_and_both_have_the_same_weights(two: Path) -> None:
    first, second = seen(two)
    assert (first["reports"], second["reports"]) == (4, 0)
    assert first["weights"] == second["weights"]


@pytest.mark.slow
def test_loss_that_is_no_number_stops_both_processes_and_names_the_one(two: Path) -> None:
    first, second = seen(two)
    assert first["complaint"] == second["complaint"]
    assert first["complaint"].startswith("Step 6, micro-batch 1 of 1: the loss is nan (process 1). The checkpoint of")


@pytest.mark.slow
def test_processes_that_do_not_share_the_run_folder_do_not_go_on_from_different_steps(two: Path) -> None:
    first, second = seen(two)
    assert first["unshared"].partition("node-0")[2] == second["unshared"].partition("node-1")[2]
    assert re.match(
        r": process 0 sees a checkpoint of step 11 \([0-9a-f]{12}\) there, process 1 no checkpoint\. All",
        first["unshared"].partition("node-0")[2],
    )
    assert not (two / "node-1" / "finished.json").exists()


def test_one_process_shares_nothing_and_needs_no_group() -> None:
    alone = Processes.current()
    assert (alone, alone.is_first) == (Processes(0, 1), True)
    rows, parameter = torch.ones(2, 3), nn.Parameter(torch.ones(2))
    alone.sum_gradients([parameter])
    alone.barrier()
    assert parameter.grad is None
    assert alone.gather_rows(rows) is not None
    assert torch.equal(alone.gather_rows(rows), rows)
    assert alone.sum_figures({"a": 1.0}) == {"a": 1.0}
    assert alone.gather_texts("x") == ["x"]
    assert alone.share([1, 2, 3]) == [1, 2, 3]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shares_of_all_processes_are_the_whole(count: int) -> None:
    items = list(range(5))
    shares = [Processes(rank, count).share(items) for rank in range(count)]
    assert sorted(item for share in shares for item in share) == items
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
