"""FAISS keeps the contract of every index, and finds nearly all that brute force finds."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
import pytest
import torch
from index_contract import IndexContract, make_store

import realm.index.faiss_build
import realm.index.faiss_index
import realm.index.faiss_probe
from realm.errors import CorruptFileError, KnowledgeBaseError
from realm.index.codes import CodeStore, CodeWriter
from realm.index.exact import ExactIndex
from realm.index.faiss_build import build_faiss
from realm.index.faiss_entry import FaissEntry
from realm.index.faiss_index import FaissIndex
from realm.index.faiss_rows import scan_from
from realm.index.protocol import Hits, Index
from realm.index.vectors import VectorStore, VectorWriter

ROWS, DIM = 6000, 16
LEAST_TO_TRAIN = 16


class OnlyUnasked:
    """In the place of the exact index, where it must not be needed."""

    def search(self, queries: np.ndarray, k: int, allowed: np.ndarray | None = None) -> Hits:
        raise AssertionError("the exact index was asked")


def clustered(rows: int, seed: int = 0) -> np.ndarray:
    """Around 100 centres, in half precision."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((100, DIM))
    return (centres[random.integers(100, size=rows)] + random.standard_normal((rows, DIM)) / 2).astype(np.float16)


def questions(count: int) -> np.ndarray:
    return clustered(count, seed=7).astype(np.float32)


def best_rows(vectors: np.ndarray, live: np.ndarray, queries: np.ndarray, k: int) -> list[set[int]]:
    """Of every live row, by all inner products."""
    scores = np.where(live, queries.astype(np.float64) @ vectors.astype(np.float64).T, -np.inf)
    return [set(np.argsort(-line)[:k].tolist()) for line in scores]


