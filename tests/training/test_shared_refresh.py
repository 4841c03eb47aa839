"""Two processes under torchrun embed a corpus together, in training and beside it, to the bits of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import refresh_in_two
from test_distributed import free_port

from realm.training.distributed import Processes

pytest.importorskip("accelerate", reason="training needs the extra `train`")


@pytest.mark.slow
def test_two_processes_use_the_same_snapshots_as_one(trunk: Path, tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    (tmp_path / "one").mkdir()
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1"]
    program = [refresh_in_two.__file__, str(tmp_path / "two"), str(trunk)]
    done = subprocess.run(
        [sys.executable, *launch, "--master-port", str(free_port()), *program],
        capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    alone = refresh_in_two.both_ways(tmp_path / "one", trunk, Processes())
    assert len(set(alone)) == 4
    for rank in range(2):
        assert json.loads((tmp_path / "two" / f"seen-{rank}.json").read_text()) == alone
