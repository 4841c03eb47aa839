"""Codes on disk: their bounds hold for every row, and what was published comes back to the bit."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from index_contract import make_store

from realm.errors import CorruptFileError, KnowledgeBaseError
from realm.index.code_segments import CodeSegment
from realm.index.codes import CodeStore, CodeWriter, build_codes
from realm.index.quantising import quantised, widened

DIM = 5


def random_vectors(rows: int) -> np.ndarray:
    return np.random.default_rng(rows).standard_normal((rows, DIM)).astype(np.float32)


def write(folder: Path, vectors: np.ndarray, rows_per_segment: int = 4) -> tuple[CodeSegment, ...]:
    with CodeWriter(folder, DIM, rows_per_segment=rows_per_segment) as writer:
        writer.append(vectors)
        return writer.publish()


def contents(store: CodeStore) -> tuple[list[Any], list[Any]]:
    chunks = list(store.chunks(3))
    assert [chunk.first for chunk in chunks] == np.cumsum([0, *(len(chunk.codes) for chunk in chunks)])[:-1].tolist()
    return [row for chunk in chunks for row in chunk.codes.tolist()], [
        scale for chunk in chunks for scale in chunk.scales.tolist()
    ]


@settings(max_examples=60)
@given(vectors=arrays(np.float16, st.tuples(st.integers(1, 6), st.integers(1, 40)), elements={"allow_nan": False}))
def test_bounds_hold_for_every_row(vectors: np.ndarray) -> None:
    vectors = np.clip(vectors, -65504, 65504)
    codes, bits, residual, length = quantised(vectors)
    scales = widened(bits).astype(np.float64)[:, None]
    assert codes.shape == (len(vectors), -(-vectors.shape[1] // 32) * 32)
    assert (np.abs(codes.astype(int)) <= 127).all()
    assert not codes[:, vectors.shape[1] :].any()
    left = vectors - scales * codes[:, : vectors.shape[1]]
    assert (np.abs(left) <= 0.501 * scales).all()
    assert (np.linalg.norm(left, axis=1) <= residual * scales[:, 0]).all()
    assert (np.linalg.norm(codes.astype(float), axis=1) <= length).all()
    # Tight, too: a bound of infinity would hold as well.
    assert residual <= 0.51 * np.sqrt(vectors.shape[1])


def test_codes_are_of_the_rounded_vectors(tmp_path: Path) -> None:
    vectors = random_vectors(9)
    store = make_store(tmp_path / "vectors", vectors)
    built = CodeStore(tmp_path / "built", build_codes(store, tmp_path / "built"), DIM)
    given_before_rounding = CodeStore(tmp_path / "given", write(tmp_path / "given", vectors, 100), DIM)
    assert built.segments == given_before_rounding.segments
    assert contents(built) == contents(given_before_rounding)


@settings(max_examples=25)
@given(
    counts=st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.booleans()), max_size=6),
    rows_per_segment=st.integers(1, 7),
)
def test_published_rows_come_back_however_they_were_appended(
    counts: list[tuple[int, bool, bool]], rows_per_segment: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("codes")
    writer = CodeWriter(folder, DIM, rows_per_segment=rows_per_segment)
    expected = np.empty((0, DIM), np.float32)
    published: tuple[CodeSegment, ...] = ()
    for place, (count, publish, kill) in enumerate(counts):
        vectors = random_vectors(100 * place + count)[:count]
        writer.append(vectors)
        if publish:
            published = writer.publish()
            expected = np.concatenate([expected, vectors])
        elif kill or count:
            # Killed: whatever it wrote stays behind the published rows.
            writer.close()
            writer = CodeWriter(folder, DIM, published, rows_per_segment=rows_per_segment)
        assert len(writer) == len(expected)
    writer.close()
    store = CodeStore(folder, published, DIM)
    store.verify()
    assert store.rows == len(expected)
    assert [segment.rows for segment in published[:-1]] == [rows_per_segment] * (len(published) - 1)
    # Written in one go: the same files, and the same bounds.
    once = tmp_path_factory.mktemp("once")
    assert published == write(once, expected, rows_per_segment)
    codes, scales, _, _ = quantised(expected)
    assert contents(store) == (codes.tolist(), scales.tolist())


def test_building_goes_on_after_published_codes_and_reports(tmp_path: Path) -> None:
    vectors = random_vectors(20)
    first = write(tmp_path / "codes", vectors[:7], 8)
    seen: list[tuple[int, int]] = []
    segments = build_codes(
        make_store(tmp_path / "vectors", vectors),
        tmp_path / "codes",
        first,
        rows_per_segment=8,
        report=lambda done, rows: seen.append((done, rows)),
    )
    assert segments == write(tmp_path / "once", vectors, 8)
    assert seen == [(20, 20)]


def test_empty_store_has_no_codes(tmp_path: Path) -> None:
    assert build_codes(make_store(tmp_path, random_vectors(0)), tmp_path) == ()
    assert list(CodeStore(tmp_path, (), DIM).chunks(4)) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e6])
def test_rows_that_have_no_codes_are_refused(tmp_path: Path, bad: float) -> None:
    with CodeWriter(tmp_path, DIM) as writer:
        with pytest.raises(ValueError, match="not finite"), np.errstate(over="ignore"):
            writer.append(np.full((1, DIM), bad))
        with pytest.raises(ValueError, match=r"expected \(rows, 5\)"):
            writer.append(np.zeros((2, DIM + 1)))


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("000000.i8", lambda data: data[:-1], r"000000\.i8: 127 bytes, where the manifest names 128\. .*realm compact"),
        ("000000.i8", lambda data: data + b"x", r"000000\.i8: 129 bytes, where the manifest names 128"),
        ("000001.i8", lambda data: data[:-2], r"000001\.i8: 62 bytes, where the manifest names 64"),
        ("000001.scale", lambda data: data[:-2], r"000001\.scale: 2 bytes, where the manifest names 4.*realm compact"),
        ("000001.scale", None, r"000001\.scale: missing"),
    ],
)
def test_wrong_size_is_noticed_on_opening(tmp_path: Path, name: str, damage: Any, message: str) -> None:
    segments = write(tmp_path, random_vectors(6))
    path = tmp_path / name
    data = path.read_bytes()
    path.unlink()
    if damage:
        path.write_bytes(damage(data))
    for opened in (lambda: CodeStore(tmp_path, segments, DIM), lambda: CodeWriter(tmp_path, DIM, segments)):
        with pytest.raises(CorruptFileError, match=message):
            opened()


@pytest.mark.parametrize("name", ["000001.i8", "000001.scale"])
def test_wrong_bytes_are_noticed_by_verifying_and_before_appending(tmp_path: Path, name: str) -> None:
    segments = write(tmp_path, random_vectors(6))
    path = tmp_path / name
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    path.write_bytes(data)
    store = CodeStore(tmp_path, segments, DIM)
    for found in (store.verify, lambda: CodeWriter(tmp_path, DIM, segments)):
        with pytest.raises(CorruptFileError, match=rf"{name}: the bytes are not those .*realm compact"):
            found()
    assert path.read_bytes() == bytes(data)


def test_scales_are_verified_without_reading_codes(tmp_path: Path) -> None:
    segments = write(tmp_path, random_vectors(6))
    store = CodeStore(tmp_path, segments, DIM)
    for name in ("000001.i8", "000001.scale"):
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(bytes([data[0] ^ 1]) + data[1:])
        if name.endswith(".i8"):
            store.verify_scales()
    with pytest.raises(CorruptFileError, match=r"000001\.scale: the bytes are not those .*realm compact"):
        store.verify_scales()


def test_codes_of_another_model_are_refused(tmp_path: Path) -> None:
    segments = write(tmp_path, random_vectors(2))
    with pytest.raises(KnowledgeBaseError, match=r"vectors of 5 numbers, where 8 are expected"):
        CodeStore(tmp_path, segments, 8)


def test_segments_survive_the_manifest(tmp_path: Path) -> None:
    segments = write(tmp_path, random_vectors(6))
    entries = json.loads(json.dumps([dataclasses.asdict(segment) for segment in segments]))
    assert tuple(CodeSegment.from_json(entry) for entry in entries) == segments


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../000000.i8"},
        {"name": "000000.f16"},
        {"rows": 3},
        {"rows": "2"},
        {"rows": -2, "bytes": -64},
        {"residual": float("nan")},
        {"length": -1.0},
        {"more": 1},
    ],
)
def test_entry_of_a_manifest_that_cannot_be_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    (segment,) = write(tmp_path, random_vectors(2))
    with pytest.raises(CorruptFileError, match="manifest's entry"):
        CodeSegment.from_json(dataclasses.asdict(segment) | change)
