"""Every row once an epoch, in an order that looks like chance and is computed without a list."""

from __future__ import annotations

from itertools import pairwise

import pytest

from realm.training.shuffling import Shuffle


@pytest.mark.parametrize("count", [*range(1, 40), 255, 256, 257, 1025])
def test_every_row_comes_once_in_every_epoch(count: int) -> None:
    shuffle = Shuffle(count, 3)
    for epoch in range(3):
        assert sorted(shuffle.rows(epoch * count, (epoch + 1) * count)) == list(range(count))


def test_rows_do_not_depend_on_how_they_are_asked_for() -> None:
    whole = Shuffle(100, 1).rows(0, 350)
    parts = [row for start in range(0, 350, 7) for row in Shuffle(100, 1).rows(start, start + 7)]
    assert parts == whole


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = [Shuffle(1000, seed).rows(start, start + 1000) for seed in (0, 1) for start in (0, 1000)]
    for one in range(4):
        for other in range(one):
            # Of two random orders, one row in a thousand stands at the same place.
            assert sum(a == b for a, b in zip(orders[one], orders[other], strict=True)) < 10


def test_neighbours_in_the_order_are_far_apart_in_the_rows() -> None:
    count = 5000
    rows = Shuffle(count, 2).rows(0, count)
    distances = [abs(a - b) for a, b in pairwise(rows)]
    # Two random rows are a third of all rows apart in the mean, with a standard deviation of 0.24 / sqrt(5000).
    assert sum(distances) / len(distances) / count == pytest.approx(1 / 3, abs=0.02)
    halves = [sum(row >= count // 2 for row in rows[start : start + 1000]) for start in range(0, count, 1000)]
    assert all(420 < half < 580 for half in halves)


def test_rows_of_a_huge_corpus_are_found_at_once() -> None:
    shuffle = Shuffle(13_353_718, 0)
    rows = shuffle.rows(13_353_718 * 30 - 2, 13_353_718 * 30 + 4094)
    assert len(set(rows[2:])) == 4094
    assert all(0 <= row < 13_353_718 for row in rows)


def test_order_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="count is 0"):
        Shuffle(0, 1)
