"""Several batches at once, each on one core: on a processor that embeds more than one batch on all of them.

Small matrix products spend much of several threads' time waiting for each other (two cores: 15 blocks/s together,
18 side by side).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")


class Cores:
    """Threads of which each computes with one core; as many as torch would use.

    Attributes:
        count: How many there are.
    """

    def __init__(self) -> None:
        self.count = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(self.count, thread_name_prefix="realm-core")
        everyone = threading.Barrier(self.count)

        def use_one_core() -> None:
            torch.set_num_threads(1)
            everyone.wait()

        for started in [self._pool.submit(use_one_core) for _ in range(self.count)]:
            started.result()
        # What a thread asks for also becomes the default of threads to come.
        torch.set_num_threads(self.count)

    def run(self, work: Callable[[T], None], parts: Iterable[T]) -> None:
        """Do all parts of some work. The first error stops it and is raised."""
        waiting = [self._pool.submit(work, part) for part in parts]
        try:
            for part in waiting:
                part.result()
        finally:
            for part in waiting:
                part.cancel()
