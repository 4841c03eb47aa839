"""A pass over the sketches: for each tile of rows, those that may score best, and what they cannot exceed.

    sketches ──FAISS fast scan──> the `found` largest sums of a tile ──bounds──> rows, and a bound for all others

FAISS looks up tables of bytes instead of the numbers they stand for, and says what these were: bytes B, a factor a
and a summand b, so that its result for a row with levels v is D = sum_i B_i[v_i] / a + b. What the sum of the numbers
(see `sketches`) may be more than D is then known without knowing how FAISS rounds, from the tables alone:

    U - D = sum_i (table_i[v_i] - B_i[v_i] / a) - b <= sum_i max_v (table_i[v] - B_i[v] / a) - b

A row that is not among the largest has no larger D than they have. To this comes what the score is rounded by, at
most a slack times |q| |x|, and what FAISS loses on the way from bytes to D, a few float32 operations. Knows vectors
and rows only.
"""

from __future__ import annotations

import functools
import importlib.util
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64, UInt8

from realm.index.lent_codes import aligned, lent, tables_are_known
from realm.index.scans import UNIT, Queries, absolute_error
from realm.index.sketches import SketchFile, SketchStore
from realm.index.sketching import BLOCK_ROWS, LEVELS, packed

# Large enough for FAISS's calls to cost little, small enough for all threads to have some in a segment.
_TILE_ROWS = 1 << 18
_LARGEST_SUM = 65535
_PROBE_ROWS, _PROBE_COLUMNS = 70, 6
# Twice as many tiles wait as there are threads: none of these waits for the caller.
_AHEAD = 2


@dataclass(frozen=True, slots=True, eq=False)
class BoundedTile:
    """Rows of a tile that may score best.

    Attributes:
        first: The tile's first row.
        end: The row after its last.
        rows: The same number for each query.
        upper: What their scores cannot exceed, in units of the scaled queries.
        others: What the scores of all other rows of the tile cannot exceed: minus infinity if there are none, and
            infinity if nothing is known, of the rows given neither.
    """

    first: int
    end: int
    rows: Int64[np.ndarray, "query found"]
    upper: Float64[np.ndarray, "query found"]
    others: Float64[np.ndarray, " query"]


def scan_sketches(sketches: SketchStore, queries: Queries, found: int) -> Iterator[BoundedTile]:
    """All rows that have sketches, in order; as many tiles at once as torch may use threads."""
    from realm.index.faiss_file import faiss_library

    faiss = faiss_library()
    scratch = threading.local()
    # Of a thread's own: FAISS would else start threads in each of ours.
    with ThreadPoolExecutor(torch.get_num_threads(), initializer=faiss.omp_set_num_threads, initargs=(1,)) as pool:
        waiting: deque[Future[BoundedTile]] = deque()
        try:
            for file in sketches.files:
                scan = _FileScan(faiss, file, queries, found)
                for start in range(0, file.segment.rows, _TILE_ROWS):
                    waiting.append(pool.submit(scan.tile, scratch, start))
                    if len(waiting) > _AHEAD * torch.get_num_threads():
                        yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@functools.cache
def sketches_can_be_scanned() -> bool:
    """Whether FAISS is there, reads sketches as they are laid out, and tells its tables as the bound supposes."""
    if importlib.util.find_spec("faiss") is None:
        return False
    from realm.index.faiss_file import faiss_library

    faiss = faiss_library()
    random = np.random.default_rng(0)
    places = random.integers(0, LEVELS, (_PROBE_ROWS, _PROBE_COLUMNS), dtype=np.uint8)
    levels = random.standard_normal((_PROBE_COLUMNS, LEVELS)).astype(np.float32)
    queries = random.standard_normal((2, _PROBE_COLUMNS)).astype(np.float32)
    try:
        index = _index(faiss, levels)
        if not tables_are_known(index):
            return False
        sums, rows = _search(index, aligned(packed(places)), _PROBE_ROWS, queries, _PROBE_ROWS)
        tables, factor, summand = _byte_tables(faiss, index, queries)
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return False
    looked_up = tables[:, np.arange(_PROBE_COLUMNS), places].sum(axis=2, dtype=np.int64)
    expected = np.take_along_axis(looked_up, rows, axis=1) / factor[:, None] + summand[:, None]
    is_all = (np.sort(rows, axis=1) == np.arange(_PROBE_ROWS)).all()
    return bool(is_all and np.allclose(sums, expected, rtol=1e-5, atol=1e-5))


