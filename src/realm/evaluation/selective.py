"""Answering only when sure: how many answers are wrong among the surest ones.

Knows numbers only. Answers of equal confidence come together: within them errors are spread evenly, as they would be
on average if their order were drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from realm.evaluation.bootstrap import SEED, Estimate, shifted_estimate

Counts = NDArray[np.int64]

_TAILS = (0.025, 0.975)
_POINTS = 100
_RESAMPLES = 1000
_MOST_LEVELS = 500


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """The share of wrong answers among the surest ones, over how many are given.

    Attributes:
        aurc: Area under the curve: the risk averaged over all coverages.
        best_aurc: The area if every right answer were surer than every wrong one.
        risk: Wrong among all answers: the area of a confidence that says nothing, on average.
        coverage: Shares of answers given, rising to 1.
        risks: Risk at each coverage, with its interval.
        thresholds: Confidence of the least sure answer given at each coverage.
    """

    aurc: Estimate
    best_aurc: float
    risk: float
    coverage: tuple[float, ...]
    risks: tuple[Estimate, ...]
    thresholds: tuple[float, ...]


def aurc(confidences: ArrayLike, correct: ArrayLike) -> float:
    """Area under the risk–coverage curve, in [0, 1]: the mean over i of the share of wrong among the i surest answers.

    Source: Geifman, Uziel and El-Yaniv 2019, section 3.

    Raises:
        ValueError: There are no answers.
    """
    _, given, wrong = _levels(confidences, correct)
    return float(_areas(given[None], wrong[None])[0])


def best_aurc(n: int, wrong: int) -> float:
    """The least area that n answers of which `wrong` are wrong can have: all right ones first."""
    first_wrong = n - wrong + 1
    return float((np.arange(1, wrong + 1) / np.arange(first_wrong, n + 1)).sum() / n)


def risk_coverage(confidences: ArrayLike, correct: ArrayLike, *, seed: int = SEED) -> RiskCoverage:
    """The curve at up to 100 coverages, and the area under it, with bootstrap intervals.

    Raises:
        ValueError: There are no answers.
    """
    levels, given, wrong = _levels(confidences, correct)
    n = int(given.sum())
    coverage = np.arange(1, min(n, _POINTS) + 1) / min(n, _POINTS)
    areas, drawn = _resampled(*_merged(given, wrong), coverage, seed)
    low, high = np.quantile(drawn, _TAILS, axis=0)
    least = levels[np.searchsorted(np.cumsum(given), np.ceil(coverage * n - 1e-9))]
    risks = zip(_risks(given, wrong, coverage), low, high, strict=True)
    return RiskCoverage(
        aurc=shifted_estimate(float(_areas(given[None], wrong[None])[0]), areas, n),
        best_aurc=best_aurc(n, int(wrong.sum())),
        risk=float(wrong.sum() / n),
        coverage=tuple(coverage.tolist()),
        risks=tuple(Estimate(float(risk), float(lower), float(upper), n) for risk, lower, upper in risks),
        thresholds=tuple(least.tolist()),
    )


def _levels(confidences: ArrayLike, correct: ArrayLike) -> tuple[NDArray[np.float64], Counts, Counts]:
    """Distinct confidences, falling; how many answers have each; how many of these are wrong."""
    probability, right = np.asarray(confidences, dtype=np.float64), np.asarray(correct, dtype=bool)
    if right.shape != probability.shape or not len(right):
        raise ValueError("There must be answers, and one outcome for each.")
    falling, level, given = np.unique(-probability, return_inverse=True, return_counts=True)
    return -falling, given.astype(np.int64), np.bincount(level[~right], minlength=len(falling)).astype(np.int64)


def _merged(given: Counts, wrong: Counts) -> tuple[Counts, Counts]:
    """Neighbouring levels put together until there are few: a resample need not tell 100,000 of them apart."""
    total = int(given.sum())
    places = (np.cumsum(given) - given) * min(len(given), _MOST_LEVELS) // total if len(given) > _MOST_LEVELS else None
    if places is None:
        return given, wrong
    starts = np.flatnonzero(np.diff(places, prepend=-1))
    return np.add.reduceat(given, starts), np.add.reduceat(wrong, starts)


def _resampled(
    given: Counts, wrong: Counts, coverage: NDArray[np.float64], seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Area, and risk at each coverage, of each resample."""
    cells = np.concatenate([given - wrong, wrong])
    drawn = np.random.default_rng(seed).multinomial(cells.sum(), cells / cells.sum(), _RESAMPLES)
    wrongs = drawn[:, len(given) :]
    givens = drawn[:, : len(given)] + wrongs
    risks = np.array([_risks(g, w, coverage) for g, w in zip(givens, wrongs, strict=True)])
    return _areas(givens, wrongs), risks


def _areas(given: Counts, wrong: Counts) -> NDArray[np.float64]:
    """Mean over i of the risk of the i surest answers, for each row.

    Between two levels, after a and b answers with A and B wrong, the i-th risk is (A + (i - a) r) / i with
    r = (B - A) / (b - a); these sum to (A - a r)(H_b - H_a) + r (b - a), H the harmonic numbers.
    """
    total = int(given[0].sum())
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, total + 1))])
    after, wrong_after = np.cumsum(given, axis=1), np.cumsum(wrong, axis=1)
    before = after - given
    slope = wrong / np.maximum(given, 1)
    sums = (wrong_after - wrong - before * slope) * (harmonic[after] - harmonic[before]) + wrong
    areas: NDArray[np.float64] = np.clip(sums.sum(axis=1) / total, 0.0, 1.0)
    return areas


def _risks(given: Counts, wrong: Counts, coverage: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of wrong answers at each coverage."""
    wanted = coverage * given.sum()
    steps, errors = (np.concatenate([[0], np.cumsum(counts)]) for counts in (given, wrong))
    found: NDArray[np.float64] = np.interp(wanted, steps, errors) / wanted
    return found
