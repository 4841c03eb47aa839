"""Runs that learn nothing are noticed: after enough tries, and never once there was an example."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from realm.training.distributed import Processes
from realm.training.job import Tries


class Doubled(Processes):
    """Two processes that always have the same."""

    def sum_figures(self, figures: Mapping[str, float]) -> dict[str, float]:
        return {key: 2 * value for key, value in figures.items()}


@pytest.mark.parametrize(("all_there_are", "steps"), [(10, 3), (12, 3), (13, 4), (512, 128), (10**9, 128)])
def test_tries_are_in_vain_once_all_or_some_hundred_gave_nothing(all_there_are: int, steps: int) -> None:
    tries = Tries(all_there_are, Processes())
    told = [tries.are_in_vain(4, 0, {"no_span": 1, "too_few": 3, "none_of_these": 0}) for _ in range(steps)]
    assert told == [False] * (steps - 1) + [True]
    assert tries.tried == 4 * steps
    assert tries.why() == f"too_few {3 * steps:,}, no_span {steps:,}"


def test_one_example_is_enough_for_good() -> None:
    tries = Tries(10, Processes())
    assert [tries.are_in_vain(4, usable) for usable in (0, 1, 0, 0, 0)] == [False] * 5


def test_what_other_processes_try_counts() -> None:
    tries = Tries(10, Doubled())
    assert [tries.are_in_vain(3, 0, {"no_span": 3}) for _ in range(2)] == [False, True]
    assert (tries.tried, tries.why()) == (12, "no_span 12")
