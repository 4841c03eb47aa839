"""What each process under torchrun does in `test_shared_refresh`; writes what it saw to FOLDER/seen-RANK.json.

torchrun --nproc-per-node 2 refresh_in_two.py FOLDER TRUNK
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
from tiny_embedder import change, tiny_blocks, tiny_embedder
from tiny_trunk import tokenizer_of

from realm.features.inputs import InputBuilder
from realm.training import corpus_embedding
from realm.training.distributed import Processes, leave
from realm.training.exports import RefreshPlan, export_embedder, write_plan
from realm.training.refresh import Refresher
from realm.training.refresh_process import refresh_run
from realm.training.refresh_recipe import RefreshRecipe
from realm.training.snapshots import Snapshot, snapshot_folders


def digest(snapshot: Snapshot) -> str:
    """Of all vectors."""
    store = snapshot.vectors.vectors
    return f"{snapshot.step} {hashlib.sha256(store.take(np.arange(store.rows)).tobytes()).hexdigest()}"


def both_ways(folder: Path, trunk: Path, processes: Processes) -> list[str]:
    """Snapshots that a training with refresh in step uses, then one that a refresher makes."""
    # Small shards, so that there are several for each process.
    corpus_embedding.embed_corpus.__kwdefaults__["rows_per_shard"] = 8
    if not processes.is_first:
        processes.barrier()
    blocks = tiny_blocks(trunk, folder, 30)
    if processes.is_first:
        processes.barrier()
    embedder, builder = tiny_embedder(trunk), InputBuilder(tokenizer_of(trunk))
    plan = RefreshPlan(str(folder / "documents-30-1.jsonl"), max_pieces=160)
    recipe = RefreshRecipe(steps=5, learning_rate=0.1, refresh_every_steps=2)
    (folder / "run").mkdir(exist_ok=True)
    refresher = Refresher(
        folder / "run", recipe, blocks, builder, embedder, plan, trunk / "tokenizer.json", processes=processes
    )
    seen = []
    for step in range(5):
        seen.append(digest(refresher.at_border(step)))
        change(embedder, step)
    if processes.is_first:
        write_plan(folder / "other", plan, trunk / "tokenizer.json")
        export_embedder(folder / "other", 7, embedder)
    processes.barrier()
    refresh_run(folder / "other", once=True)
    return [*seen, digest(Snapshot.open(snapshot_folders(folder / "other")[7], blocks, embedder.config))]


if __name__ == "__main__":
    place, trunk_folder = map(Path, sys.argv[1:])
    current = Processes.current()
    found = both_ways(place, trunk_folder, current)
    (place / f"seen-{current.rank}.json").write_text(json.dumps(found))
    leave()