def recall(hits: Hits, expected: list[set[int]]) -> float:
    return float(
        np.mean([len(set(line) & best) / len(best) for line, best in zip(hits.rows.tolist(), expected, strict=True)])
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faiss")


@pytest.fixture(scope="module")
def store(folder: Path) -> VectorStore:
    return make_store(folder, clustered(ROWS), 2500)


@pytest.fixture(scope="module")
def entry(store: VectorStore, folder: Path) -> FaissEntry:
    return build_faiss(store, folder, ExactIndex(store))


class TestFaissIndex(IndexContract):
    finds_all = False
    few_rows = (200, 300)

    def make(self, store: VectorStore, gone: np.ndarray, folder: Path) -> Index:
        exact = ExactIndex(store, gone)
        if store.rows - len(np.unique(gone[gone < store.rows])) < LEAST_TO_TRAIN:
            return exact
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(realm.index.faiss_build, "MIN_VECTORS", LEAST_TO_TRAIN)
            # Measuring well would take most of the time.
            patch.setattr(realm.index.faiss_probe, "PROBE_QUERIES", 4)
            patch.setattr(realm.index.faiss_probe, "PROBE_KS", (5, 700))
            # A low target makes narrow searches: wide ones are left to the exact index.
            entry = build_faiss(store, folder, exact, tombstones=gone, target=0.1)
        return FaissIndex(folder, entry, store, exact, tombstones=gone)

    def test_hits_are_those_of_brute_force(
        self, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = []
        search = FaissIndex._candidates
        monkeypatch.setattr(FaissIndex, "_candidates", lambda *args: asked.append(args) or search(*args))
        super().test_hits_are_those_of_brute_force(tmp_path_factory)
        assert len(asked) >= 5


@pytest.mark.parametrize("k", [1, 5, 60])
def test_nearly_all_of_the_best_rows_are_found_without_the_exact_index(
    store: VectorStore, folder: Path, entry: FaissEntry, k: int
) -> None:
    index = FaissIndex(folder, entry, store, OnlyUnasked())
    expected = best_rows(clustered(ROWS), np.ones(ROWS, np.bool_), questions(300), k)
    assert recall(index.search(questions(300), k), expected) >= 0.94
    assert entry.recall_at(k) >= entry.target == 0.95


def test_tombstones_made_after_the_build_are_not_found_and_their_neighbours_are(
    store: VectorStore, folder: Path, entry: FaissEntry
) -> None:
    live = np.random.default_rng(2).random(ROWS) < 0.7
    index = FaissIndex(folder, entry, store, OnlyUnasked(), tombstones=np.flatnonzero(~live))
    hits = index.search(questions(200), 5)
    assert live[hits.rows].all()
    assert recall(hits, best_rows(clustered(ROWS), live, questions(200), 5)) >= 0.94


def test_filtered_search_finds_nearly_all_of_the_best_allowed_rows(
    store: VectorStore, folder: Path, entry: FaissEntry
) -> None:
    index = FaissIndex(folder, entry, store, ExactIndex(store))
    for share in (0.6, 0.2, 0.03):
        allowed = np.random.default_rng(3).random(ROWS) < share
        hits = index.search(questions(100), 5, allowed)
        assert recall(hits, best_rows(clustered(ROWS), allowed, questions(100), 5)) >= 0.94


def test_filter_that_hides_the_rows_near_a_question_is_answered_exactly(
    store: VectorStore, folder: Path, entry: FaissEntry
) -> None:
    query = questions(1)
    allowed = np.ones(ROWS, np.bool_)
    allowed[np.argsort(-(clustered(ROWS).astype(np.float32) @ query[0]))[:3000]] = False
    hits = FaissIndex(folder, entry, store, ExactIndex(store)).search(query, 5, allowed)
    assert recall(hits, best_rows(clustered(ROWS), allowed, query, 5)) == 1


def test_newer_rows_are_found_among_older_ones(tmp_path: Path) -> None:
    vectors = clustered(ROWS)
    with VectorWriter(tmp_path, DIM) as writer:
        writer.append(vectors[:4000])
        older = VectorStore(tmp_path, writer.publish(), DIM)
        entry = build_faiss(older, tmp_path, ExactIndex(older))
        writer.append(vectors[4000:])
        store = VectorStore(tmp_path, writer.publish(), DIM)
    assert entry.rows == 4000
    gone = np.array([5, 4001])
    index = FaissIndex(tmp_path, entry, store, ExactIndex(store, gone), tombstones=gone)
    live = np.ones(ROWS, np.bool_)
    live[gone] = False
    for allowed in (None, np.arange(ROWS) % 3 > 0):
        wanted = live if allowed is None else live & allowed
        hits = index.search(questions(200), 5, allowed)
        assert wanted[hits.rows].all()
        expected = best_rows(vectors, wanted, questions(200), 5)
        assert recall(hits, expected) >= 0.94
        newer = [{row for row in best if row >= 4000} for best in expected]
        assert all(best <= set(line) for best, line in zip(newer, hits.rows.tolist(), strict=True))


@pytest.mark.parametrize("count", [1, 3, 20])
@pytest.mark.parametrize("share", [None, 0.5, 0.0])
def test_newer_rows_are_found_by_codes_as_by_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, share: float | None
) -> None:
    vectors = clustered(ROWS)
    vectors[5990:] = vectors[4000]  # of equal scores the lower row comes first
    store, codes, entry = grown(tmp_path, vectors)
    gone = np.arange(4001, ROWS, 7)
    exact = ExactIndex(store, gone, codes)
    by_vectors = FaissIndex(tmp_path, entry, store, exact, tombstones=gone)
    allowed = None if share is None else (np.arange(ROWS) < 4000) | (np.random.default_rng(1).random(ROWS) < share)
    queries = np.concatenate([vectors[4000:4001].astype(np.float32), questions(count)])[:count]
    expected = by_vectors.search(queries, 20, allowed)
    monkeypatch.setattr(realm.index.faiss_index, "scan_from", lambda *_: pytest.fail("vectors were scanned"))
    found = FaissIndex(tmp_path, entry, store, exact, codes=codes, tombstones=gone).search(queries, 20, allowed)
    assert found.rows.tolist() == expected.rows.tolist()
    assert found.scores.tolist() == expected.scores.tolist()


def test_newer_rows_that_codes_do_not_tell_apart_are_scanned_by_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = clustered(ROWS)
    vectors[4000:] = vectors[4000] * np.float16(1.001)
    vectors[4500] = vectors[4000] * np.float16(1.002)
    store, codes, entry = grown(tmp_path, vectors)
    index = FaissIndex(tmp_path, entry, store, ExactIndex(store), codes=codes)
    expected = FaissIndex(tmp_path, entry, store, ExactIndex(store)).search(questions(9), 5)
    scans = []
    monkeypatch.setattr(realm.index.faiss_index, "_MIN_USELESS_ROWS", 100)
    monkeypatch.setattr(realm.index.faiss_index, "scan_from", lambda *args: scans.append(1) or scan_from(*args))
    found = index.search(questions(9), 5)
    assert scans
    assert found.rows.tolist() == expected.rows.tolist()
    assert found.scores.tolist() == expected.scores.tolist()


def grown(folder: Path, vectors: np.ndarray) -> tuple[VectorStore, CodeStore, FaissEntry]:
    """Vectors and their codes, and a FAISS file of the first 4000."""
    with VectorWriter(folder, DIM) as writer, CodeWriter(folder, DIM) as codes:
        writer.append(vectors[:4000])
        older = VectorStore(folder, writer.publish(), DIM)
        entry = build_faiss(older, folder, ExactIndex(older))
        writer.append(vectors[4000:])
        codes.append(vectors)
        return VectorStore(folder, writer.publish(), DIM), CodeStore(folder, codes.publish(), DIM), entry


def test_many_questions_are_answered_in_parts_as_in_one(
    store: VectorStore, folder: Path, entry: FaissEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = FaissIndex(folder, entry, store, OnlyUnasked())
    together = index.search(questions(19), 5)
    monkeypatch.setattr(realm.index.faiss_index, "_CANDIDATES_AT_ONCE", 200)
    in_parts = index.search(questions(19), 5)
    assert in_parts.rows.tolist() == together.rows.tolist()
    assert in_parts.scores.tolist() == together.scores.tolist()


def test_threads_of_faiss_are_as_before_the_search(store: VectorStore, folder: Path, entry: FaissEntry) -> None:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(3)
    of_torch = torch.get_num_threads()  # FAISS and torch may share one OpenMP library
    try:
        FaissIndex(folder, entry, store, OnlyUnasked()).search(questions(2), 5)
        assert (faiss.omp_get_max_threads(), torch.get_num_threads()) == (3, of_torch)
    finally:
        faiss.omp_set_num_threads(before)


def test_files_of_vectors_are_closed_with_the_index(store: VectorStore, folder: Path, entry: FaissEntry) -> None:
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
    for _ in range(3):
        FaissIndex(folder, entry, store, OnlyUnasked()).search(questions(1), 5)
    after = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
    assert after == before


def test_vectors_that_became_shorter_are_an_error_and_not_a_crash(tmp_path: Path) -> None:
    store = make_store(tmp_path, clustered(2000))
    index = FaissIndex(tmp_path, build_faiss(store, tmp_path, ExactIndex(store)), store, OnlyUnasked())
    os.truncate(tmp_path / "000000.f16", 100)
    with pytest.raises(CorruptFileError, match="has become shorter"):
        index.search(questions(1), 5)


def test_vectors_that_are_no_numbers_are_an_error(tmp_path: Path) -> None:
    store = make_store(tmp_path, clustered(2000))
    index = FaissIndex(tmp_path, build_faiss(store, tmp_path, ExactIndex(store)), store, OnlyUnasked())
    path = tmp_path / "000000.f16"
    path.write_bytes(b"\xff" * path.stat().st_size)
    with pytest.raises(CorruptFileError, match=r"000000\.f16: a number in it is NaN or infinite"):
        index.search(questions(1), 5)


def test_file_of_other_vectors_is_refused(store: VectorStore, folder: Path, entry: FaissEntry, tmp_path: Path) -> None:
    with pytest.raises(KnowledgeBaseError, match="made from vectors of 8 numbers, where there are 16"):
        FaissIndex(folder, replace(entry, dim=8), store, OnlyUnasked())
    fewer = make_store(tmp_path, clustered(1000))
    with pytest.raises(CorruptFileError, match="covers 6,000 rows, where there are 1,000"):
        FaissIndex(folder, entry, fewer, OnlyUnasked())
