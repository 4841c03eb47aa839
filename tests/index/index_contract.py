"""What every index promises, as tests: a class to inherit from, which says how to make an index.

    class TestMine(IndexContract):
        def make(self, store, gone, folder): return MyIndex(...)

An index that may miss rows (`finds_all = False`) is held to all but which rows it finds.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from realm.errors import KnowledgeBaseError
from realm.index.protocol import Hits, Index
from realm.index.vectors import VectorStore, VectorWriter

# Products and sums of small whole numbers are exact, so equal scores are equal in every order of summing.
WHOLE = st.integers(-3, 3).map(float)


def make_store(folder: Path, vectors: np.ndarray, rows_per_segment: int = 1 << 20) -> VectorStore:
    with VectorWriter(folder, vectors.shape[1], rows_per_segment=rows_per_segment) as writer:
        writer.append(vectors)
        return VectorStore(folder, writer.publish(), vectors.shape[1])


def brute_force(vectors: np.ndarray, live: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Every score of every live row, sorted; `score` adds up in float32 as `realm.index.scans` says it does."""
    rows = np.flatnonzero(live)
    scores = np.stack([reference_scores(vectors[rows], query) for query in queries]) if len(queries) else None
    if scores is None:
        scores = np.empty((0, len(rows)), np.float32)
    order = np.stack([np.lexsort((rows, -line)) for line in scores]) if len(queries) else np.empty((0, len(rows)), int)
    order = order[:, :k].astype(np.int64)
    return rows[order], np.take_along_axis(scores, order, axis=1)


