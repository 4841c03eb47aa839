"""Building and extending FAISS files: what goes in, what is measured, how much memory it takes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import faiss
import numpy as np
import pytest
from index_contract import make_store

import realm.index.faiss_build
import realm.index.faiss_probe
from realm.errors import CorruptFileError, KnowledgeBaseError
from realm.index.exact import ExactIndex
from realm.index.faiss_build import build_faiss, extend_faiss, lists_for
from realm.index.faiss_entry import FaissEntry
from realm.index.faiss_file import read_faiss
from realm.index.faiss_index import FaissIndex
from realm.index.vectors import VectorStore, VectorWriter

DIM = 16


@pytest.fixture(autouse=True)
def few_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring well would take most of the time."""
    monkeypatch.setattr(realm.index.faiss_probe, "PROBE_QUERIES", 40)
    monkeypatch.setattr(realm.index.faiss_probe, "PROBE_KS", (5, 5000))


def clustered(rows: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((40, DIM))
    return (centres[random.integers(40, size=rows)] + random.standard_normal((rows, DIM)) / 2).astype(np.float16)


def noise(rows: int, seed: int = 0) -> np.ndarray:
    """Without clusters, so that what is near stands in many lists."""
    return np.random.default_rng(seed).standard_normal((rows, 4 * DIM)).astype(np.float16)


def ids_in(folder: Path, entry: FaissEntry) -> list[int]:
    """All rows in the file."""
    index = read_faiss(folder, entry)
    lists = index.invlists
    ids = [faiss.rev_swig_ptr(lists.get_ids(i), lists.list_size(i)).tolist() for i in range(index.nlist)]
    return sorted(row for part in ids for row in part)


def test_file_holds_all_live_rows_and_no_other(tmp_path: Path) -> None:
    store, gone = make_store(tmp_path, clustered(1500), 400), np.array([0, 7, 1499, 5000])
    done: list[int] = []
    entry = build_faiss(store, tmp_path, ExactIndex(store, gone), tombstones=gone, progress=done.append)
    assert ids_in(tmp_path, entry) == sorted(set(range(1500)) - {0, 7, 1499})
    assert (entry.rows, entry.vectors, entry.dim, done[-1]) == (1500, 1497, DIM, 1497)
    assert entry.bytes == (tmp_path / entry.name).stat().st_size
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".f16"] == [entry.name]


