"""Whether two systems differ on the same questions, beyond chance.

Knows numbers only. Read `paired_test` first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from realm.evaluation.bootstrap import RESAMPLES, SEED, Estimate, mean_estimate


@dataclass(frozen=True, slots=True)
class PairedTest:
    """The second system against the first.

    Attributes:
        difference: Mean of second minus first, with its paired bootstrap interval.
        better: Questions on which the second is better.
        worse: Questions on which it is worse.
        p_value: Chance of a difference at least as large, in either direction, if the systems were equal.
        test: What gave the p-value.
    """

    difference: Estimate
    better: int
    worse: int
    p_value: float
    test: str


def paired_test(first: ArrayLike, second: ArrayLike, *, seed: int = SEED) -> PairedTest:
    """Compare two systems question by question: McNemar's exact test for rights and wrongs, else a permutation test.

    Args:
        first: One number a question.
        second: The same questions in the same order.
        seed: Of bootstrap and permutations.
    """
    before = np.asarray(first, dtype=np.float64)
    after = np.asarray(second, dtype=np.float64)
    if before.shape != after.shape:
        raise ValueError(f"{len(before):,} and {len(after):,} values; a paired test needs the same questions.")
    differences = after - before
    better, worse = int((differences > 0).sum()), int((differences < 0).sum())
    if np.isin(before, (0.0, 1.0)).all() and np.isin(after, (0.0, 1.0)).all():
        p_value, test = mcnemar_p_value(better, worse), "McNemar, exact"
    else:
        p_value, test = permutation_p_value(differences, seed=seed), f"paired permutation, {RESAMPLES:,} draws"
    return PairedTest(mean_estimate(differences, seed=seed), better, worse, p_value, test)


def mcnemar_p_value(better: int, worse: int) -> float:
    """Two-sided exact binomial test that either of two systems wins a question they differ on with chance 1/2.

        p = min(1, 2 sum_{i <= min(better, worse)} C(n, i) / 2^n),  n = better + worse

    Source: McNemar 1947, in its exact form.
    """
    n, fewer = better + worse, min(better, worse)
    steps = np.arange(fewer, dtype=np.float64)
    logs = np.concatenate([[0.0], np.cumsum(np.log((n - steps) / (steps + 1)))]) - n * np.log(2.0)
    return float(min(1.0, 2.0 * np.exp(logs).sum()))


def permutation_p_value(differences: NDArray[np.float64], *, seed: int = SEED, draws: int = RESAMPLES) -> float:
    """Two-sided: how often random signs give a sum of differences as far from zero as the one found.

        p = (1 + #{draws with |sum| >= |found|}) / (1 + draws)

    Equal magnitudes are drawn together: how many of them are positive is binomial.
    """
    magnitudes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    found = abs(float(differences.sum()))
    chance = np.random.default_rng(seed)
    sums = np.zeros(draws)
    for magnitude, count in zip(magnitudes, counts, strict=True):
        sums += magnitude * (2.0 * chance.binomial(count, 0.5, draws) - count)
    # Sums of fractions differ in their last bits by the order of adding.
    return float((1 + (np.abs(sums) >= found - 1e-9).sum()) / (1 + draws))
