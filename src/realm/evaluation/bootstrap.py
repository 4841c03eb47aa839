"""What a figure measured on some questions says about all: 95 % intervals by resampling the questions.

Knows numbers only. Every function is seeded: the same values give the same interval.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

SEED = 20200210
RESAMPLES = 10_000
_TAILS = (0.025, 0.975)
_MOST_WEIGHTS = 20_000_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its 95 % interval.

    Attributes:
        value: As measured.
        low: Lower end.
        high: Upper end.
        n: Questions it was measured on.
    """

    value: float
    low: float
    high: float
    n: int


def mean_estimate(values: ArrayLike, *, seed: int = SEED, resamples: int = RESAMPLES) -> Estimate:
    """The mean with its percentile bootstrap interval.

    Drawing n of n questions with replacement draws how often each distinct value occurs from a multinomial
    distribution, so that 100,000 rights and wrongs are resampled as quickly as ten.

    Args:
        values: One number a question; at least one.
        seed: Of the resampling.
        resamples: How often to draw.
    """
    values = np.asarray(values, dtype=np.float64)
    means = resampled_means(values, seed, resamples)
    low, high = np.quantile(means, _TAILS)
    return Estimate(float(values.mean()), float(low), float(high), len(values))


def resampled_means(values: NDArray[np.float64], seed: int, resamples: int) -> NDArray[np.float64]:
    """The mean of each of `resamples` draws of len(values) values with replacement."""
    distinct, counts = np.unique(values, return_counts=True)
    chance = np.random.default_rng(seed)
    if len(distinct) == 1:
        return np.full(resamples, distinct[0])
    if len(distinct) == 2:
        upper = chance.binomial(len(values), counts[1] / len(values), resamples) / len(values)
        means: NDArray[np.float64] = distinct[0] + (distinct[1] - distinct[0]) * upper
        return means
    shares = counts / len(values)
    rows = max(1, _MOST_WEIGHTS // len(distinct))  # at once, to bound the memory
    parts = [
        chance.multinomial(len(values), shares, min(rows, resamples - start)) @ distinct
        for start in range(0, resamples, rows)
    ]
    found: NDArray[np.float64] = np.concatenate(parts) / len(values)
    return found


def shifted_estimate(value: float, drawn: NDArray[np.float64], n: int) -> Estimate:
    """A statistic in [0, 1] with its bootstrap interval, corrected for the bias of resampling.

    A calibration error, say, grows when questions are drawn twice. So the percentiles are moved by as much as the mean
    of the resampled statistics is off, and cut to [0, 1].

    Args:
        value: The statistic of the questions.
        drawn: The statistic of each resample.
        n: How many questions there are.
    """
    low, high = np.clip(np.quantile(drawn, _TAILS) - (drawn.mean() - value), 0.0, 1.0)
    return Estimate(value, float(min(low, value)), float(max(high, value)), n)


def resampled_weights(n: int, seed: int = SEED) -> Iterator[NDArray[np.int64]]:
    """How often each of n questions occurs in each resample; 1,000 resamples, down to 200 where n is large."""
    chance = np.random.default_rng(seed)
    for _ in range(max(200, min(1000, _MOST_WEIGHTS // n))):
        yield np.bincount(chance.integers(0, n, n), minlength=n)
