"""A few threads with a bounded queue: for what is neither the model's work nor the event loop's.

Knows not what the work is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from realm.serving.failures import OverloadedError, StoppingError

T = TypeVar("T")

_RETRY_AFTER_SECONDS = 1


class BoundedThreads:
    """Threads that refuse work when too much of it waits.

    Args:
        name: For people who look at threads.
        threads: How many work at a time.
        most: Most pieces of work that are waiting or being done.
    """

    def __init__(self, name: str, threads: int, most: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._most = most
        self._taken = 0
        self._lock = threading.Lock()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Do it when its turn comes.

        Raises:
            OverloadedError: Too much is waiting.
            StoppingError: The threads have ended.
        """
        with self._lock:
            if self._taken >= self._most:
                raise OverloadedError(self._taken, _RETRY_AFTER_SECONDS)
            self._taken += 1
        try:
            future = self._pool.submit(work)
        except RuntimeError as exc:
            self._give_back()
            raise StoppingError("The server is being stopped. Ask another one, or again in a moment.") from exc
        future.add_done_callback(self._give_back)
        return future

    def close(self) -> None:
        """Finish what has been taken, and end."""
        self._pool.shutdown(wait=True)

    def _give_back(self, future: Future[Any] | None = None) -> None:
        with self._lock:
            self._taken -= 1
