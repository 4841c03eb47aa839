"""Runs that are killed at the beginning of a step, each in a process of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from realm.training.job import Job


class Mortal(Job):
    """Goes before a job among the bases of a class: its runs can be killed."""

    kill_step = -1

    def begin_step(self, step: int) -> None:
        super().begin_step(step)
        if step == self.kill_step:
            os.kill(os.getpid(), signal.SIGKILL)


def ends_of_cut_and_whole(train_run: Callable[[Path, int], None], run: Path, kill_steps: Sequence[int]) -> list[int]:
    """Train in `run/cut`, killed at each of some steps and then not; and in `run/whole`, never killed.

    Args:
        train_run: Trains or resumes in a folder, and is killed at a step; never at -1.
        run: Where both folders are made.
        kill_steps: The steps, one for each process.

    Returns:
        What ended each process: -9 where it was killed, 0 where it came to its end.
    """
    ends = [_in_child(train_run, run / "cut", step) for step in (*kill_steps, -1)]
    return [*ends, _in_child(train_run, run / "whole", -1)]


def _in_child(train_run: Callable[[Path, int], None], run: Path, kill_step: int) -> int:
    """Train in a forked process, which shares the imports but no computation; give what ended it."""
    child = os.fork()
    if not child:
        train_run(run, kill_step)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
