"""Risk over coverage, against every order of tied answers written out."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realm.evaluation.selective import aurc, best_aurc, risk_coverage

LEVELS = st.sampled_from([0.0, 0.2, 0.2, 0.7, 1.0])
ANSWERS = st.lists(st.tuples(LEVELS, st.booleans()), min_size=1, max_size=6)
Answers = list[tuple[float, bool]]


def area(order: Answers) -> float:
    wrong = np.cumsum([not right for _, right in order])
    return float(np.mean(wrong / np.arange(1, len(order) + 1)))


@settings(max_examples=60)
@given(ANSWERS)
def test_area_is_the_mean_over_all_orders_of_tied_answers(answers: Answers) -> None:
    orders = [o for o in permutations(answers) if [c for c, _ in o] == sorted((c for c, _ in answers), reverse=True)]
    expected = np.mean([area(list(order)) for order in orders])
    assert aurc([c for c, _ in answers], [r for _, r in answers]) == pytest.approx(expected)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40))
def test_area_lies_between_the_best_and_the_worst_order(answers: Answers) -> None:
    n, wrong = len(answers), sum(not right for _, right in answers)
    worst = area([(0.0, False)] * wrong + [(0.0, True)] * (n - wrong))
    found = aurc([c for c, _ in answers], [r for _, r in answers])
    assert 0 <= best_aurc(n, wrong) <= found + 1e-12
    assert found <= worst + 1e-12 <= 1 + 1e-12
    assert best_aurc(n, wrong) == pytest.approx(area([(0.0, True)] * (n - wrong) + [(0.0, False)] * wrong))


def test_area_of_a_confidence_that_says_nothing_is_the_share_of_wrong_answers() -> None:
    assert aurc([0.5] * 10, [True] * 7 + [False] * 3) == pytest.approx(0.3)
    assert aurc([0.9, 0.8, 0.1], [True, True, False]) == pytest.approx(best_aurc(3, 1))


@settings(max_examples=15)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_curve_ends_at_all_answers_and_its_intervals_contain_it(answers: Answers) -> None:
    confidences, right = [c for c, _ in answers], [r for _, r in answers]
    curve = risk_coverage(confidences, right)
    assert curve.coverage[-1] == 1.0
    assert curve.risks[-1].value == pytest.approx(curve.risk)
    assert curve.thresholds[-1] == min(confidences)
    assert list(curve.thresholds) == sorted(curve.thresholds, reverse=True)
    assert curve.aurc.value == pytest.approx(aurc(confidences, right))
    assert curve.aurc.low <= curve.aurc.value <= curve.aurc.high
    assert all(0 <= risk.low <= risk.high <= 1 for risk in curve.risks)


def test_curve_gives_the_risk_of_the_surest_answers() -> None:
    chance = np.random.default_rng(6)
    confidences = chance.permutation(np.linspace(0, 1, 3000))
    right = chance.random(3000) < confidences
    curve = risk_coverage(confidences, right)
    order = np.argsort(-confidences)
    for coverage, risk, threshold in zip(curve.coverage, curve.risks, curve.thresholds, strict=True):
        surest = order[: round(coverage * 3000)]
        assert risk.value == pytest.approx(1 - right[surest].mean())
        assert risk.low - 0.01 <= risk.value <= risk.high + 0.01
        assert threshold == confidences[surest].min()


def test_interval_covers_the_true_area_about_as_often_as_it_says() -> None:
    chance = np.random.default_rng(8)
    many = chance.random(200_000)
    truth = aurc(many, chance.random(200_000) < many)
    hits = 0
    for _ in range(40):
        confidences = chance.random(150)
        found = risk_coverage(confidences, chance.random(150) < confidences).aurc
        hits += found.low <= truth <= found.high
    assert hits >= 34


def test_no_answers_have_no_curve() -> None:
    with pytest.raises(ValueError, match="There must be answers"):
        risk_coverage([], [])
