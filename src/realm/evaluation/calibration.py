"""Whether confidences mean what they say, and maps that make them so.

    confidences, right or wrong ─► reliability_bins, expected_calibration_error
                                 ─► fit_temperature, fit_isotonic ─► a map: confidence to confidence

Knows numbers only: not where confidences come from, nor where a map is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from realm.evaluation.bootstrap import SEED, Estimate, resampled_weights, shifted_estimate

BINS = 15
_SURE = 1e-6
_STEPS = 100


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Answers whose confidence lies in (low, high]; 0 belongs to the first.

    Attributes:
        low: Lower border.
        high: Upper border.
        n: How many answers.
        confidence: Their mean confidence.
        accuracy: How many of them are right.
    """

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


def reliability_bins(confidences: ArrayLike, correct: ArrayLike, *, bins: int = BINS) -> list[ReliabilityBin]:
    """Mean confidence and accuracy in bins of equal width; empty bins are left out."""
    probability, right = _pairs(confidences, correct)
    place = _bin_of(probability, bins)
    counts = np.bincount(place, minlength=bins)
    confidence = np.bincount(place, probability, bins)
    accuracy = np.bincount(place, right, bins)
    return [
        ReliabilityBin(b / bins, (b + 1) / bins, int(n), float(confidence[b] / n), float(accuracy[b] / n))
        for b, n in enumerate(counts)
        if n
    ]


def expected_calibration_error(confidences: ArrayLike, correct: ArrayLike, *, bins: int = BINS) -> float:
    """How far confidence and accuracy are apart, averaged over answers, in [0, 1]. 0.0 without answers.

        ECE = sum_b n_b / n |accuracy_b - confidence_b|,  over bins of equal width

    Source: Guo et al. 2017, eq. 3.
    """
    found = reliability_bins(confidences, correct, bins=bins)
    total = sum(b.n for b in found)
    return sum(b.n * abs(b.accuracy - b.confidence) for b in found) / total if total else 0.0


def calibration_error_estimate(
    confidences: ArrayLike, correct: ArrayLike, *, bins: int = BINS, seed: int = SEED
) -> Estimate:
    """The expected calibration error with its bootstrap interval."""
    probability, right = _pairs(confidences, correct)
    place, gap = _bin_of(probability, bins), right - probability

    def error(weights: NDArray[np.int64]) -> float:
        return float(np.abs(np.bincount(place, weights * gap, bins)).sum() / len(gap))

    drawn = np.array([error(weights) for weights in resampled_weights(len(gap), seed)])
    return shifted_estimate(error(np.ones(len(gap), dtype=np.int64)), drawn, len(gap))


@dataclass(frozen=True, slots=True)
class TemperatureMap:
    """p becomes sigmoid(logit(p) / temperature): above 1 confidences move towards 1/2, below 1 away from it."""

    temperature: float

    def __call__(self, confidences: ArrayLike) -> NDArray[np.float64]:
        """The calibrated confidences."""
        return _sigmoid(_logit(np.asarray(confidences, dtype=np.float64)) / self.temperature)

    def to_json(self) -> dict[str, Any]:
        """As it is stored."""
        return {"kind": "temperature", **asdict(self)}


@dataclass(frozen=True, slots=True)
class IsotonicMap:
    """A rising line through the points (`confidences`, `accuracies`), level beyond its ends."""

    confidences: tuple[float, ...]
    accuracies: tuple[float, ...]

    def __call__(self, confidences: ArrayLike) -> NDArray[np.float64]:
        """The calibrated confidences."""
        found = np.interp(np.asarray(confidences, dtype=np.float64), self.confidences, self.accuracies)
        return np.asarray(found, dtype=np.float64)

    def to_json(self) -> dict[str, Any]:
        """As it is stored."""
        return {"kind": "isotonic", "confidences": list(self.confidences), "accuracies": list(self.accuracies)}


def map_from_json(value: Mapping[str, Any]) -> TemperatureMap | IsotonicMap:
    """What `to_json` gave.

    Raises:
        ValueError: It is no map, or its numbers cannot be.
    """
    match value:
        case {"kind": "temperature", "temperature": float(temperature)} if 0 < temperature < float("inf"):
            return TemperatureMap(temperature)
        case {"kind": "isotonic", "confidences": [_, *_] as points, "accuracies": [_, *_] as levels}:
            found = IsotonicMap(tuple(map(float, points)), tuple(map(float, levels)))
            rises = np.diff(found.confidences).min(initial=1) > 0 and np.diff(found.accuracies).min(initial=0) >= 0
            if len(points) == len(levels) and rises and found.accuracies[0] >= 0 and found.accuracies[-1] <= 1:
                return found
    raise ValueError("no calibration map: expected a temperature above 0, or rising confidences and accuracies")


def fit_temperature(confidences: ArrayLike, correct: ArrayLike) -> TemperatureMap:
    """The temperature under which the rights and wrongs are likeliest, between 1/1000 and 1000.

    The likelihood is concave in 1 / temperature, so its slope is halved down to zero.

    Source: Guo et al. 2017, section 4.2, for the two outcomes right and wrong.

    Raises:
        ValueError: There are no answers.
    """
    probability, right = _pairs(confidences, correct)
    if not len(right):
        raise ValueError("There are no answers to fit a temperature to.")
    logits = _logit(probability)
    low, high = 1e-3, 1e3
    for _ in range(_STEPS):
        middle = float(np.sqrt(low * high))
        if ((right - _sigmoid(middle * logits)) * logits).sum() > 0:
            low = middle
        else:
            high = middle
    return TemperatureMap(1.0 / float(np.sqrt(low * high)))


def fit_isotonic(confidences: ArrayLike, correct: ArrayLike) -> IsotonicMap:
    """The non-decreasing map with the least squared error, by pooling adjacent violators.

    Each pool of answers becomes the points at its least and its greatest confidence.

    Raises:
        ValueError: There are no answers.
    """
    probability, right = _pairs(confidences, correct)
    if not len(right):
        raise ValueError("There are no answers to fit a map to.")
    distinct, place = np.unique(probability, return_inverse=True)
    pools: list[tuple[float, float, int, int]] = []  # right, answers, first and last distinct confidence
    for index, (hits, n) in enumerate(zip(np.bincount(place, right), np.bincount(place), strict=True)):
        pool = (float(hits), float(n), index, index)
        while pools and pools[-1][0] * pool[1] >= pool[0] * pools[-1][1]:
            before = pools.pop()
            pool = (before[0] + pool[0], before[1] + pool[1], before[2], pool[3])
        pools.append(pool)
    points = {index: hits / n for hits, n, first, last in pools for index in (first, last)}
    return IsotonicMap(tuple(float(distinct[index]) for index in points), tuple(points.values()))


def _pairs(confidences: ArrayLike, correct: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    probability, right = np.asarray(confidences, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if probability.shape != right.shape or probability.ndim != 1:
        raise ValueError(f"{probability.shape} confidences and {right.shape} outcomes; there must be one of each.")
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ValueError("Confidences must lie between 0 and 1.")
    return probability, right


def _bin_of(probability: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    return np.clip(np.ceil(probability * bins).astype(np.int64) - 1, 0, bins - 1)


def _logit(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped = np.clip(probability, _SURE, 1 - _SURE)
    found: NDArray[np.float64] = np.log(clipped / (1 - clipped))
    return found


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = 0.5 * (1.0 + np.tanh(0.5 * x))  # no overflow, as exp(-x) has it
    return found