def test_same_seed_gives_the_same_file_and_another_seed_another(tmp_path: Path) -> None:
    store = make_store(tmp_path, clustered(1500))
    first, again, other = (build_faiss(store, tmp_path / "index", ExactIndex(store), seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.sha256 != other.sha256
    assert len(list((tmp_path / "index").iterdir())) == 2


def test_recall_in_the_entry_is_that_of_the_questions_given(tmp_path: Path) -> None:
    vectors = noise(3000)
    store = make_store(tmp_path, vectors)
    exact = ExactIndex(store)
    questions = noise(30, seed=5).astype(np.float32)
    entry = build_faiss(store, tmp_path, exact, questions=questions, target=0.6)
    assert (entry.probe, entry.probe_queries, entry.target) == ("questions", 30, 0.6)
    hits = FaissIndex(tmp_path, entry, store, exact).search(questions, 5)
    scores = questions.astype(np.float64) @ vectors.astype(np.float64).T
    found = [len(set(line) & set(best)) / 5 for line, best in zip(hits.rows, np.argsort(-scores)[:, :5], strict=True)]
    assert entry.recall_at_5 == pytest.approx(np.mean(found))
    assert 0.6 <= entry.recall_at_5 < 1
    assert build_faiss(store, tmp_path, exact).probe == "blocks"


def test_higher_target_is_reached_by_a_wider_search(tmp_path: Path) -> None:
    store = make_store(tmp_path, noise(4000))
    low, high = (build_faiss(store, tmp_path, ExactIndex(store), target=target) for target in (0.5, 0.99))
    assert low.target_reached
    assert high.target_reached
    assert low.recall_at_5 < 0.99 <= high.recall_at_5
    assert low.points[0].nprobe < high.points[0].nprobe


def test_target_that_cannot_be_reached_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # No more candidates than rows asked for: codes of four bits for two numbers do not name just the right ones.
    monkeypatch.setattr(realm.index.faiss_probe, "_FACTORS", (1,))
    store = make_store(tmp_path, noise(3000))
    monkeypatch.setattr(realm.index.faiss_probe, "PROBE_KS", (300,))
    entry = build_faiss(store, tmp_path, ExactIndex(store), target=0.99)
    assert not entry.target_reached
    assert min(point.recall for point in entry.points) < 0.99
    assert FaissEntry.from_json(dataclasses.asdict(entry)) == entry


def test_too_few_rows_are_refused_and_the_least_number_is_enough(tmp_path: Path) -> None:
    store = make_store(tmp_path, clustered(1000))
    with pytest.raises(KnowledgeBaseError, match="999 vectors are too few for FAISS, which needs 1,000: exact search"):
        build_faiss(store, tmp_path, ExactIndex(store), tombstones=np.array([3]))
    assert build_faiss(store, tmp_path, ExactIndex(store)).vectors == 1000


def test_odd_dimensions_are_indexed_too(tmp_path: Path) -> None:
    vectors = clustered(1200)[:, :7]
    store = make_store(tmp_path, vectors)
    index = FaissIndex(tmp_path, build_faiss(store, tmp_path, ExactIndex(store)), store, ExactIndex(store))
    assert index.search(vectors[:3].astype(np.float32), 1).scores.shape == (3, 1)


def test_less_memory_means_a_smaller_sample_and_too_little_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(tmp_path, noise(20_000))
    sizes: list[int] = []
    train = realm.index.faiss_build._trained

    def watched(sample: np.ndarray, nlist: int, seed: int) -> object:
        sizes.append(sample.nbytes)
        return train(sample, nlist, seed)

    monkeypatch.setattr(realm.index.faiss_build, "_trained", watched)
    monkeypatch.setattr(realm.index.faiss_build, "_SAMPLE_PER_LIST", 30)
    build_faiss(store, tmp_path, ExactIndex(store))
    with pytest.raises(KnowledgeBaseError, match=r"given 100 MiB of memory to build in; it needs (\d+)") as refused:
        build_faiss(store, tmp_path, ExactIndex(store), ram_bytes=100 << 20)
    needed = int(str(refused.value).split("it needs ")[1].split(".")[0]) + 1
    build_faiss(store, tmp_path, ExactIndex(store), ram_bytes=needed << 20)
    assert sizes[1] < sizes[0] == 566 * 30 * 4 * DIM * 4
    assert 2 * sizes[1] < needed << 20


def test_extending_adds_newer_rows_and_takes_tombstones_out(tmp_path: Path) -> None:
    vectors = clustered(3000)
    with VectorWriter(tmp_path, DIM) as writer:
        writer.append(vectors[:2000])
        older = VectorStore(tmp_path, writer.publish(), DIM)
        entry = build_faiss(older, tmp_path, ExactIndex(older))
        writer.append(vectors[2000:])
        store = VectorStore(tmp_path, writer.publish(), DIM)
    gone = np.array([1, 1999, 2000])
    exact = ExactIndex(store, gone)
    extended = extend_faiss(store, tmp_path, entry, exact, tombstones=gone)
    assert ids_in(tmp_path, extended) == sorted(set(range(3000)) - {1, 1999, 2000})
    assert ids_in(tmp_path, entry) == list(range(2000))
    assert (extended.rows, extended.vectors, extended.target_reached) == (3000, 2997, True)
    found = FaissIndex(tmp_path, extended, store, exact, tombstones=gone).search(
        vectors[2500:2600].astype(np.float32), 1
    )
    truth = exact.search(vectors[2500:2600].astype(np.float32), 1)
    assert (found.rows == truth.rows).mean() >= 0.9


def test_extending_when_few_rows_are_left_keeps_just_them(tmp_path: Path) -> None:
    store = make_store(tmp_path, clustered(1000))
    entry = build_faiss(store, tmp_path, ExactIndex(store))
    gone = np.arange(10, 1000)
    extended = extend_faiss(store, tmp_path, entry, ExactIndex(store, gone), tombstones=gone)
    assert ids_in(tmp_path, extended) == list(range(10))
    assert FaissEntry.from_json(dataclasses.asdict(extended)) == extended
    with pytest.raises(KnowledgeBaseError, match="no vectors are left"):
        extend_faiss(store, tmp_path, entry, ExactIndex(store), tombstones=np.arange(1000))


def test_lists_grow_with_the_root_of_the_rows() -> None:
    assert [lists_for(vectors) for vectors in (1, 1600, 4096, 13_353_718)] == [1, 100, 256, 14_618]


def test_extending_a_damaged_file_is_refused(tmp_path: Path) -> None:
    store = make_store(tmp_path, clustered(1000))
    entry = build_faiss(store, tmp_path, ExactIndex(store))
    path = tmp_path / entry.name
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(CorruptFileError, match="SHA-256 differs"):
        extend_faiss(store, tmp_path, entry, ExactIndex(store))


@pytest.mark.parametrize(
    ("k", "last", "reached"), [(5, 1500, 1.0), (100, 3000, 1.0), (5000, 39_000, 1.0), (100, 9000, 0.0)]
)
def test_a_true_row_far_down_among_the_candidates_is_looked_for(k: int, last: int, reached: float) -> None:
    class Ranked:
        """Its codes put the `k` true rows right before place `last`, whatever is asked."""

        ntotal, nlist = 50_000, 1

        def search(self, queries: np.ndarray, count: int, params: object) -> tuple[None, np.ndarray]:
            order = np.roll(np.arange(self.ntotal), last - k)
            return None, np.tile(order[:count], (len(queries), 1))

    queries = np.zeros((3, 4), np.float32)
    point = realm.index.faiss_probe._cheapest(Ranked(), queries, np.tile(np.arange(k), (3, 1)), 0.95)
    assert point.recall == reached
    assert point.candidates >= last or not reached
