"""Exact search: the best rows are the best rows. The reference for all other indexes.

    codes or vectors ──scan──> products and what they may be wrong by ──Shortlist──> few rows ──scored──> best k

Every row is looked at, by its codes where there are some, else by its vector; what comes out is the same to the bit
(see `scans`). Memory is bounded by a tile of rows and by `queries x k`, not by the rows. Knows vectors and rows only.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64

from realm.errors import KnowledgeBaseError
from realm.index.code_segments import REBUILD
from realm.index.codes import CodeStore
from realm.index.protocol import Hits
from realm.index.quantising import width_of
from realm.index.scans import Queries, Tile, codes_can_be_scanned, scan_codes, scan_vectors
from realm.index.shortlist import Shortlist
from realm.index.vectors import VectorStore

_LARGEST_HALF = 65504.0
_MAX_QUERIES = 64
# From this many on, a product of float32 matrices is faster than one with codes.
_MAX_CODE_QUERIES = 16
# If a scan of codes leaves more than this part of a large tile, the rest is scanned by vectors.
_USELESS = 0.25
_MIN_USELESS_ROWS = 1 << 12
# One of so many rows: that few are scored without a scan.
_FEW = 64


class ExactIndex:
    """Compares every query with every live row; scores are float32, of float32 queries and float16 rows."""

    def __init__(
        self,
        store: VectorStore,
        tombstones: Int64[np.ndarray, " row"] | None = None,
        codes: CodeStore | None = None,
        *,
        device: str | torch.device = "cpu",
    ) -> None:
        """Search `store` without the rows in `tombstones` (any order; none unless given).

        Args:
            store: The vectors.
            tombstones: Rows that are gone.
            codes: Codes of the same vectors; makes searching for a few queries several times as fast.
            device: Where vectors are multiplied. Codes are used on the CPU only.

        Raises:
            KnowledgeBaseError: The codes are not of as many rows, or of as many numbers, as the vectors.
        """
        if codes is not None and (codes.rows, codes.dim) != (store.rows, store.dim):
            raise KnowledgeBaseError(
                f"there are codes of {codes.rows:,} x {codes.dim} numbers, and vectors of {store.rows:,} x "
                f"{store.dim}. {REBUILD}"
            )
        self._store = store
        self._device = torch.device(device)
        self._codes = codes if self._device.type == "cpu" else None
        gone = np.empty(0, dtype=np.int64) if tombstones is None else np.unique(tombstones)
        gone = gone[(gone >= 0) & (gone < store.rows)]
        self._live: Bool[np.ndarray, " row"] | None = None
        if len(gone):
            self._live = np.ones(store.rows, dtype=np.bool_)
            self._live[gone] = False

    def search(
        self, queries: Float32[np.ndarray, "query dim"], k: int, allowed: Bool[np.ndarray, " row"] | None = None
    ) -> Hits:
        """See `Index.search`.

        Raises:
            KnowledgeBaseError: The queries do not have the vectors' dimension.
            ValueError: `k` is below 1; or a query is not finite, or so large that scores would not be; or `allowed`
                is not about all rows.
        """
        queries = checked(queries, k, self._store, allowed)
        live = _both(self._live, allowed)
        count = self._store.rows if live is None else int(live.sum())
        k = min(k, count)
        hits = Hits(np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64))
        for start in range(0, len(queries) if k else 0, _MAX_QUERIES):
            group = Queries.of(queries[start : start + _MAX_QUERIES])
            shortlists = [Shortlist(self._store, group, place, k) for place in range(len(group.raw))]
            if live is not None and count * _FEW <= self._store.rows:
                for shortlist in shortlists:
                    shortlist.add_rows(np.flatnonzero(live))
            else:
                self._scan(group, shortlists, live)
            for place, shortlist in enumerate(shortlists, start):
                hits.scores[place], hits.rows[place] = shortlist.best()
        return hits

    def _scan(self, queries: Queries, shortlists: list[Shortlist], live: Bool[np.ndarray, " row"] | None) -> None:
        next_row = 0
        if self._codes is not None and self._multiplies_codes(len(shortlists)):
            for tile in scan_codes(self._codes, queries):
                undecided = _add(tile, shortlists, live)
                next_row = tile.first + tile.products.shape[1]
                if undecided > _USELESS * tile.products.numel() and tile.products.shape[1] > _MIN_USELESS_ROWS:
                    # Codes do not tell these rows apart.
                    break
        if next_row < self._store.rows:
            for tile in scan_vectors(self._store, queries, self._device, next_row):
                _add(tile, shortlists, live)

    def _multiplies_codes(self, queries: int) -> bool:
        return queries <= _MAX_CODE_QUERIES and codes_can_be_scanned(width_of(self._store.dim), queries)


def _add(tile: Tile, shortlists: list[Shortlist], live: Bool[np.ndarray, " row"] | None) -> int:
    """Show a tile to all shortlists; return how many of its products they could not rule out."""
    if live is not None:
        alive = torch.from_numpy(live[tile.first : tile.first + tile.products.shape[1]])
        tile.products.masked_fill_(~alive.to(tile.products.device), -torch.inf)
    errors = tile.largest_errors
    return sum(shortlist.add(tile, float(error)) for shortlist, error in zip(shortlists, errors, strict=True))


def checked(
    queries: Float32[np.ndarray, "query dim"], k: int, store: VectorStore, allowed: Bool[np.ndarray, " row"] | None
) -> Float32[np.ndarray, "query dim"]:
    """The queries, if they and the other arguments of `Index.search` can be answered.

    Raises:
        KnowledgeBaseError: See `ExactIndex.search`, as for ValueError.
        ValueError: The same.
    """
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
    if allowed is not None and (allowed.shape != (store.rows,) or allowed.dtype != np.bool_):
        raise ValueError(f"`allowed` has shape {allowed.shape} of {allowed.dtype}; expected ({store.rows},) of bool")
    return queries


def _both(
    first: Bool[np.ndarray, " row"] | None, second: Bool[np.ndarray, " row"] | None
) -> Bool[np.ndarray, " row"] | None:
    if first is None or second is None:
        return second if first is None else first
    return np.asarray(first & second)
