"""Search over a snapshot finds the best rows, in one order, whichever way it goes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from realm.errors import KnowledgeBaseError
from realm.index.codes import CodeStore, CodeWriter
from realm.index.vectors import VectorStore, VectorWriter
from realm.training.corpus_vectors import CorpusVectors, Parents
from realm.training.snapshot_search import SnapshotIndex, Tiles, search_tiles

CPU = torch.device("cpu")


def stored(folder: Path, vectors: NDArray[np.float32], rows_per_segment: int = 1 << 20) -> CorpusVectors:
    """Vectors as a snapshot has them."""
    dim = vectors.shape[1]
    with (
        VectorWriter(folder, dim, rows_per_segment=rows_per_segment) as writer,
        CodeWriter(folder, dim, rows_per_segment=rows_per_segment) as coded,
    ):
        writer.append(vectors)
        coded.append(vectors)
        segments, codes = writer.publish(), coded.publish()
    return CorpusVectors(
        folder, Parents("", "", "", 0), VectorStore(folder, segments, dim), CodeStore(folder, codes, dim)
    )


def brute_force(vectors: NDArray[np.float32], queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Rows in the order of scores, ties by row. Numbers are small integers, so that every sum is exact."""
    scores = queries.astype(np.float64) @ vectors.astype(np.float64).T
    return np.stack([np.lexsort((np.arange(len(vectors)), -row))[:k] for row in scores])


def integers(shape: tuple[int, ...], seed: int, spread: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).integers(-spread, spread + 1, shape).astype(np.float32)


@settings(max_examples=40)
@given(
    rows=st.integers(1, 300), queries=st.integers(1, 5), k=st.integers(1, 320), spread=st.sampled_from([0, 1, 2, 30]),
    at_once=st.sampled_from([1, 64, 500, 1 << 20]), resident=st.sampled_from([0, 100, 200, 1 << 20]),
    rows_per_segment=st.sampled_from([40, 128, 1000]), seed=st.integers(0, 9),
)  # fmt: skip
def test_tiles_give_what_brute_force_gives_ties_included(
    rows: int, queries: int, k: int, spread: int, at_once: int, resident: int, rows_per_segment: int, seed: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    vectors, asked = integers((rows, 3), seed, spread), integers((queries, 3), seed + 100, spread)
    store = stored(tmp_path_factory.mktemp("v"), vectors, rows_per_segment).vectors
    tiles = Tiles(store, CPU, resident * 6)
    scores, found = search_tiles(tiles, torch.from_numpy(asked), k, at_once)
    expected = brute_force(vectors, asked, k)
    assert found.tolist() == expected.tolist()
    exact = np.take_along_axis(asked @ vectors.T, expected, 1)
    assert scores.tolist() == exact.tolist()


@pytest.mark.parametrize("k", [1, 8, 5000])
def test_the_index_on_a_processor_and_tiles_agree(tmp_path: Path, k: int) -> None:
    vectors, asked = integers((6000, 16), 1, 9), integers((3, 16), 2, 9)
    corpus = stored(tmp_path, vectors)
    expected = brute_force(vectors, asked, k)
    scores, rows = SnapshotIndex(corpus, CPU).search(torch.from_numpy(asked), k)
    assert rows.tolist() == expected.tolist()
    tiled_scores, tiled = search_tiles(Tiles(corpus.vectors, CPU, 0), torch.from_numpy(asked), k, 1 << 14)
    assert tiled.tolist() == expected.tolist()
    assert scores.tolist() == tiled_scores.tolist()


def test_search_inside_autocast_and_gradients_is_in_full_precision(tmp_path: Path) -> None:
    vectors = np.random.default_rng(5).normal(size=(2000, 32)).astype(np.float16).astype(np.float32)
    asked = torch.randn(4, 32, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores, rows = search_tiles(Tiles(stored(tmp_path, vectors).vectors, CPU, 0), asked, 20)
    exact = asked.detach().double() @ torch.from_numpy(vectors).double().T
    expected = exact.topk(20)
    assert rows.tolist() == expected.indices.tolist()
    torch.testing.assert_close(scores.double(), expected.values, rtol=1e-5, atol=1e-5)


def test_no_query_gives_no_row(tmp_path: Path) -> None:
    tiles = Tiles(stored(tmp_path, integers((5, 3), 0, 2)).vectors, CPU, 0)
    scores, rows = search_tiles(tiles, torch.empty(0, 3), 2)
    assert scores.shape == rows.shape == (0, 2)


def test_queries_of_another_model_are_refused(tmp_path: Path) -> None:
    index = SnapshotIndex(stored(tmp_path, integers((5, 3), 0, 2)), CPU)
    with pytest.raises(KnowledgeBaseError, match="another model"):
        index.search(torch.zeros(1, 4), 2)
    with pytest.raises(ValueError, match="at least one"):
        index.search(torch.zeros(1, 3), 0)
    with pytest.raises(ValueError, match="finite"):
        index.search(torch.full((1, 3), torch.nan), 1)