def reference_scores(vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Halves of the row are added to each other, one after the other, by recursion."""
    terms = [
        column * number for column, number in zip(vectors.astype(np.float16).astype(np.float32).T, query, strict=True)
    ]
    while len(terms) > 1:
        half = len(terms) // 2
        folded = [terms[place] + terms[half + place] for place in range(half)]
        if len(terms) % 2:
            folded[0] = folded[0] + terms[-1]
        terms = folded
    return np.asarray(terms[0])


class IndexContract:
    """Inherit, and give `make`."""

    finds_all = True
    few_rows = (0, 40)
    large_rows = 20_000

    def make(self, store: VectorStore, gone: np.ndarray, folder: Path) -> Index:
        """An index over `store` without the rows `gone`; `folder` is the store's, and may be written to."""
        raise NotImplementedError

    def index_of(self, folder: Path, vectors: np.ndarray, gone: tuple[int, ...] = ()) -> Index:
        return self.make(make_store(folder, vectors), np.array(gone, dtype=np.int64), folder)

    def check(self, hits: Hits, vectors: np.ndarray, live: np.ndarray, queries: np.ndarray, k: int) -> None:
        columns = min(k, int(live.sum()))
        assert hits.rows.shape == hits.scores.shape == (len(queries), columns)
        assert (hits.rows.dtype, hits.scores.dtype) == (np.int64, np.float32)
        for query, rows, scores in zip(queries, hits.rows, hits.scores, strict=True):
            assert len(set(rows.tolist())) == columns
            assert live[rows].all()
            assert scores.tolist() == reference_scores(vectors[rows], query).tolist()
            assert (np.lexsort((rows, -scores)) == np.arange(columns)).all()
        if self.finds_all:
            rows, scores = brute_force(vectors, live, queries, k)
            assert hits.rows.tolist() == rows.tolist()
            assert hits.scores.tolist() == scores.tolist()

    def test_hits_are_those_of_brute_force(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        @settings(max_examples=40, deadline=None)
        @given(data=st.data())
        def run(data: st.DataObject) -> None:
            rows, dim, count = (data.draw(st.integers(low, high)) for low, high in (self.few_rows, (1, 4), (0, 5)))
            vectors = data.draw(arrays(np.float32, (rows, dim), elements=WHOLE))
            queries = data.draw(arrays(np.float32, (count, dim), elements=WHOLE))
            gone = data.draw(st.sets(st.integers(0, max(rows - 1, 0))))
            allowed = data.draw(st.none() | arrays(np.bool_, rows))
            k = data.draw(st.sampled_from([1, 2, 5, 5000]))
            folder = tmp_path_factory.mktemp("vectors")
            store = make_store(folder, vectors, data.draw(st.sampled_from([3, 16, 100])))
            hits = self.make(store, np.array(sorted(gone), dtype=np.int64), folder).search(queries, k, allowed)
            live = np.ones(rows, np.bool_) if allowed is None else allowed.copy()
            live[[row for row in gone if row < rows]] = False
            self.check(hits, vectors, live, queries, k)
            exact = queries.astype(np.float64) @ vectors.astype(np.float64).T
            assert hits.scores.tolist() == np.take_along_axis(exact, hits.rows, axis=1).tolist()

        run()

    @pytest.mark.parametrize("k", [1, 5, 5000])
    @pytest.mark.parametrize("count", [1, 7])
    def test_hits_in_a_large_store_are_those_of_brute_force(self, tmp_path: Path, k: int, count: int) -> None:
        random = np.random.default_rng(k)
        rows = self.large_rows
        centres = random.standard_normal((50, 32))
        vectors = (centres[random.integers(50, size=rows)] + random.standard_normal((rows, 32)) / 3).astype(np.float16)
        queries = random.standard_normal((count, 32)).astype(np.float32)
        gone = random.choice(rows, rows // 10, replace=False)
        index = self.make(make_store(tmp_path, vectors, rows - 500), gone, tmp_path)
        live = np.ones(rows, np.bool_)
        live[gone] = False
        self.check(index.search(queries, k), vectors, live, queries, k)
        for part in (0.5, 0.001):
            allowed = random.random(rows) < part
            self.check(index.search(queries, k, allowed), vectors, live & allowed, queries, k)
        self.check(index.search(queries, k, np.zeros(rows, np.bool_)), vectors, live & False, queries, k)

    @pytest.mark.parametrize("ascending", [True, False])
    def test_order_of_scores_in_the_file_does_not_matter(self, tmp_path: Path, ascending: bool) -> None:
        # Ascending is the worst case of a streaming search: every row is better than all before it.
        numbers = np.arange(2000.0) if ascending else np.arange(2000.0)[::-1]
        vectors = np.repeat(numbers.reshape(-1, 1), 2, axis=1).astype(np.float32)
        queries = np.array([[1.0, 0.0], [0.0, -1.0]], np.float32)
        hits = self.index_of(tmp_path, vectors).search(queries, 700)
        self.check(hits, vectors, np.ones(2000, np.bool_), queries, 700)

    def test_equal_scores_come_in_the_order_of_rows(self, tmp_path: Path) -> None:
        vectors, queries = np.ones((20_000, 4), np.float32), np.ones((2, 4), np.float32)
        hits = self.index_of(tmp_path, vectors, (0, 3)).search(queries, 5)
        live = np.ones(20_000, np.bool_)
        live[[0, 3]] = False
        self.check(hits, vectors, live, queries, 5)

    def test_zero_vectors_and_zero_queries_are_rows_and_queries_like_others(self, tmp_path: Path) -> None:
        vectors = np.zeros((300, 8), np.float32)
        vectors[100:200] = -np.arange(100)[:, None]
        queries = np.zeros((2, 8), np.float32)
        queries[1] = 1
        hits = self.index_of(tmp_path, vectors).search(queries, 250)
        self.check(hits, vectors, np.ones(300, np.bool_), queries, 250)

    @pytest.mark.parametrize("largest", [65504.0, 6e-8, 1e-5])
    @pytest.mark.parametrize("query_size", [1e30, 1.0, 1e-30, 1e-40])
    def test_huge_and_tiny_numbers_are_compared_like_others(
        self, tmp_path: Path, largest: float, query_size: float
    ) -> None:
        random = np.random.default_rng(3)
        vectors = (random.uniform(-largest, largest, (2000, 16))).astype(np.float16)
        queries = (random.standard_normal((3, 16)) * query_size).astype(np.float32)
        hits = self.index_of(tmp_path, vectors).search(queries, 9)
        self.check(hits, vectors, np.ones(2000, np.bool_), queries, 9)

    def test_rows_of_very_different_length_are_compared_like_others(self, tmp_path: Path) -> None:
        random = np.random.default_rng(4)
        sizes = 10.0 ** random.uniform(-4, 4, (20_000, 1))
        vectors = (random.standard_normal((20_000, 16)) * sizes).astype(np.float16)
        queries = random.standard_normal((3, 16)).astype(np.float32)
        hits = self.index_of(tmp_path, vectors).search(queries, 50)
        self.check(hits, vectors, np.ones(20_000, np.bool_), queries, 50)

    def test_duplicates_of_the_best_row_are_all_found(self, tmp_path: Path) -> None:
        random = np.random.default_rng(5)
        vectors = random.standard_normal((10_000, 16)).astype(np.float16)
        vectors[random.choice(10_000, 2_000, replace=False)] = 2
        queries = np.ones((1, 16), np.float32)
        hits = self.index_of(tmp_path, vectors).search(queries, 1500)
        self.check(hits, vectors, np.ones(10_000, np.bool_), queries, 1500)

    def test_batch_finds_what_each_query_finds_alone(self, tmp_path: Path) -> None:
        random = np.random.default_rng(1)
        index = self.index_of(tmp_path, random.standard_normal((3000, 16)))
        queries = random.standard_normal((150, 16)).astype(np.float32)
        together = index.search(queries, 9)
        for place in range(0, 150, 7):
            alone = index.search(queries[place : place + 1], 9)
            assert together.rows[place].tolist() == alone.rows[0].tolist()
            assert together.scores[place].tolist() == alone.scores[0].tolist()

    def test_fewer_live_rows_than_asked_for_give_fewer_columns(self, tmp_path: Path) -> None:
        store = make_store(tmp_path / "four", np.eye(4, dtype=np.float32))
        queries = np.ones((2, 4), np.float32)
        none = np.empty(0, np.int64)
        some = self.make(store, np.array([2]), tmp_path / "four")
        assert some.search(queries, 10).rows.tolist() == [[0, 1, 3]] * 2
        assert some.search(queries, 10, np.array([True, False, True, True])).rows.tolist() == [[0, 3]] * 2
        assert self.make(store, np.arange(4), tmp_path / "four").search(queries, 10).rows.shape == (2, 0)
        assert self.make(store, none, tmp_path / "four").search(queries[:0], 3).rows.shape == (0, 3)
        one = make_store(tmp_path / "one", np.ones((1, 4), np.float32))
        assert self.make(one, none, tmp_path / "one").search(queries, 5000).rows.tolist() == [[0], [0]]

    def test_empty_store_has_no_hits(self, tmp_path: Path) -> None:
        index = self.make(VectorStore(tmp_path, (), 4), np.empty(0, np.int64), tmp_path)
        assert index.search(np.ones((2, 4), np.float32), 10).rows.shape == (2, 0)

    def test_questions_that_cannot_be_answered_are_refused(self, tmp_path: Path) -> None:
        index = self.index_of(tmp_path, np.eye(4, dtype=np.float32))
        query = np.ones((1, 4), np.float32)
        with pytest.raises(
            KnowledgeBaseError, match=r"vectors of 4 numbers: was the knowledge base made with another model"
        ):
            index.search(np.ones((1, 5), np.float32), 1)
        with pytest.raises(ValueError, match="k is 0"):
            index.search(query, 0)
        for allowed in (np.ones(3, np.bool_), np.ones(5, np.bool_)):
            with pytest.raises(ValueError, match=r"expected \(4,\) of bool"):
                index.search(query, 1, allowed)
        for bad in (np.nan, np.inf, -np.inf, 1e37):
            with pytest.raises(ValueError, match="queries must be finite"):
                index.search(np.array([[0, 0, 0, bad]], np.float32), 1)

    def test_searching_changes_no_vector_and_no_mask(self, tmp_path: Path) -> None:
        store = make_store(tmp_path, np.eye(4, dtype=np.float32))
        allowed = np.array([True, True, True, False])
        self.make(store, np.array([1]), tmp_path).search(np.ones((1, 4), np.float32), 4, allowed)
        store.verify()
        assert allowed.tolist() == [True, True, True, False]
