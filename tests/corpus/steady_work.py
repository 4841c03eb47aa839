"""Functions that processes of the tests are asked to run, in a module so that a spawned process finds them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from realm.errors import ModelError


def doubler() -> Callable[[int], int]:
    return lambda number: 2 * number


def sleeper() -> Callable[[float], float]:
    """Sleeps as many seconds as it is told."""

    def sleep(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    return sleep


def own_id() -> Callable[[int], int]:
    return lambda _: os.getpid()


def interrupted() -> Callable[[int], int]:
    """Gets a Ctrl-C before each answer."""

    def work(number: int) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        return number

    return work


def killed_at_three() -> Callable[[int], int]:
    def work(number: int) -> int:
        if number == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    return work


def failing_at_three() -> Callable[[int], int]:
    def work(number: int) -> int:
        if number == 3:
            raise ModelError("three is too many")
        return number

    return work


def unmade() -> Callable[[int], int]:
    raise ModelError("cannot be made")


def echo(folder: Path) -> None:
    """A run for a process of its own: tells its helpers' ids, then works on until it is stopped."""
    from realm.corpus.processes import map_in_processes

    for number, helper in map_in_processes(own_id, range(10**9), 2):
        (folder / str(helper)).touch()
        if number == 100:
            (folder / "ready").touch()
        if number > 100:
            time.sleep(0.01)
