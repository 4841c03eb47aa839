"""Vectors on disk: what was published comes back to the bit, whatever a killed writer or a damaged disk did."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realm.errors import CorruptFileError, KnowledgeBaseError, ModelError
from realm.index.segments import Segment
from realm.index.vectors import VectorStore, VectorWriter

DIM = 5


def random_vectors(rows: int) -> np.ndarray:
    return np.random.default_rng(rows).standard_normal((rows, DIM)).astype(np.float32)


def rounded(vectors: np.ndarray) -> np.ndarray:
    return vectors.astype(np.float16).astype(np.float32)


def write(folder: Path, vectors: np.ndarray, rows_per_segment: int = 4) -> tuple[Segment, ...]:
    with VectorWriter(folder, DIM, rows_per_segment=rows_per_segment) as writer:
        writer.append(vectors)
        return writer.publish()


@settings(max_examples=30)
@given(
    counts=st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.booleans()), max_size=8),
    rows_per_segment=st.integers(1, 7),
)
def test_published_rows_come_back_however_they_were_appended(
    counts: list[tuple[int, bool, bool]], rows_per_segment: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("vectors")
    writer = VectorWriter(folder, DIM, rows_per_segment=rows_per_segment)
    expected = np.empty((0, DIM), np.float32)
    published: tuple[Segment, ...] = ()
    for place, (count, publish, kill) in enumerate(counts):
        vectors = random_vectors(100 * place + count)[:count]
        writer.append(vectors)
        if publish:
            published = writer.publish()
            expected = np.concatenate([expected, vectors])
        elif kill or count:
            # Killed: whatever it wrote stays behind the published rows.
            writer.close()
            writer = VectorWriter(folder, DIM, published, rows_per_segment=rows_per_segment)
        assert len(writer) == len(expected)
    writer.close()
    store = VectorStore(folder, published, DIM)
    store.verify()
    assert store.rows == len(expected)
    assert all(segment.rows == rows_per_segment for segment in published[:-1])
    np.testing.assert_array_equal(store.take(np.arange(store.rows)), rounded(expected))
    for max_rows in (1, 3, 100):
        chunks = list(store.chunks(max_rows))
        assert [first for first, _ in chunks] == list(np.cumsum([0, *(len(rows) for _, rows in chunks)]))[:-1]
        np.testing.assert_array_equal(
            np.concatenate([np.empty((0, DIM)), *(rows for _, rows in chunks)]), rounded(expected)
        )


def test_files_are_plain_little_endian_halves_and_segments_name_their_digests(tmp_path: Path) -> None:
    vectors = random_vectors(6)
    segments = write(tmp_path, vectors)
    for segment, part in zip(segments, (vectors[:4], vectors[4:]), strict=True):
        data = part.astype("<f2").tobytes()
        assert (tmp_path / segment.name).read_bytes() == data
        assert segment == Segment(segment.name, len(part), DIM, hashlib.sha256(data).hexdigest(), len(data))
    assert [segment.name for segment in segments] == ["000000.f16", "000001.f16"]


def test_rows_are_taken_in_any_order_and_repeatedly(tmp_path: Path) -> None:
    vectors = random_vectors(11)
    store = VectorStore(tmp_path, write(tmp_path, vectors), DIM)
    rows = np.array([10, 0, 3, 4, 10, 7])
    np.testing.assert_array_equal(store.take(rows), rounded(vectors)[rows])
    assert store.take(np.array([], np.int64)).shape == (0, DIM)
    for row in (-1, 11):
        with pytest.raises(IndexError, match="there are 11"):
            store.take(np.array([0, row]))


def test_reader_keeps_its_version_while_a_writer_goes_on(tmp_path: Path) -> None:
    vectors = random_vectors(9)
    old = write(tmp_path, vectors[:2])
    store = VectorStore(tmp_path, old, DIM)
    with VectorWriter(tmp_path, DIM, old, rows_per_segment=4) as writer:
        writer.append(vectors[2:])
        new = writer.publish()
    for reader in (store, VectorStore(tmp_path, old, DIM)):
        reader.verify()
        np.testing.assert_array_equal(reader.take(np.arange(2)), rounded(vectors[:2]))
    np.testing.assert_array_equal(VectorStore(tmp_path, new, DIM).take(np.arange(9)), rounded(vectors))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 70_000.0])
def test_numbers_that_do_not_fit_half_precision_are_refused_and_leave_no_trace(tmp_path: Path, bad: float) -> None:
    vectors = random_vectors(6)
    with VectorWriter(tmp_path, DIM, rows_per_segment=4) as writer:
        writer.append(vectors[:3])
        broken = vectors[3:].copy()
        broken[1, 2] = bad
        with pytest.raises(ModelError, match=r"vector of row 4 has a number .*\(so have 1 of 3 rows\)"):
            writer.append(broken)
        writer.append(vectors[3:])
        segments = writer.publish()
    np.testing.assert_array_equal(VectorStore(tmp_path, segments, DIM).take(np.arange(6)), rounded(vectors))


def test_rows_of_another_shape_are_refused(tmp_path: Path) -> None:
    with VectorWriter(tmp_path, DIM) as writer, pytest.raises(ValueError, match=r"expected \(rows, 5\)"):
        writer.append(np.zeros((2, DIM + 1), np.float32))


def test_empty_store_has_no_rows(tmp_path: Path) -> None:
    with VectorWriter(tmp_path / "new", DIM) as writer:
        assert writer.publish() == ()
    store = VectorStore(tmp_path / "new", (), DIM)
    assert (store.rows, list(store.chunks(10))) == (0, [])


@pytest.mark.parametrize(
    ("place", "damage", "message"),
    [
        (0, lambda data: data[:-1], r"000000\.f16: 39 bytes, where the manifest names 40\. Rebuild .*realm index"),
        (0, lambda data: data + b"x", r"000000\.f16: 41 bytes, where the manifest names 40"),
        (1, lambda data: data[:-2], r"000001\.f16: 18 bytes, where the manifest names 20"),
        (1, None, r"000001\.f16: missing"),
    ],
)
def test_wrong_size_is_noticed_on_opening(tmp_path: Path, place: int, damage: Any, message: str) -> None:
    segments = write(tmp_path, random_vectors(6))
    path = tmp_path / segments[place].name
    data = path.read_bytes()
    path.unlink()
    if damage:
        path.write_bytes(damage(data))
    for opened in (lambda: VectorStore(tmp_path, segments, DIM), lambda: VectorWriter(tmp_path, DIM, segments)):
        with pytest.raises(CorruptFileError, match=message):
            opened()


def test_wrong_bytes_are_noticed_by_verifying_and_before_appending(tmp_path: Path) -> None:
    segments = write(tmp_path, random_vectors(6))
    path = tmp_path / segments[1].name
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    path.write_bytes(data)
    store = VectorStore(tmp_path, segments, DIM)
    with pytest.raises(CorruptFileError, match=r"000001\.f16: the bytes are not those .*Rebuild"):
        store.verify()
    with pytest.raises(CorruptFileError, match=r"000001\.f16: the bytes are not those"):
        VectorWriter(tmp_path, DIM, segments, rows_per_segment=4)


def test_vectors_of_another_model_are_refused(tmp_path: Path) -> None:
    segments = write(tmp_path, random_vectors(2))
    with pytest.raises(KnowledgeBaseError, match=r"vectors of 5 numbers, where 8 are expected"):
        VectorStore(tmp_path, segments, 8)


def test_segments_survive_the_manifest(tmp_path: Path) -> None:
    segments = write(tmp_path, random_vectors(6))
    entries = json.loads(json.dumps([dataclasses.asdict(segment) for segment in segments]))
    assert tuple(Segment.from_json(entry) for entry in entries) == segments


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../000000.f16"},
        {"name": "/etc/passwd"},
        {"rows": 3},
        {"rows": "2"},
        {"rows": -2, "bytes": -20},
        {"more": 1},
    ],
)
def test_entry_of_a_manifest_that_cannot_be_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    (segment,) = write(tmp_path, random_vectors(2))
    with pytest.raises(CorruptFileError, match="manifest's entry"):
        Segment.from_json(dataclasses.asdict(segment) | change)
    with pytest.raises(CorruptFileError, match="manifest's entry"):
        Segment.from_json({"name": segment.name})


@pytest.mark.parametrize("bad", [b"\xff\xff", np.array(np.inf, "<f2").tobytes()])
def test_numbers_that_are_none_are_refused_when_their_rows_are_read(tmp_path: Path, bad: bytes) -> None:
    segments = write(tmp_path, random_vectors(6))
    path = tmp_path / segments[1].name
    path.write_bytes(path.read_bytes()[:-2] + bad)
    store = VectorStore(tmp_path, segments, DIM)
    assert store.take(np.arange(5)).shape == (5, DIM)
    with pytest.raises(CorruptFileError, match=r"000001\.f16: a number in it is NaN or infinite.*realm info --verify"):
        store.take(np.array([5, 0]))


def test_a_file_that_is_gone_is_named_by_verifying(tmp_path: Path) -> None:
    segments = write(tmp_path, random_vectors(6))
    store = VectorStore(tmp_path, segments, DIM)
    (tmp_path / segments[1].name).unlink()
    with pytest.raises(CorruptFileError, match=r"000001\.f16: cannot be read .*Rebuild"):
        store.verify()
