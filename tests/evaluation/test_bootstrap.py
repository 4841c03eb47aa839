"""Bootstrap intervals, against resampling written out and what is known of the normal distribution."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.evaluation.bootstrap import mean_estimate, resampled_means, resampled_weights, shifted_estimate

VALUES = st.lists(st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 2 / 3, 1.0]), min_size=1, max_size=60)


@given(VALUES)
def test_interval_contains_the_mean_and_lies_within_the_values(values: list[float]) -> None:
    found = mean_estimate(values, resamples=2000)
    assert found.value == pytest.approx(np.mean(values))
    assert min(values) - 1e-12 <= found.low <= found.value + 1e-12
    assert found.value - 1e-12 <= found.high <= max(values) + 1e-12
    assert found.n == len(values)


@pytest.mark.parametrize("kinds", [[0.0, 1.0], [0.0, 0.2, 0.5, 1.0]])
def test_resampled_means_are_distributed_as_of_drawn_questions(kinds: list[float]) -> None:
    chance = np.random.default_rng(5)
    values = chance.choice(kinds, 40)
    drawn = np.sort(chance.choice(values, (20_000, 40)).mean(1))
    found = np.sort(resampled_means(values, 7, 20_000))
    assert found.mean() == pytest.approx(drawn.mean(), abs=0.004)
    assert np.quantile(found, [0.05, 0.5, 0.95]) == pytest.approx(np.quantile(drawn, [0.05, 0.5, 0.95]), abs=0.011)


def test_interval_of_many_values_is_the_normal_one() -> None:
    values = np.random.default_rng(3).random(1000)
    found = mean_estimate(values, resamples=2000)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.0024)


def test_same_seed_gives_the_same_interval_and_another_seed_nearly() -> None:
    values = np.random.default_rng(0).random(300) < 0.4
    assert mean_estimate(values) == mean_estimate(values)
    other = mean_estimate(values, seed=9)
    assert (other.low, other.high) == pytest.approx((mean_estimate(values).low, mean_estimate(values).high), abs=0.01)


def test_weights_say_how_often_each_question_is_drawn() -> None:
    weights = np.array(list(resampled_weights(50)))
    assert weights.shape == (1000, 50)
    assert (weights.sum(1) == 50).all()
    assert weights.mean(0) == pytest.approx(np.ones(50), abs=0.12)
    assert sum(1 for _ in resampled_weights(90_000)) == 222


@given(st.floats(0, 1), st.lists(st.floats(0, 1), min_size=2, max_size=20))
def test_shifted_interval_contains_the_value_and_stays_in_bounds(value: float, drawn: list[float]) -> None:
    found = shifted_estimate(value, np.array(drawn), 5)
    assert 0 <= found.low <= found.value <= found.high <= 1
