"""Search in a FAISS file: the codes choose candidates, their own vectors give the scores.

    question ──> nearest lists ──codes──> candidates ──exact scores──┐
    rows newer than the file ──int8 codes──> few ──────exact scores──┴──> best k

So scores are those of the exact index, and only which rows are found is approximate. Where the lists would have to be
read far and wide, because a filter leaves few rows or `k` is large, the exact index answers. Knows vectors and rows
only. Read `search` first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64

from realm.errors import CorruptFileError, KnowledgeBaseError
from realm.index.code_scans import scan_codes
from realm.index.codes import CodeStore
from realm.index.exact import checked
from realm.index.faiss_entry import REBUILD_FAISS, FaissEntry
from realm.index.faiss_file import faiss_library, read_faiss, threads_of_torch
from realm.index.faiss_rows import RowReader, best, scan_from
from realm.index.protocol import Hits, Index
from realm.index.scans import Queries, score
from realm.index.shortlist import Shortlist
from realm.index.vectors import VectorStore

# The share of rows beyond which the exact index is not slower.
_MOST_CANDIDATES = 0.5
_CANDIDATES_AT_ONCE = 1 << 20
_QUERIES_AT_ONCE = 256
# If codes leave more than this part of a large tile of newer rows, these are scanned by vectors.
_USELESS = 0.25
_MIN_USELESS_ROWS = 1 << 12


class _Wanted:
    """Rows that may be returned.

    Attributes:
        mask: Over all rows.
        rows: How many they are.
        covered: How many of them are in the file.
        selector: What FAISS may return; None if that is all it has.
    """

    def __init__(self, mask: Bool[np.ndarray, " row"], entry: FaissEntry) -> None:
        in_file = mask[: entry.rows]
        self.mask = mask
        self.covered = int(np.count_nonzero(in_file))
        self.rows = self.covered + int(np.count_nonzero(mask[entry.rows :]))
        self.selector: Any = None
        if self.covered != entry.vectors:
            self.selector = faiss_library().IDSelectorBitmap(np.packbits(in_file, bitorder="little"))


class FaissIndex:
    """Finds nearly all of the best rows, in a small part of the time of exact search."""

    def __init__(
        self,
        folder: Path,
        entry: FaissEntry,
        store: VectorStore,
        exact: Index,
        *,
        codes: CodeStore | None = None,
        tombstones: Int64[np.ndarray, " row"] | None = None,
        verify: bool = True,
    ) -> None:
        """Read the file into memory.

        Args:
            folder: Where the file is.
            entry: What the manifest says of it.
            store: The vectors it was made from, perhaps with newer rows.
            exact: Exact search over the same vectors and tombstones, for what FAISS is not good at.
            codes: Codes of the same vectors; make searching newer rows several times as fast.
            tombstones: Rows that are gone, in the file or not.
            verify: See `read_faiss`.

        Raises:
            CorruptFileError: The file is missing, is not what the manifest names, or covers rows that do not
                exist.
            KnowledgeBaseError: The vectors have another dimension.
        """
        if entry.dim != store.dim:
            raise KnowledgeBaseError(
                f"{folder / entry.name}: made from vectors of {entry.dim} numbers, where there are {store.dim}: "
                f"another model made them. {REBUILD_FAISS}"
            )
        if entry.rows > store.rows:
            raise CorruptFileError(
                f"{folder / entry.name}: covers {entry.rows:,} rows, where there are {store.rows:,}. {REBUILD_FAISS}"
            )
        self.entry = entry
        self._store = store
        self._exact = exact
        self._codes = codes
        self._reader = RowReader(store)
        live = np.ones(store.rows, dtype=np.bool_)
        if tombstones is not None:
            live[tombstones[(tombstones >= 0) & (tombstones < store.rows)]] = False
        self._live = _Wanted(live, entry)
        self._index = read_faiss(folder, entry, verify=verify)

    def search(
        self, queries: Float32[np.ndarray, "query dim"], k: int, allowed: Bool[np.ndarray, " row"] | None = None
    ) -> Hits:
        """See `Index.search`.

        Raises:
            KnowledgeBaseError: See `ExactIndex.search`, as for ValueError.
            ValueError: The same.
            CorruptFileError: A file of vectors has become shorter.
        """
        queries = checked(queries, k, self._store, allowed)
        entry = self.entry
        wanted = self._live if allowed is None else _Wanted(self._live.mask & allowed, entry)
        nprobe, candidates = entry.plan(k, max(wanted.covered, 1) / entry.vectors)
        if nprobe > entry.nlist or candidates > _MOST_CANDIDATES * wanted.covered:
            return self._exact.search(queries, k, allowed)
        columns = min(k, wanted.rows)
        # A filter may hide just the rows near a question; then fewer candidates come back than were asked for.
        least = min(k, wanted.covered) if allowed is None else candidates
        scores = np.empty((len(queries), columns), dtype=np.float32)
        rows = np.empty((len(queries), columns), dtype=np.int64)
        at_once = max(1, min(_QUERIES_AT_ONCE, _CANDIDATES_AT_ONCE // candidates))
        for start in range(0, len(queries), at_once):
            places = np.arange(start, min(start + at_once, len(queries)))
            found = self._candidates(queries[places], nprobe, candidates, wanted)
            is_enough = (found >= 0).sum(axis=1) >= least
            if not is_enough.all():
                few = places[~is_enough]
                hits = self._exact.search(queries[few], k, allowed)
                scores[few], rows[few] = hits.scores, hits.rows
            enough = places[is_enough]
            scores[enough], rows[enough] = self._best(queries[enough], found[is_enough], columns, wanted)
        return Hits(scores, rows)

    def _candidates(
        self,
        queries: Float32[np.ndarray, "query dim"],
        nprobe: int,
        candidates: int,
        wanted: _Wanted,
    ) -> Int64[np.ndarray, "query candidate"]:
        """The rows whose codes promise the best scores; -1 where the lists hold no more."""
        parameters = faiss_library().SearchParametersIVF(nprobe=nprobe, sel=wanted.selector)
        with threads_of_torch():
            # Order of size 1: tables of very large or small numbers would be rounded to nothing.
            _, found = self._index.search(Queries.of(queries).scaled, candidates, params=parameters)
        return np.asarray(found, dtype=np.int64)

    def _best(
        self,
        queries: Float32[np.ndarray, "query dim"],
        candidates: Int64[np.ndarray, "query candidate"],
        columns: int,
        wanted: _Wanted,
    ) -> tuple[Float32[np.ndarray, "query k"], Int64[np.ndarray, "query k"]]:
        """The best of the candidates and of the rows that are newer than the file."""
        newer = self._best_newer(queries, columns, wanted)
        scores = np.empty((len(queries), columns), dtype=np.float32)
        rows = np.empty((len(queries), columns), dtype=np.int64)
        for place, (query, (newer_scores, newer_rows)) in enumerate(zip(queries, newer, strict=True)):
            chosen = np.sort(candidates[place][candidates[place] >= 0])
            all_scores = np.concatenate([score(self._reader.take(chosen), query), newer_scores])
            scores[place], rows[place] = best(all_scores, np.concatenate([chosen, newer_rows]), columns)
        return scores, rows

    def _best_newer(
        self, queries: Float32[np.ndarray, "query dim"], columns: int, wanted: _Wanted
    ) -> list[tuple[Float32[np.ndarray, " best"], Int64[np.ndarray, " best"]]]:
        """Exactly the best of the rows that are newer than the file, for each query."""
        first = self.entry.rows
        if self._codes is None or first == self._store.rows:
            return scan_from(self._store, first, queries, columns, wanted.mask)
        group = Queries.of(queries)
        shortlists = [Shortlist(self._store, group, place, columns) for place in range(len(queries))]
        for tile in scan_codes(self._codes, group, first):
            rows = tile.products.shape[1]
            hidden = ~wanted.mask[tile.first : tile.first + rows]
            tile.products.masked_fill_(torch.from_numpy(hidden), -torch.inf)
            errors = tile.largest_errors.tolist()
            left = sum(shortlist.add(tile, error) for shortlist, error in zip(shortlists, errors, strict=True))
            if left > _USELESS * tile.products.numel() and rows > _MIN_USELESS_ROWS:
                return scan_from(self._store, first, queries, columns, wanted.mask)
        return [shortlist.best() for shortlist in shortlists]
