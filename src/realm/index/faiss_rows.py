"""Exact scores of chosen rows, and the best among rows whose scores are known.

Few rows of a large file are read: through a mapping, each would bring its whole neighbourhood into the process,
and the memory of a process that answers for a long time would grow to that of all vectors. So rows are read one by
one into memory of our own. Knows vectors and rows only.
"""

from __future__ import annotations

import os
import weakref
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64

from realm.errors import CorruptFileError
from realm.index.scans import Queries, scan_vectors
from realm.index.segments import NUMBER, REBUILD, not_finite
from realm.index.shortlist import Shortlist
from realm.index.vectors import VectorStore


class RowReader:
    """Reads single rows of a store without mapping them."""

    def __init__(self, store: VectorStore) -> None:
        """Open the files of `store`; they are closed with this object."""
        self._dim = store.dim
        self._row_bytes = store.dim * NUMBER.itemsize
        self._paths: list[str] = []
        self._handles: list[int] = []
        firsts = []
        for first, halves in store.chunks(max(store.rows, 1)):
            path = str(halves.filename) if isinstance(halves, np.memmap) else ""
            handle = os.open(path, os.O_RDONLY)
            weakref.finalize(self, os.close, handle)
            self._handles.append(handle)
            self._paths.append(path)
            firsts.append(first)
        self._firsts = np.array(firsts, dtype=np.int64)

    def take(self, rows: Int64[np.ndarray, " row"]) -> Float32[torch.Tensor, "row dim"]:
        """The vectors of `rows`, in their order.

        Raises:
            CorruptFileError: A file has become shorter since it was opened; or a number is NaN or infinite.
        """
        places = np.searchsorted(self._firsts, rows, side="right") - 1
        offsets = (rows - self._firsts[places]) * self._row_bytes
        handles, size = self._handles, self._row_bytes
        data = bytearray().join(
            [
                os.pread(handles[place], size, offset)
                for place, offset in zip(places.tolist(), offsets.tolist(), strict=True)
            ]
        )
        if len(data) != len(rows) * size:
            raise CorruptFileError(f"{self._paths[0]} or a file beside it has become shorter. {REBUILD}")
        vectors = torch.from_numpy(np.frombuffer(data, dtype=NUMBER).reshape(len(rows), self._dim)).float()
        is_number = np.isfinite(vectors.numpy())
        if not is_number.all():
            raise not_finite(Path(self._paths[places[~is_number.all(axis=1)][0]]))
        return vectors


def best(
    scores: Float32[np.ndarray, " row"], rows: Int64[np.ndarray, " row"], k: int
) -> tuple[Float32[np.ndarray, " best"], Int64[np.ndarray, " best"]]:
    """The best `k`, best first; of equal scores the lower row first."""
    if len(scores) > k:
        bar = np.partition(scores, len(scores) - k)[len(scores) - k]
        passing = scores >= bar
        scores, rows = scores[passing], rows[passing]
    order = np.lexsort((rows, -scores))[:k]
    return scores[order], rows[order]


def scan_from(
    store: VectorStore, first: int, queries: Float32[np.ndarray, "query dim"], k: int, wanted: Bool[np.ndarray, " row"]
) -> list[tuple[Float32[np.ndarray, " best"], Int64[np.ndarray, " best"]]]:
    """The best `k` of the wanted rows from `first` on, for each query."""
    group = Queries.of(queries)
    shortlists = [Shortlist(store, group, place, k) for place in range(len(queries))]
    for tile in scan_vectors(store, group, torch.device("cpu"), first) if first < store.rows else ():
        hidden = ~wanted[tile.first : tile.first + tile.products.shape[1]]
        tile.products.masked_fill_(torch.from_numpy(hidden), -torch.inf)
        for shortlist, error in zip(shortlists, tile.largest_errors, strict=True):
            shortlist.add(tile, float(error))
    return [shortlist.best() for shortlist in shortlists]
