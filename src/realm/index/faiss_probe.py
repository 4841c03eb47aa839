"""How wide must be searched? Recall against the exact index on a sample, and the cheapest settings that reach it.

    exact best k of each sample query ──┐
    codes, nprobe = 4, 6, 9, ... ──────┴─> at which place among the candidates does each true row stand?
                                            ──> recall for every (nprobe, candidates) ──> the cheapest that reaches

Knows vectors only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int64

from realm.index.faiss_entry import FaissPoint
from realm.index.faiss_file import faiss_library, threads_of_torch
from realm.index.protocol import Index
from realm.index.vectors import VectorStore

PROBE_QUERIES = 200
PROBE_KS = (5, 100, 5000)

# Many rows for each of fewer queries tell as much.
_MAX_TRIALS = 10_000
_MIN_QUERIES = 50
_BLOCK_NOISE = 0.5
_QUERIES_AT_ONCE = 20
_FIRST_NPROBE = 4
_FACTORS = (1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32)
_LEAST_CANDIDATES = 50
# Many true rows are told from others by fewer candidates for each.
_MOST_FACTOR, _MOST_CANDIDATES = 8, 3200
# Reading and scoring one candidate takes as long as comparing this many codes.
_CODES_PER_CANDIDATE = 500


@dataclass(frozen=True)
class Sample:
    """What recall is measured with: `questions` or `blocks`, as `kind` says."""

    kind: str
    queries: Float32[np.ndarray, "query dim"]


def sample_queries(
    store: VectorStore,
    live: Int64[np.ndarray, " row"],
    questions: Float32[np.ndarray, "query dim"] | None,
    seed: int,
) -> Sample:
    """Queries to measure recall with.

    Questions of users are best. Without them a query is the vector of a random live row, moved by half of the
    difference between two other random rows: so it is near one row but on none, and is spread as the rows are.

    Args:
        store: The vectors.
        live: Rows that may be drawn.
        questions: Vectors of real questions, if there are any; up to 200 of them are drawn.
        seed: Of the draws.
    """
    random = np.random.default_rng([seed, 1])
    if questions is not None and len(questions):
        drawn = np.sort(random.permutation(len(questions))[:PROBE_QUERIES])
        return Sample("questions", np.ascontiguousarray(questions[drawn], dtype=np.float32))
    near, one, other = (store.take(random.choice(live, PROBE_QUERIES)) for _ in range(3))
    return Sample("blocks", near + np.float32(_BLOCK_NOISE) * (one - other))


def measure(
    index: Any,
    exact: Index,
    sample: Sample,
    target: float,
    is_live: Bool[np.ndarray, " row"],
) -> tuple[FaissPoint, ...]:
    """For each `k` the cheapest way to search that reaches the target; the widest tried if none does.

    Because a sample is not all questions, a quarter of the way from the target to 1 is asked for on top.

    Args:
        index: The FAISS index.
        exact: Finds the true rows.
        sample: What to search for.
        target: Wanted recall, up to 1.
        is_live: The rows that are in `index`.
    """
    points = []
    for k in sorted({min(k, index.ntotal) for k in PROBE_KS}):
        queries = sample.queries[: max(_MIN_QUERIES, _MAX_TRIALS // k)]
        truth = exact.search(queries, k, is_live).rows
        points.append(_cheapest(index, queries, truth, target))
    return tuple(points)


def _cheapest(
    index: Any, queries: Float32[np.ndarray, "query dim"], truth: Int64[np.ndarray, "query k"], target: float
) -> FaissPoint:
    k = truth.shape[1]
    wanted = target + (1 - target) / 4
    most = min(index.ntotal, max(_MOST_FACTOR * k, _MOST_CANDIDATES))
    numbers = sorted({min(most, int(max(k, _LEAST_CANDIDATES) * factor)) for factor in _FACTORS})
    rows_per_list = index.ntotal / index.nlist
    chosen, chosen_cost, widest = None, np.inf, None
    # Order: there must be rows enough to choose from, see `FaissIndex.search`.
    nprobe = min(max(_FIRST_NPROBE, int(2 * numbers[0] / rows_per_list) + 1), index.nlist)
    while True:
        enough = [n for n in numbers if 2 * n <= nprobe * rows_per_list or nprobe == index.nlist]
        for candidates, recall in zip(enough, _recalls(index, queries, truth, nprobe, enough), strict=True):
            point = FaissPoint(k, nprobe, candidates, recall)
            cost = nprobe * rows_per_list + candidates * _CODES_PER_CANDIDATE
            if recall >= wanted and cost < chosen_cost:
                chosen, chosen_cost = point, cost
            if widest is None or recall > widest.recall:
                widest = point
        # Order: wider searches only cost more from here on.
        if nprobe == index.nlist or nprobe * rows_per_list >= chosen_cost:
            break
        nprobe = min(nprobe + nprobe // 2, index.nlist)
    return chosen or widest or FaissPoint(k, index.nlist, index.ntotal, 0.0)


def _recalls(
    index: Any,
    queries: Float32[np.ndarray, "query dim"],
    truth: Int64[np.ndarray, "query k"],
    nprobe: int,
    numbers: Sequence[int],
) -> list[float]:
    """Share of the true rows among the first n candidates, for each n in `numbers` (ascending)."""
    faiss = faiss_library()
    found = np.zeros(len(numbers))
    # One more than there are rows: -1, where the lists hold no more, is no true row.
    is_true = np.zeros(int(truth.max()) + 2, dtype=np.bool_)
    parameters = faiss.SearchParametersIVF(nprobe=nprobe)
    with threads_of_torch():
        for start in range(0, len(queries), _QUERIES_AT_ONCE):
            end = start + _QUERIES_AT_ONCE
            _, rows = index.search(queries[start:end], numbers[-1], params=parameters)
            for line, true in zip(rows, truth[start:end], strict=True):
                is_true[true] = True
                found += np.searchsorted(np.flatnonzero(is_true[np.minimum(line, len(is_true) - 1)]), numbers)
                is_true[true] = False
    return [float(share) for share in found / truth.size]
