"""Questions that arrive together are answered together, by the one thread that owns the model.

    submit ─► queue ─► [ all with the key of the oldest, up to max_batch ] ─► work ─► futures
    call ────────────► between two batches ─► future

Waiting for company is adaptive: a batch begins no sooner than `window_seconds` after the last one ended, unless as many
wait as the last one had. So a lone asker, whose last batch had one question, never waits; neither does anybody after
a pause; and a crowd, whose next questions come a moment after their answers, is taken together again.

Knows neither questions nor models.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from realm.serving.failures import OverloadedError, StoppingError, TimedOutError

K = TypeVar("K", bound=Hashable)
P = TypeVar("P")
R = TypeVar("R")
T = TypeVar("T")

_SMOOTHING = 0.2
_LONGEST_RETRY_SECONDS = 60


@dataclass(slots=True, eq=False)
class _Waiting(Generic[K, P, R]):
    """A request in the queue; `size` is how many questions it has."""

    key: K
    payload: P
    size: int
    deadline: float
    future: Future[R]
    since: float = field(default_factory=time.monotonic)


class MicroBatcher(Generic[K, P, R]):
    """A bounded queue and the thread that empties it in batches.

    Args:
        work: Gives the results of several payloads with the same key, in order. If it fails for several, each is
            tried alone, so that only the one at fault fails.
        max_queue: Most questions that wait.
        max_batch: Most questions in a batch, unless a single request has more.
        window_seconds: See above.
        observe: Told of each batch how many questions it has and how many seconds each of its requests waited.
    """

    def __init__(
        self,
        work: Callable[[K, Sequence[P]], Sequence[R]],
        *,
        max_queue: int,
        max_batch: int,
        window_seconds: float,
        observe: Callable[[int, Sequence[float]], None] = lambda size, waits: None,
    ) -> None:
        self._work = work
        self._max_queue = max_queue
        self._max_batch = max_batch
        self._window_seconds = window_seconds
        self._observe = observe
        self._queue: deque[_Waiting[K, P, R]] = deque()
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._changed = threading.Condition()
        self._waiting = 0
        self._closing = False
        self._last_size = 1
        self._last_end = -math.inf
        self._seconds_each = 0.1
        self._thread = threading.Thread(target=self._run, name="realm-model", daemon=True)

    @property
    def waiting(self) -> int:
        """Questions in the queue."""
        return self._waiting

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def close(self) -> None:
        """Take nothing more, finish what is in the queue, and end."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join()

    def submit(self, key: K, payload: P, *, size: int, deadline: float) -> Future[R]:
        """Queue a request.

        Args:
            key: Only requests with equal keys are worked on together.
            payload: What `work` is given.
            size: How many questions it has.
            deadline: When nobody wants the result any more, in the time of `time.monotonic`.

        Returns:
            Its result. A future that is cancelled before its turn takes no time and no room; one whose turn comes
            after its deadline fails with TimedOutError.

        Raises:
            OverloadedError: The queue is full.
            StoppingError: The batcher has been closed.
        """
        future: Future[R] = Future()
        with self._changed:
            self._require_open()
            if self._waiting and self._waiting + size > self._max_queue:
                raise OverloadedError(self._waiting, self._retry_after_seconds())
            one = _Waiting(key, payload, size, deadline, future)
            self._queue.append(one)
            self._waiting += size
            self._changed.notify()
        future.add_done_callback(lambda _: self._forget(one))
        return future

    def call(self, function: Callable[[], T]) -> Future[T]:
        """Run a function on the thread that owns the model, after the batch it is at. Raises as `submit`."""
        future: Future[T] = Future()
        with self._changed:
            self._require_open()
            self._calls.append((function, future))
            self._changed.notify()
        return future

    def _forget(self, one: _Waiting[K, P, R]) -> None:
        """What was cancelled in the queue makes room at once."""
        if one.future.cancelled():
            with self._changed:
                if one in self._queue:
                    self._queue.remove(one)
                    self._waiting -= one.size

    def _require_open(self) -> None:
        if self._closing:
            raise StoppingError("The server is being stopped. Ask another one, or again in a moment.")

    def _retry_after_seconds(self) -> int:
        return max(1, min(_LONGEST_RETRY_SECONDS, math.ceil(self._waiting * self._seconds_each)))

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._calls or self._queue or self._closing)
                if not self._calls and not self._queue:
                    return
                calls = [self._calls.popleft()] if self._calls else []
            for function, future in calls:
                _settle(future, function)
            if batch := self._next_batch():
                self._answer(batch)
            del batch, calls  # or else the last answer would stay in memory until the next question

    def _next_batch(self) -> list[_Waiting[K, P, R]]:
        with self._changed:
            if not self._queue:
                return []
            left = self._last_end + self._window_seconds - time.monotonic()
            if left > 0:
                self._changed.wait_for(lambda: self._waiting >= self._last_size or self._closing, left)
            return self._take()

    def _take(self) -> list[_Waiting[K, P, R]]:
        """The oldest request and those that can go with it; what nobody wants any more is left out."""
        batch: list[_Waiting[K, P, R]] = []
        others: deque[_Waiting[K, P, R]] = deque()
        size = 0
        now = time.monotonic()
        while self._queue:
            one = self._queue.popleft()
            if batch and (one.key != batch[0].key or size + one.size > self._max_batch):
                others.append(one)
                continue
            self._waiting -= one.size
            if one.future.set_running_or_notify_cancel():
                if one.deadline <= now:
                    one.future.set_exception(TimedOutError(f"Not answered in time: {self._waiting:,} were waiting."))
                else:
                    batch.append(one)
                    size += one.size
        self._queue = others
        return batch

    def _answer(self, batch: list[_Waiting[K, P, R]]) -> None:
        begin = time.monotonic()
        size = sum(one.size for one in batch)
        self._observe(size, [begin - one.since for one in batch])
        try:
            results = self._work(batch[0].key, [one.payload for one in batch])
        except Exception as exc:  # noqa: BLE001 - whoever asked is told
            if len(batch) == 1:
                batch[0].future.set_exception(exc)
            else:
                for one in batch:
                    _settle(one.future, partial(self._alone, one))
        else:
            for one, result in zip(batch, results, strict=True):
                one.future.set_result(result)
        end = time.monotonic()
        self._seconds_each += _SMOOTHING * ((end - begin) / size - self._seconds_each)
        self._last_size, self._last_end = size, end

    def _alone(self, one: _Waiting[K, P, R]) -> R:
        return self._work(one.key, [one.payload])[0]


def _settle(future: Future[Any], function: Callable[[], Any]) -> None:
    """Put what a function gives, or raises, into a future."""
    if not future.running() and not future.set_running_or_notify_cancel():
        return
    try:
        result = function()
    except Exception as exc:  # noqa: BLE001 - whoever waits is told
        future.set_exception(exc)
    else:
        future.set_result(result)
