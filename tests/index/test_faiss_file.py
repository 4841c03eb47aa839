"""FAISS files and their entries: damaged ones are refused, before FAISS sees them."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import realm.index.faiss_file
from realm.artifacts import sha256_of_text
from realm.errors import CorruptFileError, KnowledgeBaseError
from realm.index.faiss_entry import FaissEntry, FaissPoint
from realm.index.faiss_file import check_faiss, digest_of_pieces, read_faiss, write_faiss

DIM, NLIST, VECTORS = 8, 4, 200


@functools.cache
def small_index() -> Any:
    index = faiss.index_factory(DIM, f"IVF{NLIST},PQ4x4fs", faiss.METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid = index.pq.cp.min_points_per_centroid = 1
    vectors = np.random.default_rng(0).standard_normal((VECTORS, DIM)).astype(np.float32)
    index.train(vectors)
    index.add(vectors)
    return index


def entry_of(name: str, sha256: str, size: int) -> FaissEntry:
    points = (FaissPoint(5, 2, 50, 0.96), FaissPoint(100, 4, 200, 0.94))
    return FaissEntry(name, 250, VECTORS, DIM, NLIST, points, "blocks", 100, 0.95, False, sha256, size)


@pytest.fixture
def entry(tmp_path: Path) -> FaissEntry:
    return entry_of(*write_faiss(tmp_path, small_index()))


def test_what_was_written_is_read_again(tmp_path: Path, entry: FaissEntry) -> None:
    queries = np.random.default_rng(1).standard_normal((3, DIM)).astype(np.float32)
    expected = small_index().search(queries, 7)
    found = read_faiss(tmp_path, entry).search(queries, 7)
    assert [part.tolist() for part in found] == [part.tolist() for part in expected]
    assert [path.name for path in tmp_path.iterdir()] == [entry.name]


@given(data=st.data())
def test_flipped_and_cut_files_are_refused(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("faiss")
    entry = entry_of(*write_faiss(folder, small_index()))
    path = folder / entry.name
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    path.write_bytes(content)
    for refuse in (check_faiss, read_faiss):
        with pytest.raises(CorruptFileError, match="make it anew with"):
            refuse(folder, entry)


def test_digest_is_that_of_the_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realm.index.faiss_file, "_PIECE_BYTES", 10)
    monkeypatch.setattr(realm.index.faiss_file, "_READ_BYTES", 3)
    for content in (b"", b"0123456789", b"0123456789abcdefghij!"):
        (tmp_path / "file").write_bytes(content)
        pieces = [hashlib.sha256(content[start : start + 10]).hexdigest() for start in range(0, len(content), 10)]
        assert digest_of_pieces(tmp_path / "file") == sha256_of_text(*pieces)


def test_missing_file_is_refused(tmp_path: Path, entry: FaissEntry) -> None:
    (tmp_path / entry.name).unlink()
    with pytest.raises(CorruptFileError, match=r"cannot be read \(No such file"):
        read_faiss(tmp_path, entry)


def test_file_that_is_not_verified_is_still_looked_at(tmp_path: Path, entry: FaissEntry) -> None:
    path = tmp_path / entry.name
    content = path.read_bytes()
    assert read_faiss(tmp_path, entry, verify=False).ntotal == VECTORS
    path.write_bytes(b"IxFI" + content[4:])
    with pytest.raises(CorruptFileError, match="not a FAISS index of the kind"):
        read_faiss(tmp_path, entry, verify=False)
    path.write_bytes(content[:-9])
    with pytest.raises(CorruptFileError, match="bytes, where the manifest names"):
        read_faiss(tmp_path, entry, verify=False)
    with pytest.raises(CorruptFileError, match="FAISS cannot read it"):
        read_faiss(tmp_path, dataclasses.replace(entry, bytes=len(content) - 9), verify=False)
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"\(8, 4, 200\), where the manifest names \(8, 4, 199\)"):
        read_faiss(tmp_path, dataclasses.replace(entry, vectors=199), verify=False)


def test_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    class Broken:
        pass

    folder = tmp_path / "index"
    with pytest.MonkeyPatch.context() as patch:

        def full(index: object, path: str) -> None:
            Path(path).write_bytes(b"half")
            raise RuntimeError("Error in faiss at io.cpp:1\nNo space left on device")

        patch.setattr(faiss, "write_index", full)
        with pytest.raises(KnowledgeBaseError, match=r"cannot be written \(No space left on device\)"):
            write_faiss(folder, Broken())
    assert list(folder.iterdir()) == []


def test_entry_survives_the_manifest(entry: FaissEntry) -> None:
    assert FaissEntry.from_json(json.loads(json.dumps(dataclasses.asdict(entry)))) == entry


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../faiss-0123456789abcdef.index"},
        {"rows": VECTORS - 1},
        {"vectors": 0},
        {"nlist": 0},
        {"nlist": True},
        {"points": []},
        {"points": "no"},
        {"points": [5]},
        {"points": [{"k": 5, "nprobe": 9, "candidates": 50, "recall": 0.9}]},
        {"points": [{"k": 5, "nprobe": 1, "candidates": 4, "recall": 0.9}]},
        {"points": [{"k": 0, "nprobe": 1, "candidates": 4, "recall": 0.9}]},
        {"points": [{"k": 5, "nprobe": 1, "candidates": 50}]},
        {"points": [{"k": 5, "nprobe": 1, "candidates": 50, "recall": 0.9}] * 2},
        {"target": "high"},
        {"colour": "red"},
        {"sha256": None},
    ],
)
def test_entry_that_contradicts_itself_is_refused(entry: FaissEntry, change: dict[str, Any]) -> None:
    with pytest.raises(CorruptFileError):
        FaissEntry.from_json({**dataclasses.asdict(entry), **change})


@pytest.mark.parametrize("missing", ["name", "points", "sha256"])
def test_entry_without_a_key_is_refused(entry: FaissEntry, missing: str) -> None:
    values = dataclasses.asdict(entry)
    del values[missing]
    with pytest.raises(CorruptFileError):
        FaissEntry.from_json(values)


def test_search_widens_with_k_and_with_what_a_filter_hides(entry: FaissEntry) -> None:
    assert entry.plan(1, 1.0) == entry.plan(5, 1.0) == (2, 50)
    assert entry.plan(6, 1.0) == entry.plan(100, 1.0) == (4, 200)
    assert entry.plan(250, 1.0) == (10, 500)
    assert entry.plan(5, 0.25) == (8, 50)


def test_recall_is_that_of_the_next_k_measured(entry: FaissEntry) -> None:
    assert (entry.recall_at_5, entry.recall_at(6), entry.recall_at_5000) == (0.96, 0.94, 0.94)
