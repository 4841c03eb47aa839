"""A process that has loaded all that `realm index` needs, and forks a child for every run asked for.

Loading takes seconds, a run a fraction of one. Lance does not survive a fork, so only children touch it.

in   one JSON line a run: {"argv": [...], "kill_at": N}; without `kill_at` nothing is killed
out  the child's process id, and when it has ended its exit status (-9: killed) and how many events there were

A child kills itself, as `kill -9` would, right before its N-th event: opening, renaming or deleting a file.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from typing import Any

import torch

import realm.cli.main
import realm.openqa.ask
import realm.openqa.indexing
import realm.openqa.late_vectors
import realm.openqa.model_folder
import realm.text.sentences

EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.truncate", "shutil.rmtree"}


def run(job: dict[str, Any], report: int) -> int:
    """The command line in this process, with one small step after the other."""
    realm.openqa.indexing._BLOCKS_PER_STEP = 1
    realm.openqa.late_vectors._BLOCKS_PER_STEP = 1
    realm.openqa.model_folder.fastest_dtype = lambda device: torch.float32  # type: ignore[assignment]
    seen = 0

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event in EVENTS and arguments and str(arguments[0]).startswith(job["folder"]):
            seen += 1
            if seen == job.get("kill_at"):
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    sys.argv = ["realm", *job["argv"]]
    code = realm.cli.main.main()
    os.write(report, str(seen).encode())
    return code


def main() -> None:
    """Serve until standard input ends."""
    print("ready", flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        incoming, report = os.pipe()
        child = os.fork()
        if child == 0:
            quiet = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            code = 1
            try:
                code = run(job, report)
            finally:  # an exception's traceback would come after it
                if error := sys.exc_info()[0]:
                    traceback.print_exc()
                sys.stdout.flush()
                os._exit(code if error is None else 1)
        print(child, flush=True)
        os.close(report)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(status, os.read(incoming, 20).decode() or 0, flush=True)
        os.close(incoming)


if __name__ == "__main__":
    main()
