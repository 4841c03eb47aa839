"""How sure to be of answers: fitted to some, and measured on others.

    cases of one half of the questions ─► fit_confidence ─► weights of the signs, and a threshold
    cases of the other half ────────────► measure_confidence ─► calibration error, shares given and refused

Knows cases (see `calibration_cases`), not where they come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from realm.errors import UsageError
from realm.evaluation.calibration import BINS, expected_calibration_error
from realm.evaluation.calibration_cases import Case
from realm.openqa.calibration import Confidence

HIDDEN_WEIGHT = 0.2
"""How much a question with its answer hidden counts beside one without: about one of six cannot be answered."""
REFUSED = 0.71
"""The threshold is such that this part of the hidden cases gets no answer: 70 % are wanted, of others. (Right answers
are fewer, so that a share of them that is to be given would make a less certain threshold.)"""
_RIDGE = 1.0
_NEWTON_STEPS = 50


def fit_confidence(cases: Sequence[Case], names: Sequence[str]) -> Confidence:
    """Logistic regression of being right on some signs, with a small ridge, in two steps: what tells right answers from
    others is learned from hidden cases as much as from the rest; how sure that makes, with hidden cases counting
    `HIDDEN_WEIGHT`, as they are rarer in use.

    Args:
        cases: What to learn from.
        names: Signs to use.

    Returns:
        With the threshold that refuses `REFUSED` of the hidden cases; 0.0 where there are none.

    Raises:
        UsageError: There are no right answers among them, or no wrong ones.
    """
    values = np.array([[getattr(case.signs, name) for name in names] for case in cases], dtype=np.float64)
    right = np.array([case.is_right for case in cases], dtype=np.float64)
    if not 0 < right.sum() < len(right):
        raise UsageError(
            f"{len(cases)} answers, of which {int(right.sum())} are right: calibration needs right and wrong ones. "
            "Give more questions."
        )
    weights = np.array([HIDDEN_WEIGHT if case.is_hidden else 1.0 for case in cases])
    center, spread = values.mean(0), np.maximum(values.std(0), 1e-9)
    standard = (values - center) / spread
    direction = _logistic(standard, right, np.ones_like(weights))[:-1]
    scale, bias = _logistic((standard @ direction)[:, None], right, weights)
    slopes = scale * direction / spread
    fitted = Confidence(float(bias - slopes @ center), dict(zip(names, map(float, slopes), strict=True)), threshold=0.0)
    hidden = sorted(fitted(case.signs) for case in cases if case.is_hidden)
    return replace(fitted, threshold=hidden[int(REFUSED * len(hidden))] if hidden else 0.0)


def measure_confidence(confidence: Confidence, cases: Sequence[Case]) -> dict[str, float]:
    """How good confidences and the threshold are.

    Returns:
        `ece` of the questions as they are; share of right answers that are given (`kept`), and of answers to questions
        with their passages hidden that are not (`refused`); how many there are of each.
    """
    plain = [case for case in cases if not case.is_hidden]
    right = [case for case in plain if case.is_right]
    hidden = [case for case in cases if case.is_hidden]
    given = [confidence(case.signs) >= confidence.threshold for case in (*right, *hidden)]
    sure = [confidence(case.signs) for case in plain]
    return {
        "ece": expected_calibration_error(sure, [case.is_right for case in plain], bins=BINS),
        "kept": float(np.mean(given[: len(right)])) if right else 0.0,
        "refused": 1.0 - float(np.mean(given[len(right) :])) if hidden else 0.0,
        "questions": float(len(plain)),
        "right": float(len(right)),
        "hidden": float(len(hidden)),
    }


def _logistic(
    values: NDArray[np.float64], right: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A slope for each column and then the bias, which the ridge does not hold back. By Newton's method."""
    values = np.column_stack([values, np.ones(len(values))])
    held = np.diag([_RIDGE] * (values.shape[1] - 1) + [0.0])
    solution = np.zeros(values.shape[1])
    for _ in range(_NEWTON_STEPS):
        probability = 0.5 * (1 + np.tanh(0.5 * values @ solution))
        slope = values.T @ (weights * (right - probability)) - held @ solution
        curvature = (values * (weights * probability * (1 - probability))[:, None]).T @ values + held
        step = np.linalg.lstsq(curvature, slope, rcond=None)[0]
        solution += step
        if np.abs(step).max() < 1e-10:
            break
    return np.asarray(solution, dtype=np.float64)
