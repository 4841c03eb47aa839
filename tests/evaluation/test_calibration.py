"""Calibration error and maps, against bins and fits written out."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realm.evaluation.calibration import (
    IsotonicMap,
    TemperatureMap,
    calibration_error_estimate,
    expected_calibration_error,
    fit_isotonic,
    fit_temperature,
    map_from_json,
    reliability_bins,
)

CONFIDENCES = st.one_of(st.sampled_from([0.0, 0.1, 0.2, 0.5, 1.0]), st.floats(0, 1))
ANSWERS = st.lists(st.tuples(CONFIDENCES, st.booleans()), min_size=1, max_size=30)
Answers = list[tuple[float, bool]]


def split(answers: Answers) -> tuple[list[float], list[bool]]:
    return [c for c, _ in answers], [right for _, right in answers]


@given(ANSWERS, st.integers(1, 20))
def test_calibration_error_is_the_gap_of_each_bin_weighted_by_its_answers(answers: Answers, bins: int) -> None:
    total = 0.0
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        # The binary point of c * bins decides, as it does in the definition by ceil.
        inside = [(c, r) for c, r in answers if (number < c * bins <= number + 1) or (c == 0 and number == 0)]
        assert all(low - 1e-9 <= c <= high + 1e-9 for c, _ in inside)
        total += abs(sum(r for _, r in inside) - sum(c for c, _ in inside))
    assert expected_calibration_error(*split(answers), bins=bins) == pytest.approx(total / len(answers))


@settings(max_examples=25)
@given(ANSWERS)
def test_calibration_error_is_a_share_and_its_interval_contains_it(answers: Answers) -> None:
    found = calibration_error_estimate(*split(answers))
    assert found.value == pytest.approx(expected_calibration_error(*split(answers)))
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert sum(b.n for b in reliability_bins(*split(answers))) == len(answers)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5, unique=True))
def test_perfectly_calibrated_answers_have_no_error(tenths: list[int]) -> None:
    answers = [(t / 10, number < t) for t in tenths for number in range(10)]
    assert expected_calibration_error(*split(answers)) == pytest.approx(0.0, abs=1e-12)


def test_always_sure_and_always_wrong_is_the_worst() -> None:
    assert expected_calibration_error([1.0] * 5, [False] * 5) == 1.0
    assert expected_calibration_error([], []) == 0.0


def log_likelihood(temperature: float, answers: Answers) -> float:
    p = np.clip(TemperatureMap(temperature)([c for c, _ in answers]), 1e-300, 1 - 1e-16)
    return sum(np.log(q) if right else np.log1p(-q) for q, (_, right) in zip(p, answers, strict=True))


@pytest.mark.parametrize("truth", [0.5, 1.0, 2.5])
def test_temperature_is_the_likeliest_and_finds_the_truth(truth: float) -> None:
    chance = np.random.default_rng(4)
    confidences = chance.beta(2, 2, 4000)
    right = chance.random(4000) < TemperatureMap(truth)(confidences)
    found = fit_temperature(confidences, right)
    assert found.temperature == pytest.approx(truth, rel=0.12)
    answers = list(zip(confidences.tolist(), right.tolist(), strict=True))
    best = log_likelihood(found.temperature, answers)
    assert all(log_likelihood(found.temperature * factor, answers) < best for factor in (0.5, 0.95, 1.05, 2))


def test_temperature_leaves_one_half_and_the_order_as_they_are() -> None:
    confidences = np.linspace(0, 1, 101)
    for temperature in (0.2, 1.0, 7.0):
        mapped = TemperatureMap(temperature)(confidences)
        assert mapped[50] == pytest.approx(0.5)
        assert (np.diff(mapped) >= 0).all()
    assert TemperatureMap(1.0)(confidences[1:-1]) == pytest.approx(confidences[1:-1])


def best_rising(confidences: list[float], right: list[bool]) -> dict[float, float]:
    """By the max-min formula: the greatest over starts of the least over ends of the means between them."""
    distinct = sorted(set(confidences))
    of = {c: [r for d, r in zip(confidences, right, strict=True) if d == c] for c in distinct}

    def mean(i: int, j: int) -> float:
        pooled = [r for c in distinct[i : j + 1] for r in of[c]]
        return sum(pooled) / len(pooled)

    n = len(distinct)
    return {
        c: max(min(mean(i, j) for j in range(place, n)) for i in range(place + 1)) for place, c in enumerate(distinct)
    }


@given(ANSWERS)
def test_isotonic_map_is_the_best_rising_one(answers: Answers) -> None:
    found = fit_isotonic(*split(answers))
    expected = best_rising(*split(answers))
    assert found(list(expected)) == pytest.approx(list(expected.values()))
    assert all(b > a for a, b in pairwise(found.confidences))
    assert all(b >= a for a, b in pairwise(found(np.linspace(0, 1, 50)).tolist()))


@given(ANSWERS)
def test_isotonic_map_leaves_hardly_any_error_on_what_it_was_fitted_to(answers: Answers) -> None:
    confidences, right = split(answers)
    assert expected_calibration_error(fit_isotonic(confidences, right)(confidences), right) == pytest.approx(
        0, abs=1e-9
    )


@pytest.mark.parametrize("kept", [TemperatureMap(1.5), IsotonicMap((0.1, 0.4), (0.0, 0.75))])
def test_maps_come_back_from_json(kept: TemperatureMap | IsotonicMap) -> None:
    assert map_from_json(json.loads(json.dumps(kept.to_json()))) == kept


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"kind": "temperature", "temperature": 0.0},
        {"kind": "temperature", "temperature": "hot"},
        {"kind": "isotonic", "confidences": [], "accuracies": []},
        {"kind": "isotonic", "confidences": [0.5, 0.1], "accuracies": [0.0, 1.0]},
        {"kind": "isotonic", "confidences": [0.1, 0.5], "accuracies": [0.5, 0.1]},
        {"kind": "isotonic", "confidences": [0.1, 0.5], "accuracies": [0.5]},
        {"kind": "isotonic", "confidences": [0.1], "accuracies": [1.5]},
    ],
)
def test_what_is_no_map_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no calibration map"):
        map_from_json(value)


def test_impossible_confidences_are_refused() -> None:
    for confidences in ([1.5], [float("nan")], [-0.1]):
        with pytest.raises(ValueError, match="between 0 and 1"):
            expected_calibration_error(confidences, [True])
    with pytest.raises(ValueError, match="one of each"):
        expected_calibration_error([0.1, 0.2], [True])
    for fit in (fit_temperature, fit_isotonic):
        with pytest.raises(ValueError, match="There are no answers"):
            fit([], [])
