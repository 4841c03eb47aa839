"""Blocks found by their words: BM25 over titles and texts, with the inverted index that Lance keeps beside
`blocks.lance`.

    rows ──append──> found, but each question reads them anew ──complete──> found through the index

    question ──┬─ BM25 of the text ── best 400 (or 4 k) ──┐
               └─ BM25 of the title ─ best 100 (or k) ────┴─ BM25F of these ── best k

Scores take title and text of a block as one text (BM25F), with word statistics over all rows, those of blocks that are
gone included. Lance computes them for every block that has one of the words, which is slow in large stores; hence only
the best by title or by text alone are scored. Words are lower-cased, without accents, stemmed as English; stop words do
not count. A question is text and nothing else: signs, and words such as AND, mean nothing. Knows rows, not why some of
them may not be returned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realm.corpus.block_store import BlockStore
from realm.corpus.lance_table import ROWS_PER_FILE, ROWS_PER_MERGE
from realm.errors import KnowledgeBaseError

_COLUMNS = ("title", "text")
_ANALYSIS: dict[str, Any] = {
    "base_tokenizer": "simple",
    "language": "English",
    "lower_case": True,
    "stem": True,
    "remove_stop_words": True,
    "ascii_folding": True,
    "with_position": False,
}
_MAX_PARTS = 16
_TIMES_BY_TEXT = 4
_LEAST_BY_TEXT = 400
_LEAST_BY_TITLE = 100
BUILD_MEGABYTES = 1024
_LEAST_MEGABYTES = 64
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True, slots=True, eq=False)
class WordHits:
    """The blocks that share words with a question, best first; of equal scores the lower row first.

    Attributes:
        scores: BM25, above 0.
        rows: Row numbers in the block store.
    """

    scores: NDArray[np.float32]
    rows: NDArray[np.int64]


_NOTHING = WordHits(np.empty(0, np.float32), np.empty(0, np.int64))


class LexicalIndex(BlockStore):
    """A block store that can be searched by words."""

    def complete(self, *, as_one: bool = False, max_megabytes: int = BUILD_MEGABYTES) -> None:
        """Bring all rows into the index, as a new version unless they are there.

        New rows become a part of their own, so that the work is that of the new rows; when there are too many parts,
        which makes searching slower, they become one.

        Args:
            as_one: Make one of all parts, as files can only be merged where the same parts of the index know them.
            max_megabytes: Memory for making the index, where it is made from nothing; there must be some for it to be
                made at all.

        Raises:
            KnowledgeBaseError: It cannot be written.
        """
        rows = len(self)
        if not rows:
            return
        self._make_newest()
        with self._writing():
            for column in _COLUMNS:
                part = self._description(column)
                if part is None:
                    self._dataset.create_scalar_index(
                        column,
                        "INVERTED",
                        name=_name(column),
                        memory_limit=max(max_megabytes, _LEAST_MEGABYTES),
                        **_ANALYSIS,
                    )
                elif part.num_rows_indexed < rows or (as_one and len(part.segments) > 1):
                    merged = len(part.segments) + 1 if as_one or len(part.segments) >= _MAX_PARTS else 0
                    self._dataset.optimize.optimize_indices(index_names=[_name(column)], num_indices_to_merge=merged)

    def merge_files(self, *, rows_per_file: int = ROWS_PER_FILE) -> None:
        """Merge the last files, as far as the index allows. Rows keep their order; older versions stay readable.

        Lance merges neighbours, and puts what it has merged behind all other files. So where a file stays as it is,
        those before it must, too, or rows would change places.
        """
        from lance.optimize import Compaction

        self._make_newest()
        options: Any = {"target_rows_per_fragment": rows_per_file, "batch_size": _ROWS_AT_ONCE, "num_threads": 1}
        with self._writing():
            tasks: list[Any] = []
            left = [fragment.fragment_id for fragment in self._dataset.get_fragments()]
            for task in reversed(Compaction.plan(self._dataset, options=options).tasks):
                merged = [fragment.id for fragment in task.fragments]
                if left[-len(merged) :] != merged:
                    break
                del left[-len(merged) :]
                tasks.insert(0, task)
            if tasks:
                Compaction.commit(self._dataset, [task.execute(self._dataset) for task in tasks])
                self._dataset.checkout_latest()

    def _files_to_merge(self) -> int:
        """How many small files stand last and are known to the same parts of the index."""
        with self._reading():
            found = [self._description(column) for column in _COLUMNS]
            parts = [part.fragment_ids for index in found if index is not None for part in index.segments]
            fragments = self._dataset.get_fragments()[::-1]
        small = takewhile(lambda fragment: fragment.physical_rows < ROWS_PER_MERGE, fragments)
        known = [[fragment.fragment_id in part for part in parts] for fragment in small]
        return sum(1 for _ in takewhile(lambda one: one == known[0], known))

    @property
    def unindexed_rows(self) -> int:
        """Rows that are not in the index; they are found, but in far more time (about 0.3 ms a row)."""
        with self._reading():
            found = [self._description(column) for column in _COLUMNS]
        return len(self) - min(0 if part is None else int(part.num_rows_indexed) for part in found)

    def search(self, questions: Sequence[str], k: int, allowed: NDArray[np.bool_] | None = None) -> list[WordHits]:
        """The best blocks of each question.

        Args:
            questions: Any texts. One without a word that counts finds nothing.
            k: How many blocks to find for each, at least 1; fewer where fewer share a word with the question.
            allowed: Which of all rows may be returned; all unless given.

        Raises:
            KnowledgeBaseError: There is no index.
            CorruptFileError: Its files are damaged.
            ValueError: `k` is below 1, or `allowed` is not one flag for each row.
        """
        if k < 1:
            raise ValueError(f"k is {k}; at least one block must be asked for")
        if allowed is not None and (allowed.dtype != np.bool_ or allowed.shape != (len(self),)):
            raise ValueError(f"allowed has shape {allowed.shape}; expected one flag for each of {len(self):,} rows")
        if len(self) and any(self._description(column) is None for column in _COLUMNS):
            raise KnowledgeBaseError(
                f"{self.path} has no full-text index, so it cannot be searched by words. "
                "Make one with: realm index SOURCE... --kb KB"
            )
        if not len(self) or (allowed is not None and not allowed.any()):
            return [_NOTHING] * len(questions)
        with self._reading():
            addresses = _Addresses(self._dataset)
        limits = {} if allowed is None else _limits(allowed, addresses)
        return [self._search(question, k, limits, addresses) for question in questions]

    def _search(self, question: str, k: int, limits: dict[str, bytes], addresses: _Addresses) -> WordHits:
        from lance.dataset import serialize_row_addrs
        from lance.query import CombinedFieldsQuery, MatchQuery

        # Half of a surrogate pair is no text; Lance would not take it.
        words = question.encode("utf-8", "replace").decode("utf-8")
        by_text, _ = self._query(MatchQuery(words, "text"), max(_LEAST_BY_TEXT, _TIMES_BY_TEXT * k), limits)
        by_title, _ = self._query(MatchQuery(words, "title"), max(_LEAST_BY_TITLE, k), limits)
        candidates = np.union1d(by_text, by_title)
        if not len(candidates):
            return _NOTHING
        chosen = {"row_addr_allowlist": serialize_row_addrs(candidates.tolist())}
        found, scores = self._query(CombinedFieldsQuery(words, list(_COLUMNS)), k, chosen)
        rows = addresses.rows(found)
        order = np.lexsort((rows, -scores))
        return WordHits(scores[order], rows[order])

    def _query(self, query: Any, k: int, limits: dict[str, bytes]) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
        """Addresses and scores of the best rows for one of Lance's queries, among the rows of `limits`."""
        with self._reading():
            found = self._dataset.scanner(
                columns=["_score"], with_row_id=True, full_text_query=query, limit=k, **limits
            ).to_table()
        return found["_rowid"].to_numpy().astype(np.uint64), found["_score"].to_numpy().astype(np.float32)

    def _description(self, column: str) -> Any:
        """What Lance knows of the index over a column; None if there is none."""
        found = (part for part in self._dataset.describe_indices() if part.name == _name(column))
        return next(found, None)


