"""Blocks for questions from an open knowledge base: by their vectors, by their words (BM25), or by both.

    question ─ vector ─ index ──── best 100 ──┐
        └───── words ── BM25 ───── best 100 ──┴─ both scores of all of them ─ weighted mean ─ best k
    condition ─ documents ─ which rows may be returned at all ─► both searches

The two scores have no unit in common, so each is first brought to 0 ... 1 over a question's candidates: inner products
from the worst to the best (one candidate alone is the best), BM25 from none to the best. A candidate that is not among
the best by words counts as none there; one that was found by words alone gets its inner product computed. As long as
some blocks have no vectors, all are found by words alone, and the inner products of those are not known here. Weighted
means of scores found more answers than reciprocal ranks did (`benchmarks/hybrid_search.py`): ranks forget by how much a
block is the best.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from realm.corpus.conditions import Condition
from realm.corpus.lexical import WordHits
from realm.errors import UsageError
from realm.openqa.knowledge_base import KnowledgeBase
from realm.openqa.manifest import Manifest

CANDIDATES = 100
"""So many blocks of each kind, or `k` if that is more, are candidates of a hybrid search."""

HYBRID_WEIGHT = 0.5
"""Share of the words where a hybrid search is asked for and the knowledge base has no weight of its own."""

_CONDITIONS_KEPT = 4


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Blocks found for one question, best first; of equal scores the lower row first.

    Attributes:
        rows: Row numbers in block store and vector files.
        dense: Inner product of question and block; NaN where the block has no vector yet.
        lexical: BM25 of question and block; 0.0 where the block is not among the best by words, or these were not
            asked for.
        fused: What the order is by: the inner product where words have no weight; else the weighted mean, 0 to 1.
    """

    rows: NDArray[np.int64]
    dense: NDArray[np.float32]
    lexical: NDArray[np.float32]
    fused: NDArray[np.float32]

    def at(self, places: slice | NDArray[np.int64]) -> Found:
        """Some of them."""
        return Found(self.rows[places], self.dense[places], self.lexical[places], self.fused[places])

    def with_inner_products(self, question: NDArray[np.float32], vectors: Mapping[int, NDArray[np.float32]]) -> Found:
        """With those that were not known.

        Args:
            question: Its vector, (dim,).
            vectors: Of the rows whose inner product is NaN, (dim,) each.
        """
        pairs = zip(self.rows.tolist(), self.dense, strict=True)
        dense = [vectors[row] @ question if np.isnan(known) else known for row, known in pairs]
        return replace(self, dense=np.array(dense, dtype=np.float32))


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What a search gave.

    Attributes:
        found: For each question.
        note: Why nothing was found, for people; empty otherwise.
    """

    found: tuple[Found, ...]
    note: str = ""


class BlockSearch:
    """Searches one version of a knowledge base. Keeps what searches share: the rows of the last few conditions.

    Args:
        base: The version.
        hides_folders: Whether conditions see of a source path its last name alone.

    Raises:
        CorruptFileError: A file of vectors is damaged.
    """

    def __init__(self, base: KnowledgeBase, *, hides_folders: bool = False) -> None:
        base.check_vectors()
        self._base = base
        self._hides_folders = hides_folders
        self._rows_of: OrderedDict[str, NDArray[np.bool_]] = OrderedDict()

    def search(
        self,
        questions: Sequence[str],
        vectors: NDArray[np.float32],
        k: int,
        *,
        weight: float = 0.0,
        where: str | None = None,
        without: NDArray[np.int64] | None = None,
    ) -> Retrieval:
        """The best blocks of each question.

        Args:
            questions: As typed.
            vectors: One of each question, (questions, dim).
            k: How many blocks to find for each, at least 1. There are fewer where fewer are left by `where`, or share
                a word with the question at weight 1.
            weight: Share of the words in the order, 0 to 1: 0.0 is by vectors alone, 1.0 by words alone.
            where: A condition on documents, see `realm.corpus.conditions`; blocks of other documents are not found.
            without: Rows to search as if they were not there.

        Raises:
            UsageError: The condition cannot be used; or the weight is not between 0 and 1.
            KnowledgeBaseError: Words are asked for, and there is no full-text index; or vectors, and some blocks have
                none.
        """
        _require_share(weight)
        if not self._base.live_blocks:
            return _nothing(questions, "The knowledge base has no passages; add some with: realm index")
        allowed = None if where is None else self._allowed(where)
        if allowed is not None and not allowed.any():
            return _nothing(questions, f"No document has passages and fits the condition: {where}")
        if without is not None:
            allowed = self._all_but(without, allowed)
        if weight == 0.0:
            hits = self._base.index.search(vectors, k, allowed)
            pairs = zip(hits.rows, hits.scores, strict=True)
            return Retrieval(tuple(Found(rows, scores, np.zeros_like(scores), scores) for rows, scores in pairs))
        depth = k if weight == 1.0 else max(k, CANDIDATES)
        by_words = self._base.blocks.search(questions, depth, self._live(allowed))
        if weight == 1.0:
            return Retrieval(tuple(map(self._by_words, vectors, by_words)))
        dense = self._base.index.search(vectors, depth, allowed)
        fused = map(self._fused, vectors, dense.rows, dense.scores, by_words)
        return Retrieval(tuple(_best(found, weight, k) for found in fused))

    def _allowed(self, where: str) -> NDArray[np.bool_]:
        """Which rows a condition leaves. For it all documents are looked at, and people ask under the same few."""
        rows = self._rows_of.pop(where, None)
        if rows is None:
            condition = Condition(where, hides_folders=self._hides_folders)
            rows = condition.block_rows(self._base.documents, self._base.manifest.blocks)
            rows[self._base.tombstones] = False
        self._rows_of[where] = rows
        if len(self._rows_of) > _CONDITIONS_KEPT:
            self._rows_of.popitem(last=False)
        return rows

    def _all_but(self, rows: NDArray[np.int64], allowed: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
        left = self._live(allowed)
        left = np.ones(self._base.manifest.blocks, dtype=np.bool_) if left is None else left.copy()
        left[rows] = False
        return left

    def _live(self, allowed: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
        """The rows that may be found by words, which unlike vectors know no tombstones."""
        if allowed is not None or not len(self._base.tombstones):
            return allowed
        live = np.ones(self._base.manifest.blocks, dtype=np.bool_)
        live[self._base.tombstones] = False
        return live

    def _by_words(self, vector: NDArray[np.float32], hits: WordHits) -> Found:
        dense = np.full(len(hits.rows), np.nan, dtype=np.float32)
        known = hits.rows < self._base.manifest.embedded
        dense[known] = self._base.vectors.take(hits.rows[known]) @ vector
        fused = _share(hits.scores, 0.0, 0.0) if len(hits.rows) else hits.scores
        return Found(hits.rows, dense, hits.scores, fused)

    def _fused(
        self, vector: NDArray[np.float32], rows: NDArray[np.int64], scores: NDArray[np.float32], words: WordHits
    ) -> Found:
        """All candidates of a question with both scores, by row; not fused yet."""
        only_words = np.setdiff1d(words.rows, rows)
        union = np.concatenate([rows, only_words])
        dense = np.concatenate([scores, self._base.vectors.take(only_words) @ vector])
        order = np.argsort(union)
        union, dense = union[order], dense[order]
        lexical = np.zeros_like(dense)
        lexical[np.searchsorted(union, words.rows)] = words.scores
        return Found(union, dense, lexical, dense)


def _nothing(questions: Sequence[str], note: str) -> Retrieval:
    scores = np.empty(0, np.float32)
    return Retrieval((Found(np.empty(0, np.int64), scores, scores, scores),) * len(questions), note)


def fusion_weight(manifest: Manifest, *, hybrid: bool | None = None, weight: float | None = None) -> float:
    """The share of the words in a search.

    Args:
        manifest: Of the knowledge base, whose own weight holds where nothing else is said; and words alone, as long as
            some blocks have no vectors.
        hybrid: True asks for words and vectors, False for vectors alone.
        weight: Share of the words, 0 to 1.

    Raises:
        UsageError: The weight is not between 0 and 1, or given where vectors alone are asked for.
    """
    if weight is not None:
        _require_share(weight)
        if hybrid is False and weight:
            raise UsageError(
                f"A search by vectors alone gives words no weight; found {weight:g}. Leave one of them out."
            )
        return weight
    if hybrid is None:
        return manifest.hybrid_weight if manifest.is_embedded else 1.0
    return (manifest.hybrid_weight or HYBRID_WEIGHT) if hybrid else 0.0


def _best(found: Found, weight: float, k: int) -> Found:
    """The best `k` candidates by the weighted mean of both scores. `found` is in the order of its rows."""
    if not len(found.rows):
        return found
    dense, lexical = _share(found.dense, float(found.dense.min()), 1.0), _share(found.lexical, 0.0, 0.0)
    fused = ((1.0 - weight) * dense + weight * lexical).astype(np.float32)
    order = np.argsort(-fused, kind="stable")[:k]
    return Found(found.rows[order], found.dense[order], found.lexical[order], fused[order])


def _share(scores: NDArray[np.float32], least: float, if_equal: float) -> NDArray[np.float32]:
    """Scores as shares of the way from the least to the greatest; `if_equal` where these are the same."""
    width = float(scores.max()) - least
    return (scores - np.float32(least)) / np.float32(width) if width > 0 else np.full_like(scores, if_equal)


def _require_share(weight: float) -> None:
    if not 0.0 <= weight <= 1.0:
        raise UsageError(
            f"The weight of words is {weight:g}; it is a share between 0 (vectors alone) and 1 (words alone)."
        )