class _FileScan:
    """What all tiles of a file share."""

    def __init__(self, faiss: Any, file: SketchFile, queries: Queries, found: int) -> None:
        self._faiss = faiss
        self._file = file
        self._found = found
        scaled = queries.scaled.astype(np.float64)
        norms = np.linalg.norm(scaled, axis=1) * (1 + 2.0**-30)
        columns, dim = len(file.levels), file.segment.dim
        self._queries = np.zeros((len(scaled), columns), dtype=np.float32)
        self._queries[:, :dim], self._queries[:, dim] = scaled, norms
        exact = np.zeros((len(scaled), columns))
        exact[:, :dim], exact[:, dim] = scaled, norms
        self._tables = exact[:, :, None] * file.levels.astype(np.float64)
        self._errors = UNIT * (dim + 8) * norms * file.segment.norm + absolute_error(queries)
        self._excess = self._excess_of(_index(faiss, file.levels))

    def tile(self, scratch: threading.local, start: int) -> BoundedTile:
        rows = min(_TILE_ROWS, self._file.segment.rows - start)
        blocks = self._file.blocks[start // BLOCK_ROWS : -(-(start + rows) // BLOCK_ROWS)]
        if getattr(scratch, "scan", None) is not self:
            scratch.scan, scratch.index = self, _index(self._faiss, self._file.levels)
        count = min(self._found, rows)
        sums, places = _search(scratch.index, blocks, rows, self._queries, count)
        with np.errstate(invalid="ignore"):
            upper = sums + (self._excess + self._errors)[:, None] + UNIT * 8 * np.abs(sums)
        others = upper[:, -1] if count < rows else np.full(len(upper), -np.inf)
        # Tables that cannot be told apart give sums that are no numbers.
        is_sound = np.isfinite(upper).all(axis=1) & (places >= 0).all(axis=1)
        others = np.where(is_sound, others, np.inf)
        first = self._file.first + start
        return BoundedTile(first, first + rows, places + first, upper, others)

    def _excess_of(self, index: Any) -> Float64[np.ndarray, " query"]:
        """How much more than FAISS's result the sum of the numbers may be; infinity if nothing is known of it."""
        tables, factor, summand = _byte_tables(self._faiss, index, self._queries)
        with np.errstate(divide="ignore", invalid="ignore"):
            given = tables / factor[:, None, None]
            excess = (self._tables - given).max(axis=2).sum(axis=1) - summand
            excess += 4 * UNIT * (np.abs(self._tables).max(axis=2).sum(axis=1) + np.abs(summand))
        largest = tables.max(axis=2).astype(np.int64).sum(axis=1)
        return np.where(np.isfinite(excess) & (largest <= _LARGEST_SUM), excess, np.inf)


def _index(faiss: Any, levels: Float32[np.ndarray, "column 16"]) -> Any:
    """A FAISS index of these levels and no rows."""
    columns = len(levels)
    index = faiss.IndexPQFastScan(columns, columns, 4, faiss.METRIC_INNER_PRODUCT)
    faiss.copy_array_to_vector(levels.reshape(-1), index.pq.centroids)
    index.is_trained = True
    return index


def _search(
    index: Any,
    blocks: UInt8[np.ndarray, "block column 16"],
    rows: int,
    queries: Float32[np.ndarray, "query column"],
    k: int,
) -> tuple[Float32[np.ndarray, "query k"], Int64[np.ndarray, "query k"]]:
    """The largest sums among some rows, and which rows have them."""
    index.ntotal, index.ntotal2 = rows, len(blocks) * BLOCK_ROWS
    with lent(index, blocks):
        sums, places = index.search(queries, k)
    return sums, places


def _byte_tables(
    faiss: Any, index: Any, queries: Float32[np.ndarray, "query column"]
) -> tuple[UInt8[np.ndarray, "query column 16"], Float64[np.ndarray, " query"], Float64[np.ndarray, " query"]]:
    """What FAISS adds up for each query, and the factor and the summand of the sums."""
    tables = np.zeros((*queries.shape, LEVELS), dtype=np.uint8)
    factors = np.zeros((len(queries), 2), dtype=np.float32)
    pointers = [faiss.swig_ptr(array) for array in (queries, tables, factors)]
    index.compute_quantized_LUT(len(queries), *pointers, faiss.FastScanDistancePostProcessing())
    factor, summand = factors.astype(np.float64).T
    return tables, factor, summand
