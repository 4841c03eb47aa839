"""One function, many items, several processes: results in order, few items in flight, nothing left behind.

Processes are spawned, never forked: Lance and the threads of the tokenizers library do not survive a fork. Each has one
pipe to this process, and ends when that closes, however this process ends. A thread for each hands out items and
collects results. Knows neither documents nor blocks. Read `map_in_processes` first.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from realm.errors import UsageError

_ITEMS_PER_PROCESS = 2  # in flight: one at work, one waiting
_JOIN_SECONDS = 5.0

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_processes(
    make: Callable[[], Callable[[Item], Result]], items: Iterable[Item], processes: int
) -> Generator[tuple[Item, Result], None, None]:
    """Apply a function to items in several processes.

    Args:
        make: Makes the function, once in every process. It, the items and the results travel between processes, so they
            are made of functions and classes that stand in modules, and of plain values.
        items: Taken as results are asked for, at most two for each process ahead of them.
        processes: How many to start; none before the first item has come.

    Returns:
        Each item with its result, in the order of the items. Closing the iterator ends the processes.

    Raises:
        UsageError: A process ended before its work was done.
        Exception: Whatever the function raises, or `make`.
    """
    pool: _Pool[Item, Result] | None = None
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    try:
        for item in items:
            pool = pool or _Pool(make, processes)
            waiting.append((item, pool.submit(item)))
            if len(waiting) == _ITEMS_PER_PROCESS * processes:
                item, future = waiting.popleft()
                yield item, future.result()
        while waiting:
            item, future = waiting.popleft()
            yield item, future.result()
    finally:
        if pool is not None:
            pool.close()


class _Pool(Generic[Item, Result]):
    """Processes that wait for items, and a thread for each."""

    def __init__(self, make: Callable[[], Callable[[Item], Result]], processes: int) -> None:
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        self._threads = ThreadPoolExecutor(processes, thread_name_prefix="realm-processes")
        self._workers: list[_Worker] = []
        # Ctrl-C reaches every process of a terminal. Only this one answers it; a mask is inherited. The tracker comes
        # up with the first process and takes the mask off again, so it is started before.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            for _ in range(processes):
                worker = _Worker(make)
                self._workers.append(worker)
                self._idle.put(worker)
        except BaseException:
            self.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def submit(self, item: Item) -> Future[Result]:
        return self._threads.submit(self._ask, item)

    def _ask(self, item: Item) -> Result:
        worker = self._idle.get()
        try:
            result: Result = worker.ask(item)
            return result
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """End the processes at once, then the threads, which find their pipes closed."""
        for worker in self._workers:
            worker.end()
        self._threads.shutdown(cancel_futures=True)
        for worker in self._workers:
            worker.close()


class _Worker:
    """A process and this end of its pipe."""

    def __init__(self, make: Callable[[], Any]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self._unsent: list[object] = [make]

    def ask(self, item: object) -> Any:
        # The first message is large and is read only once the process is up: sent here, processes come up side by side.
        self._unsent.append(item)
        try:
            while self._unsent:
                self._pipe.send(self._unsent[0])
                del self._unsent[0]
            is_result, value = self._pipe.recv()
        except (EOFError, OSError) as exc:
            raise UsageError(f"{self._how_it_ended()} Use fewer processes or free some memory, and try again.") from exc
        if not is_result:
            raise value
        return value

    def _how_it_ended(self) -> str:
        self._process.join(_JOIN_SECONDS)
        code = self._process.exitcode
        how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
        return f"A helper process (id {self._process.pid}) {how} before its work was done."

    def end(self) -> None:
        self._process.kill()

    def close(self) -> None:
        self._process.join()
        self._process.close()
        self._pipe.close()


def _serve(pipe: Connection) -> None:
    """What a process does: get the function, then answer items until the other end closes."""
    # As many processes as there are cores to use: threads besides would only get in each other's way.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    with suppress(EOFError, OSError):
        function = None
        make = pipe.recv()
        while True:
            item = pipe.recv()
            try:
                function = function or make()
                answer = (True, function(item))
            except Exception as exc:  # noqa: BLE001 - it is raised again at the other end
                exc.add_note(f"in a helper process:\n{traceback.format_exc()}")
                answer = (False, exc)
            pipe.send(answer)
