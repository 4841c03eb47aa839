"""Paired tests, against every assignment of signs written out."""

from __future__ import annotations

from itertools import product
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realm.evaluation.significance import mcnemar_p_value, paired_test, permutation_p_value


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_the_two_sided_binomial_test(better: int, worse: int) -> None:
    n = better + worse
    tail = sum(comb(n, i) for i in range(min(better, worse) + 1))
    assert mcnemar_p_value(better, worse) == pytest.approx(min(1.0, 2 * tail / 2**n))
    assert mcnemar_p_value(better, worse) == mcnemar_p_value(worse, better)


def test_mcnemar_takes_very_many_questions() -> None:
    assert 0 < mcnemar_p_value(50_300, 49_700) < 0.06
    assert mcnemar_p_value(90_000, 10_000) < 1e-100


@settings(max_examples=25)
@given(st.lists(st.sampled_from([-1.0, -0.5, -1 / 3, 0.0, 0.2, 1 / 3, 1.0]), min_size=1, max_size=8))
def test_permutation_test_is_that_over_all_signs(differences: list[float]) -> None:
    values = np.array(differences)
    sums = [abs(np.dot(signs, values)) for signs in product((-1, 1), repeat=len(values))]
    exact = np.mean([found >= abs(values.sum()) - 1e-9 for found in sums])
    assert permutation_p_value(values, draws=20_000) == pytest.approx(exact, abs=0.02)


def test_equal_systems_do_not_differ_and_clearly_better_ones_do() -> None:
    first = np.random.default_rng(1).random(400) < 0.4
    same = paired_test(first, first)
    assert (same.difference.value, same.p_value, same.better, same.worse) == (0.0, 1.0, 0, 0)
    second = first | (np.random.default_rng(2).random(400) < 0.1)
    found = paired_test(first, second)
    assert found.test == "McNemar, exact"
    assert found.p_value < 0.001
    assert found.difference.low > 0
    assert found.difference.value == pytest.approx((found.better - found.worse) / 400)
    partial = paired_test(first * 0.5, second * 0.5)
    assert partial.test.startswith("paired permutation")
    assert partial.p_value < 0.001


@given(st.lists(st.tuples(st.sampled_from([0, 0.5, 1]), st.sampled_from([0, 0.5, 1])), min_size=1, max_size=30))
def test_swapping_the_systems_turns_the_difference_round(pairs: list[tuple[float, float]]) -> None:
    first, second = zip(*pairs, strict=True)
    there, back = paired_test(first, second), paired_test(second, first)
    assert there.difference.value == pytest.approx(-back.difference.value)
    assert (there.better, there.worse) == (back.worse, back.better)
    assert there.p_value == pytest.approx(back.p_value, abs=0.03)


def test_different_numbers_of_questions_are_refused() -> None:
    with pytest.raises(ValueError, match="2 and 1 values"):
        paired_test([0, 1], [1])
