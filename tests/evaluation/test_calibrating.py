"""Fitting confidences, against a grid, known chances and counting by hand."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from realm.corpus.questions import ReferenceQuestion
from realm.errors import UsageError
from realm.evaluation.calibrating import HIDDEN_WEIGHT, REFUSED, Case, fit_confidence, measure_confidence
from realm.evaluation.calibration_cases import is_test
from realm.openqa.calibration import Confidence, Signs
from realm.records import Question
from realm.training.reading_data import is_kept_aside


def made_up(n: int, seed: int = 0) -> list[Case]:
    """Cases whose chance of being right is known: sigmoid(2 overlap + log_odds / 2 - 1)."""
    choice = random.Random(seed)
    cases = []
    for number in range(n):
        signs = Signs(**{name: choice.random() for name in Signs._fields})._replace(log_odds=choice.gauss(0, 2))
        chance = 1 / (1 + math.exp(-(2 * signs.overlap + signs.log_odds / 2 - 1)))
        cases.append(Case(signs, choice.random() < chance, False, number % 2 == 1))
    return cases


def signs_of(**known: float) -> Signs:
    return Signs(**{**dict.fromkeys(Signs._fields, 0.0), **known})


def least_loss(
    cases: list[Case], weights: dict[str, float], hidden_weight: float, scales: np.ndarray, biases: np.ndarray
) -> float:
    """The smallest loss of confidences with these weights times a scale, and a bias."""
    totals = np.array([sum(weight * getattr(case.signs, name) for name, weight in weights.items()) for case in cases])
    signs = np.array([1 if case.is_right else -1 for case in cases])
    counted = np.array([hidden_weight if case.is_hidden else 1.0 for case in cases])
    odds = signs * (scales[:, None, None] * totals + biases[None, :, None])
    return float((counted * np.logaddexp(0, -odds)).sum(-1).min())


def test_fitting_finds_the_chances_that_cases_were_drawn_with() -> None:
    fitted = fit_confidence(made_up(4000), Signs._fields)
    assert fitted.bias == pytest.approx(-1, abs=0.5)
    assert fitted.weights["overlap"] == pytest.approx(2, abs=0.3)
    assert fitted.weights["log_odds"] == pytest.approx(0.5, abs=0.1)
    for name in set(Signs._fields) - {"overlap", "log_odds"}:
        assert fitted.weights[name] == pytest.approx(0, abs=0.3)


@pytest.fixture(scope="module")
def with_hidden() -> list[Case]:
    """Cases of which those that are hidden look different."""
    hidden = made_up(300, seed=1)
    return made_up(300) + [
        case._replace(is_hidden=True, is_right=case.is_right and number % 9 == 0) for number, case in enumerate(hidden)
    ]


def test_hidden_cases_count_less_in_how_sure_to_be(with_hidden: list[Case]) -> None:
    fitted = fit_confidence(with_hidden, ["log_odds", "overlap"])
    best = least_loss(with_hidden, dict(fitted.weights), HIDDEN_WEIGHT, np.ones(1), np.array([fitted.bias]))
    for scale, bias in ((0.8, 0.0), (1.2, 0.0), (1.0, -0.2), (1.0, 0.2), (1.1, 0.1), (0.9, -0.1)):
        other = least_loss(
            with_hidden, dict(fitted.weights), HIDDEN_WEIGHT, np.array([scale]), np.array([fitted.bias + bias])
        )
        assert other > best


def test_hidden_cases_count_as_others_in_what_tells_right_from_wrong(with_hidden: list[Case]) -> None:
    fitted = fit_confidence(with_hidden, ["log_odds", "overlap"])
    scales, biases = np.linspace(0.5, 2, 61), np.linspace(fitted.bias - 2, fitted.bias + 1, 61)
    best = least_loss(with_hidden, dict(fitted.weights), 1.0, scales, biases)
    for change in (0.7, 1.4):
        turned = {**fitted.weights, "overlap": fitted.weights["overlap"] * change}
        assert least_loss(with_hidden, turned, 1.0, scales, biases) > best


def test_the_threshold_refuses_the_wanted_share_of_hidden_cases(with_hidden: list[Case]) -> None:
    fitted = fit_confidence(with_hidden, Signs._fields)
    refused = [fitted(case.signs) < fitted.threshold for case in with_hidden if case.is_hidden]
    assert np.mean(refused) == pytest.approx(REFUSED, abs=0.005)


def test_without_hidden_cases_every_answer_is_given() -> None:
    assert fit_confidence(made_up(100), Signs._fields).threshold == 0.0


def test_measures_are_those_counted_by_hand() -> None:
    sure, unsure = signs_of(overlap=1.0), signs_of()
    confidence = Confidence(math.log(1 / 4), {"overlap": math.log(16)}, 0.5)  # 0.2 and 0.8
    cases = [
        *[Case(sure, True, False, True)] * 3,
        Case(sure, False, False, True),
        *[Case(unsure, True, False, True)] * 1,
        *[Case(unsure, False, True, True)] * 3,
        Case(sure, False, True, True),
    ]
    found = measure_confidence(confidence, cases)
    assert found["ece"] == pytest.approx((4 * abs(0.75 - 0.8) + 1 * abs(1.0 - 0.2)) / 5)
    assert (found["kept"], found["refused"]) == (pytest.approx(3 / 4), pytest.approx(3 / 4))
    assert (found["questions"], found["right"], found["hidden"]) == (5, 4, 4)


def test_cases_that_are_all_right_or_all_wrong_teach_nothing() -> None:
    for is_right in (True, False):
        with pytest.raises(UsageError, match="needs right and wrong ones"):
            fit_confidence([case._replace(is_right=is_right) for case in made_up(10)], Signs._fields)
    with pytest.raises(UsageError, match="0 answers"):
        fit_confidence([], Signs._fields)


@pytest.mark.parametrize("keep_aside", [2, 4, 8])
def test_questions_that_recipes_keep_aside_fall_into_both_halves(keep_aside: int) -> None:
    texts = [f"who was number {number}?" for number in range(4000)]
    aside = [text for text in texts if is_kept_aside(text, keep_aside)]
    halves = [is_test(ReferenceQuestion(Question(text, text, ("x",)))) for text in aside]
    assert len(aside) > 400
    assert 0.4 < sum(halves) / len(halves) < 0.6
