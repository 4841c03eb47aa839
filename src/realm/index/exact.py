"""Exact search: the best rows are the best rows. The reference for all other indexes.

    codes or vectors ──scan──> products and what they may be wrong by ──Shortlist──> few rows ──scored──> best k

Every row is looked at, by its codes where there are some, else by its vector; what comes out is the same to the bit
(see `scans`). Memory is bounded by a tile of rows and by `queries x k`, not by the rows. Knows vectors and rows only.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float16, Float32, Int64

from realm.errors import KnowledgeBaseError
from realm.index.code_scans import scan_codes
from realm.index.code_segments import REBUILD
from realm.index.codes import CodeStore
from realm.index.protocol import Hits
from realm.index.scans import Queries, Tile, copied, scan_vectors
from realm.index.shortlist import Shortlist
from realm.index.sketch_scan import BoundedTile, scan_sketches, sketches_can_be_scanned
from realm.index.sketches import SketchStore
from realm.index.vectors import VectorStore

_LARGEST_HALF = 65504.0
_MAX_QUERIES = 64
# If a scan of codes leaves more than this part of a large tile, the rest is scanned by vectors.
_USELESS = 0.25
_MIN_USELESS_ROWS = 1 << 12
# Sketches name so many rows of a tile; where the best may be others too, codes decide. After so many such tiles, or
# for more rows than this, or if many rows must not be returned, codes are faster from the beginning.
_FOUND = 512
_FOUND_PER_K = 8
_MAX_SKETCH_K = 256
_MIN_LIVE = 0.5
_MAX_UNDECIDED_TILES = 4
# One of so many rows: that few are scored without a scan.
_FEW = 64


class ExactIndex:
    """Compares every query with every live row; scores are float32, of float32 queries and float16 rows."""

    def __init__(
        self,
        store: VectorStore,
        tombstones: Int64[np.ndarray, " row"] | None = None,
        codes: CodeStore | None = None,
        sketches: SketchStore | None = None,
        *,
        device: str | torch.device = "cpu",
    ) -> None:
        """Search `store` without the rows in `tombstones` (any order; none unless given).

        Args:
            store: The vectors.
            tombstones: Rows that are gone.
            codes: Codes of the same vectors; make searching several times as fast.
            sketches: Sketches of the first of them; make searching for a few rows faster still.
            device: Where vectors are multiplied. Codes and sketches are used on the CPU only; a graphics card gets a
                copy of the vectors, which must fit on it, at the first search.

        Raises:
            KnowledgeBaseError: The codes are not of as many rows, or of as many numbers, as the vectors; or
                sketches are of more rows, or of other numbers.
        """
        if codes is not None and (codes.rows, codes.dim) != (store.rows, store.dim):
            raise KnowledgeBaseError(
                f"there are codes of {codes.rows:,} x {codes.dim} numbers, and vectors of {store.rows:,} x "
                f"{store.dim}. {REBUILD}"
            )
        if sketches is not None and (sketches.rows > store.rows or sketches.dim != store.dim):
            raise KnowledgeBaseError(
                f"there are sketches of {sketches.rows:,} x {sketches.dim} numbers, and vectors of {store.rows:,} x "
                f"{store.dim}. {REBUILD}"
            )
        self._store = store
        self._device = torch.device(device)
        self._codes = codes if self._device.type == "cpu" else None
        self._sketches = sketches if self._device.type == "cpu" else None
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
                self._scan(group, shortlists, k, live)
            for place, shortlist in enumerate(shortlists, start):
                hits.scores[place], hits.rows[place] = shortlist.best()
        return hits

    def _scan(
        self, queries: Queries, shortlists: list[Shortlist], k: int, live: Bool[np.ndarray, " row"] | None
    ) -> None:
        next_row = self._scan_sketches(queries, shortlists, k, live)
        if self._codes is not None:
            for tile in scan_codes(self._codes, queries, next_row):
                undecided = _add(tile, shortlists, live)
                next_row = tile.first + tile.products.shape[1]
                if undecided > _USELESS * tile.products.numel() and tile.products.shape[1] > _MIN_USELESS_ROWS:
                    # Codes do not tell these rows apart.
                    break
        if next_row < self._store.rows:
            for tile in scan_vectors(self._store, queries, self._device, next_row, self._resident):
                _add(tile, shortlists, live)

    @cached_property
    def _resident(self) -> Float16[torch.Tensor, "row dim"] | None:
        """A copy of all vectors on a graphics card; None on the CPU, which reads the files."""
        return None if self._device.type == "cpu" else copied(self._store, self._device)

    def _scan_sketches(
        self, queries: Queries, shortlists: list[Shortlist], k: int, live: Bool[np.ndarray, " row"] | None
    ) -> int:
        """Look at rows by their sketches, as long as these decide; return the first row that was not looked at."""
        codes, sketches = self._codes, self._sketches
        if codes is None or sketches is None or not sketches.rows or k > _MAX_SKETCH_K:
            return 0
        if not sketches_can_be_scanned():
            return 0
        if live is not None and np.count_nonzero(live) < _MIN_LIVE * len(live):
            return 0
        end, undecided = 0, 0
        for tile in scan_sketches(sketches, queries, _FOUND_PER_K * k + _FOUND):
            end = tile.end
            left = [
                place for place, shortlist in enumerate(shortlists) if not _add_bounded(tile, place, shortlist, live)
            ]
            if left:
                group = queries.of_places(left)
                for closer in scan_codes(codes, group, tile.first, tile.end):
                    _add(closer, [shortlists[place] for place in left], live)
                undecided += len(left)
                if undecided > _MAX_UNDECIDED_TILES * len(shortlists):
                    break
        return end


def _add_bounded(tile: BoundedTile, place: int, shortlist: Shortlist, live: Bool[np.ndarray, " row"] | None) -> bool:
    rows, upper = tile.rows[place], tile.upper[place]
    if live is not None:
        alive = live[rows]
        rows, upper = rows[alive], upper[alive]
    return shortlist.add_bounded(rows, upper, float(tile.others[place]))


def _add(tile: Tile, shortlists: list[Shortlist], live: Bool[np.ndarray, " row"] | None) -> int:
    """Show a tile to all shortlists; return how many of its products they could not rule out."""
    if live is not None:
        alive = torch.from_numpy(live[tile.first : tile.first + tile.products.shape[1]])
        tile.products.masked_fill_(~alive.to(tile.products.device), -torch.inf)
    errors = tile.largest_errors.tolist()
    return sum(shortlist.add(tile, errors[place], place) for place, shortlist in enumerate(shortlists))


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
