"""Sketches on disk: levels and lengths hold for every row, full segments only, and damage is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from index_contract import make_store

from realm.errors import CorruptFileError, KnowledgeBaseError
from realm.index.sketches import SketchFile, SketchSegment, SketchStore, build_sketches
from realm.index.vectors import VectorWriter

DIM = 65


def random_vectors(rows: int) -> np.ndarray:
    return np.random.default_rng(rows).standard_normal((rows, DIM)).astype(np.float16)


def build(folder: Path, vectors: np.ndarray, rows_per_segment: int = 50) -> tuple[SketchSegment, ...]:
    store = make_store(folder, vectors, rows_per_segment)
    return build_sketches(store, folder, rows_per_segment=rows_per_segment)


def places_of(file: SketchFile) -> np.ndarray:
    """Levels of each row, unpacked one by one as FAISS's source lays them."""
    rows, columns = file.segment.rows, len(file.levels)
    places = np.empty((rows, columns), np.int64)
    for row in range(rows):
        block, inside = divmod(row, 32)
        half, lane = divmod(inside, 16)
        byte = 2 * lane if lane < 8 else 2 * (lane - 8) + 1
        places[row] = file.blocks[block, :, byte] >> 4 * half & 15
    return places


def test_levels_and_lengths_bound_every_row(tmp_path: Path) -> None:
    vectors = random_vectors(130)
    vectors[7], vectors[8, 3] = 0, 60000
    store = SketchStore(tmp_path, build(tmp_path, vectors), DIM)
    assert store.rows == 100
    for file in store.files:
        places = places_of(file)
        rows = vectors[file.first : file.first + 50].astype(np.float64)
        chosen = file.levels[np.arange(DIM), places[:, :DIM]].astype(np.float64)
        lengths = file.levels[DIM, places[:, DIM]].astype(np.float64)
        assert (np.linalg.norm(rows - chosen, axis=1) <= lengths).all()
        assert (np.linalg.norm(rows, axis=1) <= file.segment.norm).all()
        nearest = np.abs(rows[:, :, None] - file.levels[:DIM].astype(np.float64)).min(axis=2)
        assert np.allclose(np.abs(rows - chosen), nearest, atol=1e-5, rtol=1e-5)


def test_full_segments_get_sketches_once(tmp_path: Path) -> None:
    vectors = random_vectors(130)
    with VectorWriter(tmp_path, DIM, rows_per_segment=50) as writer:
        writer.append(vectors[:70])
    store = make_store(tmp_path, vectors[:70], 50)
    first = build_sketches(store, tmp_path, rows_per_segment=50)
    assert [segment.name for segment in first] == ["000000.sketch"]
    before = (tmp_path / "000000.sketch").stat().st_mtime_ns
    store = make_store(tmp_path, vectors, 50)
    done: list[tuple[int, int]] = []
    second = build_sketches(store, tmp_path, first, rows_per_segment=50, report=lambda *seen: done.append(seen))
    assert second[:1] == first
    assert [segment.name for segment in second] == ["000000.sketch", "000001.sketch"]
    assert (tmp_path / "000000.sketch").stat().st_mtime_ns == before
    assert done == [(100, 130)]
    assert not list(tmp_path.glob("*.tmp"))


def test_short_rows_get_no_sketches(tmp_path: Path) -> None:
    store = make_store(tmp_path, np.ones((10, 8), np.float32), 5)
    assert build_sketches(store, tmp_path, rows_per_segment=5) == ()


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"x", None])
def test_wrong_size_is_noticed_on_opening(tmp_path: Path, change: Any) -> None:
    segments = build(tmp_path, random_vectors(50))
    path = tmp_path / segments[0].name
    data = path.read_bytes()
    path.unlink()
    if change:
        path.write_bytes(change(data))
    with pytest.raises(CorruptFileError, match=r"000000\.sketch: .*realm compact"):
        SketchStore(tmp_path, segments, DIM)


def test_wrong_levels_are_noticed_on_opening_and_wrong_rows_by_verifying(tmp_path: Path) -> None:
    segments = build(tmp_path, random_vectors(50))
    path = tmp_path / segments[0].name
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    with pytest.raises(CorruptFileError, match=r"000000\.sketch: the bytes are not those .*realm compact"):
        SketchStore(tmp_path, segments, DIM).verify()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(CorruptFileError, match=r"000000\.sketch: the bytes are not those .*realm compact"):
        SketchStore(tmp_path, segments, DIM)
    path.write_bytes(data)
    SketchStore(tmp_path, segments, DIM).verify()


def test_sketches_of_another_model_are_refused(tmp_path: Path) -> None:
    segments = build(tmp_path, random_vectors(50))
    with pytest.raises(KnowledgeBaseError, match=r"vectors of 65 numbers, where 64 are expected"):
        SketchStore(tmp_path, segments, 64)


def test_segments_survive_the_manifest(tmp_path: Path) -> None:
    segments = build(tmp_path, random_vectors(100))
    entries = json.loads(json.dumps([dataclasses.asdict(segment) for segment in segments]))
    assert tuple(SketchSegment.from_json(entry) for entry in entries) == segments


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../000000.sketch"},
        {"name": "000000.i8"},
        {"rows": 500},
        {"rows": "50"},
        {"dim": -65},
        {"norm": float("nan")},
        {"more": 1},
    ],
)
def test_entry_of_a_manifest_that_cannot_be_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    (segment,) = build(tmp_path, random_vectors(50))
    with pytest.raises(CorruptFileError, match="manifest's entry"):
        SketchSegment.from_json(dataclasses.asdict(segment) | change)
