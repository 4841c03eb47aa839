"""The queue: who is answered together, who is refused, and that nobody is forgotten."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.serving.batching import MicroBatcher
from realm.serving.failures import OverloadedError, StoppingError, TimedOutError

LATER = 1e12
Work = Callable[[str, Sequence[int]], Sequence[str]]


def echo(key: str, payloads: Sequence[int]) -> list[str]:
    """Results by which one sees whose they are."""
    return [f"{key}{payload}" for payload in payloads]


@contextmanager
def batcher(
    work: Work = echo, *, max_queue: int = 100, max_batch: int = 100, window_seconds: float = 0.0
) -> Iterator[MicroBatcher[str, int, str]]:
    """A batcher that is running."""
    made = MicroBatcher(work, max_queue=max_queue, max_batch=max_batch, window_seconds=window_seconds)
    made.start()
    try:
        yield made
    finally:
        made.close()


@contextmanager
def busy(made: MicroBatcher[str, int, str]) -> Iterator[None]:
    """Keep its thread from working, so that requests gather."""
    free, begun = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        free.wait()

    made.call(hold)
    begun.wait()
    try:
        yield
    finally:
        free.set()


@given(
    requests=st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 4)), max_size=30), max_batch=st.integers(1, 8)
)
def test_every_request_gets_its_own_result_in_batches_that_keep_the_rules(
    requests: list[tuple[str, int]], max_batch: int
) -> None:
    batches: list[list[int]] = []

    def note(key: str, payloads: Sequence[int]) -> list[str]:
        assert {requests[payload][0] for payload in payloads} == {key}
        batches.append(list(payloads))
        return echo(key, payloads)

    with batcher(note, max_queue=1000, max_batch=max_batch) as made:
        with busy(made):
            futures = [
                made.submit(key, number, size=size, deadline=LATER) for number, (key, size) in enumerate(requests)
            ]
        results = [future.result(10) for future in futures]
    assert results == [f"{key}{number}" for number, (key, _) in enumerate(requests)]
    assert sorted(number for batch in batches for number in batch) == list(range(len(requests)))
    for batch in batches:
        assert len(batch) == 1 or sum(requests[number][1] for number in batch) <= max_batch
    # The oldest goes first, and those of its key keep their order.
    waiting = list(range(len(requests)))
    for batch in batches:
        assert batch[0] == waiting[0]
        assert batch == sorted(batch)
        waiting = [number for number in waiting if number not in batch]


def test_a_lone_asker_never_waits_for_company() -> None:
    with batcher(window_seconds=30.0) as made:
        begin = time.monotonic()
        for number in range(5):
            made.submit("a", number, size=1, deadline=LATER).result(20)
        assert time.monotonic() - begin < 20


def test_a_crowd_that_asks_again_a_moment_later_is_taken_together() -> None:
    sizes: list[int] = []

    def note(key: str, payloads: Sequence[int]) -> list[str]:
        sizes.append(len(payloads))
        return echo(key, payloads)

    with batcher(note, window_seconds=30.0) as made, ThreadPoolExecutor(4) as askers:
        with busy(made):
            together = threading.Barrier(4)

            def ask(number: int) -> None:
                future = made.submit("a", number, size=1, deadline=LATER)
                together.wait()
                for _ in range(10):
                    future.result(20)
                    future = made.submit("a", number, size=1, deadline=LATER)
                future.result(20)

            running = [askers.submit(ask, number) for number in range(4)]
            while made.waiting < 4:
                time.sleep(0.001)
        for one in running:
            one.result(30)
    assert sizes == [4] * 11


def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    with batcher(max_queue=3) as made, busy(made):
        kept = [made.submit("a", number, size=1, deadline=LATER) for number in range(3)]
        with pytest.raises(OverloadedError, match="3 are waiting") as refused:
            made.submit("a", 3, size=1, deadline=LATER)
        assert refused.value.retry_after_seconds >= 1
        assert kept[0].cancel()
    assert [future.result(10) for future in kept[1:]] == ["a1", "a2"]


def test_a_request_longer_than_the_queue_is_taken_when_the_queue_is_empty() -> None:
    with batcher(max_queue=3) as made:
        assert made.submit("a", 1, size=9, deadline=LATER).result(10) == "a1"


def test_only_the_one_at_fault_fails() -> None:
    def picky(key: str, payloads: Sequence[int]) -> list[str]:
        if 2 in payloads:
            raise ValueError("two")
        return echo(key, payloads)

    with batcher(picky) as made:
        with busy(made):
            futures = [made.submit("a", number, size=1, deadline=LATER) for number in range(5)]
        with pytest.raises(ValueError, match="two"):
            futures[2].result(10)
        assert [future.result(10) for future in futures[:2] + futures[3:]] == ["a0", "a1", "a3", "a4"]


def test_what_nobody_waits_for_any_more_is_not_worked_on() -> None:
    seen: list[int] = []

    def note(key: str, payloads: Sequence[int]) -> list[str]:
        seen.extend(payloads)
        return echo(key, payloads)

    with batcher(note) as made:
        with busy(made):
            gone = made.submit("a", 1, size=1, deadline=LATER)
            late = made.submit("a", 2, size=1, deadline=time.monotonic())
            kept = made.submit("a", 3, size=1, deadline=LATER)
            gone.cancel()
        assert kept.result(10) == "a3"
        with pytest.raises(TimedOutError):
            late.result(10)
        with pytest.raises(CancelledError):
            gone.result(10)
        assert made.waiting == 0
    assert seen == [3]


def test_closing_finishes_what_was_accepted_and_takes_nothing_more() -> None:
    with batcher() as made:
        with busy(made):
            futures = [made.submit("ab"[number % 2], number, size=1, deadline=LATER) for number in range(10)]
            called = made.call(lambda: "done")
            closing = threading.Thread(target=made.close)
            closing.start()
        closing.join(10)
        assert [future.result(0) for future in futures] == [f"{'ab'[number % 2]}{number}" for number in range(10)]
        assert called.result(0) == "done"
        with pytest.raises(StoppingError):
            made.submit("a", 1, size=1, deadline=LATER)
        with pytest.raises(StoppingError):
            made.call(lambda: None)
