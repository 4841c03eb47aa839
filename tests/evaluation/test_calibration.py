"""Calibration error, against bins written out."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realm.evaluation.calibration import calibration_error_estimate, expected_calibration_error, reliability_bins

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


def test_impossible_confidences_are_refused() -> None:
    for confidences in ([1.5], [float("nan")], [-0.1]):
        with pytest.raises(ValueError, match="between 0 and 1"):
            expected_calibration_error(confidences, [True])
    with pytest.raises(ValueError, match="one of each"):
        expected_calibration_error([0.1, 0.2], [True])
