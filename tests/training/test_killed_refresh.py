"""Real processes: refreshers killed by SIGKILL at random moments leave snapshots that are whole and belong together."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from refresh_killer import ROWS_PER_SHARD
from tiny_embedder import tiny_blocks, tiny_embedder
from tiny_trunk import tokenizer_of

from realm.features.inputs import InputBuilder
from realm.training.corpus_embedding import embed_corpus
from realm.training.exports import RefreshPlan, write_plan
from realm.training.snapshot_making import begun_exports
from realm.training.snapshots import Snapshot, snapshot_folders

KILLS = 7


@pytest.mark.slow
def test_snapshots_hold_the_vectors_of_their_embedders_however_refreshers_were_killed(
    trunk: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    blocks = tiny_blocks(trunk, tmp_path, 60)
    source = next(tmp_path.glob("documents-*.jsonl"))
    write_plan(run, RefreshPlan(str(source), max_pieces=160), trunk / "tokenizer.json")
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("refresh_killer.py")), str(run), str(KILLS), str(trunk)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *seen, end = map(int, done.stdout.split())
    assert end == 0
    assert len(seen) == KILLS
    found = snapshot_folders(run)
    assert len(found) > seen[-1] >= seen[0]
    assert not (run / "refresher").exists()
    builder, rows = InputBuilder(tokenizer_of(trunk)), np.arange(len(blocks))
    for step, folder in found.items():
        snapshot = Snapshot.open(folder, blocks, tiny_embedder(trunk).config)
        snapshot.verify()
        embedder = snapshot.export.open(torch.device("cpu"))
        again = embed_corpus(
            blocks, embedder, builder, tmp_path / f"again-{step}", max_pieces=160, rows_per_shard=ROWS_PER_SHARD
        )
        assert snapshot.vectors.vectors.take(rows).tobytes() == again.vectors.take(rows).tobytes()
    assert all(begun.step > max(found) for begun in begun_exports(run))
