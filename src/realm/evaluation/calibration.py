"""Whether confidences mean what they say.

    confidences, right or wrong ─► reliability_bins, expected_calibration_error

Knows numbers only, not where confidences come from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from realm.evaluation.bootstrap import SEED, Estimate, resampled_weights, shifted_estimate

BINS = 15


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


def _pairs(confidences: ArrayLike, correct: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    probability, right = np.asarray(confidences, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if probability.shape != right.shape or probability.ndim != 1:
        raise ValueError(f"{probability.shape} confidences and {right.shape} outcomes; there must be one of each.")
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ValueError("Confidences must lie between 0 and 1.")
    return probability, right


def _bin_of(probability: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    return np.clip(np.ceil(probability * bins).astype(np.int64) - 1, 0, bins - 1)