class _Addresses:
    """Lance names a row by the number of its file and its place there. Blocks are never deleted from a file, so rows
    are counted through the files in their order.
    """

    def __init__(self, dataset: Any) -> None:
        files = [(fragment.fragment_id, fragment.physical_rows) for fragment in dataset.get_fragments()]
        self._first_rows = np.cumsum([0, *(rows for _, rows in files)], dtype=np.int64)[:-1]
        self._first_addresses = np.array([number for number, _ in files], dtype=np.uint64) << np.uint64(32)
        self._by_address = np.argsort(self._first_addresses)

    def of(self, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
        files = np.searchsorted(self._first_rows, rows, side="right") - 1
        return self._first_addresses[files] + (rows - self._first_rows[files]).astype(np.uint64)

    def rows(self, addresses: NDArray[np.uint64]) -> NDArray[np.int64]:
        ordered = self._first_addresses[self._by_address]
        files = self._by_address[np.searchsorted(ordered, addresses, side="right") - 1]
        return self._first_rows[files] + (addresses - self._first_addresses[files]).astype(np.int64)


def _limits(allowed: NDArray[np.bool_], addresses: _Addresses) -> dict[str, bytes]:
    """The rows that may be returned, or those that may not, whichever are fewer, in Lance's encoding."""
    from lance.dataset import serialize_row_addrs

    count = int(allowed.sum())
    if count == len(allowed):
        return {}
    name, chosen = ("allowlist", allowed) if count <= len(allowed) // 2 else ("blocklist", ~allowed)
    return {f"row_addr_{name}": serialize_row_addrs(addresses.of(np.flatnonzero(chosen)).tolist())}


def _name(column: str) -> str:
    return f"{column}_words"
