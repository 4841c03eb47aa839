"""Exact search: every vector is read, so that the best rows are the best rows. The reference for all other
indexes.

    file ──chunk of rows──> float32 ──product with all queries──> scores ──_Best──> best k so far

One pass over the file serves all queries, and memory is bounded by the chunk and by `queries x k`, not by the
rows. Knows vectors and rows only.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float32, Int64

from realm.errors import KnowledgeBaseError
from realm.index.protocol import Hits
from realm.index.vectors import VectorStore

_CHUNK_NUMBERS = 4 << 20
_CHUNK_SCORES = 2 << 20
_MIN_CHUNK_ROWS = 256
_LARGEST_HALF = 65504.0


class ExactIndex:
    """Compares every query with every live row; scores are float32, of float32 queries and float16 rows."""

    def __init__(self, store: VectorStore, tombstones: Int64[np.ndarray, " row"] | None = None) -> None:
        """Search `store` without the rows in `tombstones` (any order; none unless given)."""
        self._store = store
        gone = np.empty(0, dtype=np.int64) if tombstones is None else np.unique(tombstones)
        self._gone = gone[(gone >= 0) & (gone < store.rows)]

    def search(self, queries: Float32[np.ndarray, "query dim"], k: int) -> Hits:
        """See `Index.search`.

        Raises:
            KnowledgeBaseError: The queries do not have the vectors' dimension.
            ValueError: `k` is below 1; or a query is not finite, or so large that scores would not be.
        """
        store = self._store
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        if queries.ndim != 2 or queries.shape[1] != store.dim:
            raise KnowledgeBaseError(
                f"queries of shape {queries.shape} cannot be compared with vectors of {store.dim} numbers: "
                "was the knowledge base made with another model?"
            )
        if k < 1:
            raise ValueError(f"k is {k}; at least one row must be asked for")
        limit = np.finfo(np.float32).max / (_LARGEST_HALF * store.dim)
        if not (np.abs(queries) < limit).all():
            raise ValueError(f"queries must be finite and below {limit:.0e}; is the model that made them broken?")
        k = min(k, store.rows - len(self._gone))
        if not k or not len(queries):
            return Hits(np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64))
        best = _Best(len(queries), k)
        columns = torch.from_numpy(queries).T
        chunk_rows = max(_MIN_CHUNK_ROWS, min(_CHUNK_NUMBERS // store.dim, _CHUNK_SCORES // len(queries)))
        for first, halves in store.chunks(chunk_rows):
            scores = torch.from_numpy(halves).float() @ columns
            start, end = np.searchsorted(self._gone, (first, first + len(halves)))
            scores[torch.from_numpy(self._gone[start:end] - first)] = -torch.inf
            best.add(first, scores)
        return best.hits()


class _Best:
    """The best `k` rows for each query among those seen so far. Rows must be added in ascending order."""

    def __init__(self, queries: int, k: int) -> None:
        self._queries = queries
        self._k = k
        # A row must beat this to get in: the worst of a query's best k, once there are k.
        self._bar = np.full(queries, -np.inf, dtype=np.float32)
        self._found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._waiting = 0

    def add(self, first: int, scores: Float32[torch.Tensor, "row query"]) -> None:
        """Look at the scores of the rows from `first` on. Minus infinity is a row that is gone."""
        # Order: later rows lose ties, so they must be better than the bar.
        passing = scores > torch.from_numpy(self._bar)
        if int(passing.sum()) > self._queries * self._k:
            least = scores.topk(min(self._k, len(scores)), dim=0).values[-1]
            passing &= scores >= least
        rows, queries = (places.numpy() for places in torch.nonzero(passing, as_tuple=True))
        self._found.append((queries, scores[passing].numpy(), rows + first))
        self._waiting += len(rows)
        if self._waiting > self._queries * self._k:
            self._sift()

    def hits(self) -> Hits:
        self._sift()
        _, scores, rows = self._found[0]
        shape = (self._queries, self._k)
        return Hits(scores.reshape(shape), rows.reshape(shape))

    def _sift(self) -> None:
        """Keep the best k of each query, sorted, and raise the bar."""
        queries, scores, rows = (np.concatenate(parts) for parts in zip(*self._found, strict=True))
        order = np.lexsort((rows, -scores, queries))
        queries, scores, rows = queries[order], scores[order], rows[order]
        starts = np.searchsorted(queries, np.arange(self._queries))
        rank = np.arange(len(queries)) - starts[queries]
        is_last = rank == self._k - 1
        self._bar[queries[is_last]] = scores[is_last]
        kept = rank < self._k
        self._found = [(queries[kept], scores[kept], rows[kept])]
        self._waiting = 0
