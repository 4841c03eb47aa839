"""A trainer that exports other weights again and again, and refreshers that are killed while they embed.

python refresh_killer.py RUN KILLS      RUN has a plan; afterwards RUN/snapshots has what was published

Children are forked, so that they share the imports; the parent computes nothing itself.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tiny_embedder import change, tiny_embedder

from realm.training import corpus_embedding
from realm.training.exports import export_embedder
from realm.training.refresh_process import refresh_run
from realm.training.snapshots import snapshot_folders

ROWS_PER_SHARD = 8
EXPORTS = 25


def forked(work: Callable[[], object]) -> int:
    """Do some work in a child; its number."""
    child = os.fork()
    if not child:
        work()
        os._exit(0)
    return child


def export_again_and_again(run: Path, trunk: Path) -> None:
    embedder = tiny_embedder(trunk)
    for step in range(EXPORTS):
        change(embedder, step)
        export_embedder(run, step, embedder)
        time.sleep(0.15)


def kill_refreshers(run: Path, kills: int) -> list[int]:
    """Published snapshots whenever a refresher has been killed."""
    choice, seen = random.Random(4), []
    for _ in range(kills):
        child = forked(lambda: refresh_run(run, poll_seconds=0.02))
        time.sleep(choice.uniform(0.05, 0.6))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        seen.append(len(snapshot_folders(run)))
    return seen


if __name__ == "__main__":
    # What a kill may cost is one shard; here they are small, so that there are several.
    corpus_embedding.embed_corpus.__kwdefaults__["rows_per_shard"] = ROWS_PER_SHARD
    place, trunk_folder = Path(sys.argv[1]), Path(sys.argv[3])
    trainer = forked(lambda: export_again_and_again(place, trunk_folder))
    while not list(place.glob("exports/step-*")):
        time.sleep(0.02)
    found = kill_refreshers(place, int(sys.argv[2]))
    last = forked(lambda: refresh_run(place, poll_seconds=0.02))
    os.waitpid(trainer, 0)
    while len(snapshot_folders(place)) == found[-1]:
        time.sleep(0.05)
    (place / "finished.json").write_text("{}")
    print(*found, os.waitstatus_to_exitcode(os.waitpid(last, 0)[1]))
