"""The contract of every index, checked against brute force: here for the exact one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import realm.index.exact
from realm.errors import KnowledgeBaseError
from realm.index.exact import ExactIndex
from realm.index.protocol import Hits, Index
from realm.index.vectors import VectorStore, VectorWriter

# Products and sums of small whole numbers are exact, so equal scores are equal in every order of summing.
WHOLE = st.integers(-3, 3).map(float)


def make_store(folder: Path, vectors: np.ndarray, rows_per_segment: int = 1 << 20) -> VectorStore:
    with VectorWriter(folder, vectors.shape[1], rows_per_segment=rows_per_segment) as writer:
        writer.append(vectors)
        return VectorStore(folder, writer.publish(), vectors.shape[1])


def brute_force(
    vectors: np.ndarray, gone: set[int], queries: np.ndarray, k: int
) -> tuple[list[list[int]], list[list[float]]]:
    """Every score of every live row, sorted."""
    scores = queries.astype(np.float64) @ vectors.astype(np.float64).T
    live = [row for row in range(len(vectors)) if row not in gone]
    rows = [sorted(live, key=lambda row: (-line[row], row))[:k] for line in scores]
    return rows, [[line[row] for row in best] for best, line in zip(rows, scores, strict=True)]


@settings(max_examples=40)
@given(data=st.data())
def test_hits_are_those_of_brute_force(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    rows, dim, count = (data.draw(st.integers(low, high)) for low, high in ((0, 40), (1, 4), (0, 5)))
    vectors = data.draw(arrays(np.float32, (rows, dim), elements=WHOLE))
    queries = data.draw(arrays(np.float32, (count, dim), elements=WHOLE))
    gone = data.draw(st.sets(st.integers(0, max(rows - 1, 0))))
    k = data.draw(st.sampled_from([1, 2, 5, 5000]))
    store = make_store(tmp_path_factory.mktemp("vectors"), vectors, data.draw(st.sampled_from([3, 16, 100])))
    index: Index = ExactIndex(store, np.array(sorted(gone), dtype=np.int64))
    with pytest.MonkeyPatch.context() as patch:
        # A few rows at a time, as in a large store.
        patch.setattr(realm.index.exact, "_MIN_CHUNK_ROWS", data.draw(st.integers(1, 9)))
        patch.setattr(realm.index.exact, "_CHUNK_NUMBERS", 1)
        hits = index.search(queries, k)
    expected_rows, expected_scores = brute_force(vectors, gone, queries, k)
    assert hits.rows.shape == hits.scores.shape == (count, min(k, rows - len(gone & set(range(rows)))))
    assert hits.rows.tolist() == expected_rows
    assert hits.scores.tolist() == expected_scores
    assert (hits.rows.dtype, hits.scores.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("k", [1, 5, 100, 5000])
def test_hits_in_a_large_store_are_those_of_brute_force(tmp_path: Path, k: int) -> None:
    random = np.random.default_rng(k)
    vectors = random.standard_normal((60_000, 8)).astype(np.float16)
    queries = random.standard_normal((3, 8)).astype(np.float32)
    gone = random.choice(60_000, 6_000, replace=False)
    hits = ExactIndex(make_store(tmp_path, vectors, 25_000), gone).search(queries, k)
    scores = queries.astype(np.float64) @ vectors.astype(np.float64).T
    scores[:, gone] = -np.inf
    best = -np.sort(-scores, axis=1)[:, :k]
    np.testing.assert_allclose(hits.scores, best, rtol=1e-5)
    # Each row has the score it was returned with, so rows are right up to ties in float32.
    np.testing.assert_allclose(np.take_along_axis(scores, hits.rows, axis=1), best, rtol=1e-5)
    assert all(len(set(rows)) == k for rows in hits.rows.tolist())


@pytest.mark.parametrize("ascending", [True, False])
def test_order_of_scores_in_the_file_does_not_matter(tmp_path: Path, ascending: bool) -> None:
    # Ascending is the worst case of a streaming search: every row is better than all before it.
    numbers = np.arange(2000.0) if ascending else np.arange(2000.0)[::-1]
    vectors = numbers.reshape(-1, 1).astype(np.float32)
    hits = ExactIndex(make_store(tmp_path, vectors, 300)).search(np.array([[1.0], [-1.0]], np.float32), 700)
    assert hits.scores[0].tolist() == sorted(numbers, reverse=True)[:700]
    assert hits.scores[1].tolist() == sorted(-numbers, reverse=True)[:700]


def test_equal_scores_come_in_the_order_of_rows(tmp_path: Path) -> None:
    index = ExactIndex(make_store(tmp_path, np.ones((50_000, 2), np.float32), 9_000), np.array([0, 3]))
    hits = index.search(np.ones((2, 2), np.float32), 5)
    assert hits.rows.tolist() == [[1, 2, 4, 5, 6]] * 2


def test_batch_finds_what_each_query_finds_alone(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    index = ExactIndex(make_store(tmp_path, random.integers(-9, 9, (3000, 16)).astype(np.float32), 700))
    queries = random.integers(-9, 9, (20, 16)).astype(np.float32)
    together = index.search(queries, 9)
    for place, query in enumerate(queries):
        alone = index.search(query[None], 9)
        assert together.rows[place].tolist() == alone.rows[0].tolist()
        assert together.scores[place].tolist() == alone.scores[0].tolist()


def test_fewer_live_rows_than_asked_for_give_fewer_columns(tmp_path: Path) -> None:
    store = make_store(tmp_path, np.eye(4, dtype=np.float32))
    queries = np.ones((2, 4), np.float32)
    assert ExactIndex(store, np.array([2, 2, 9])).search(queries, 10).rows.tolist() == [[0, 1, 3]] * 2
    assert ExactIndex(store, np.arange(4)).search(queries, 10).rows.shape == (2, 0)
    assert ExactIndex(VectorStore(tmp_path, (), 4)).search(queries, 10).rows.shape == (2, 0)
    assert ExactIndex(store).search(queries[:0], 3).rows.shape == (0, 3)


def test_questions_that_cannot_be_answered_are_refused(tmp_path: Path) -> None:
    index = ExactIndex(make_store(tmp_path, np.eye(4, dtype=np.float32)))
    with pytest.raises(
        KnowledgeBaseError, match=r"vectors of 4 numbers: was the knowledge base made with another model"
    ):
        index.search(np.ones((1, 5), np.float32), 1)
    with pytest.raises(ValueError, match="k is 0"):
        index.search(np.ones((1, 4), np.float32), 0)
    for bad in (np.nan, np.inf, -np.inf, 1e37):
        with pytest.raises(ValueError, match="queries must be finite"):
            index.search(np.array([[0, 0, 0, bad]], np.float32), 1)


def test_searching_changes_no_vector_on_disk(tmp_path: Path) -> None:
    store = make_store(tmp_path, np.eye(4, dtype=np.float32))
    hits = ExactIndex(store, np.array([1])).search(np.ones((1, 4), np.float32), 4)
    store.verify()
    assert isinstance(hits, Hits)
