"""Checkpoints: TensorFlow's own, those of a second writer and ours are read; damaged ones are refused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from realm.errors import SourceError, UsageError
from realm.interop.bundle_entries import Entry, Header, serialise_entry, serialise_header, slice_key
from realm.interop.crc32c import crc32c, mask
from realm.interop.sstable import write_table
from realm.interop.tensorflow_bundle import TensorBundle, Variable
from realm.interop.tensorflow_bundle_writer import write_bundle

# Index files saved by TensorFlow 2.21: four variables; and one variable in two slices.
PLAIN = (
    (
        b"\x00\x00\x06\x08\x01\x1a\x02\x08\x01\x00\n\x0fdense/bias\x08\x01\x12\x04\x12\x02\x08\x03(\x0c5"
        b"\x99A=\r\x06\x06\x15kernel\x08\x01\x12\x08\x12\x02\x08\x02\x12\x02\x08\x03 \x0c(\x185z\xeb\xf5"
        b"\xab\x00\x05\x11empty\x08\x01\x12\x06\x12\x00\x12\x02\x08\x02 $5\xd8\xea\x82\xa2\x00\x0b\rglobal_"
        b"step\x08\t\x12\x00 $(\x085\xbb\xd7\x9f\x11\x00\x00\x00\x00\x01\x00\x00\x00\x00\x95\xcd\xf5b\x00"
        b"\x00\x00\x00\x01\x00\x00\x00\x00\xc0\xf2\xa1\xb0\x00\x01\x02h\x00\x7f\x00\x00\x00\x00\x01\x00\x00"
        b"\x00\x00D\x16y,\x84\x01\x08\x91\x01\x0e"
    )
    + bytes(34)
    + b"W\xfb\x80\x8b$uG\xdb"
)
PLAIN_DATA = bytes(12) + np.arange(1, 7, dtype="<f4").tobytes() + b"\x07" + bytes(7)
SLICED = (
    (
        b"\x00\x00\x06\x08\x01\x1a\x02\x08\x01\x00\x0b\x14\x00p\x00\x01\x01\x02\x80\xc0d\x80\x82\x08\x04"
        b"\x12\x08\x12\x02\x08d\x12\x02\x08\x02(\xc8\x015\xef\x9cjm\x06\x06\x17\xc0d\xc0d\x80\x82\x08\x04"
        b'\x12\x08\x12\x02\x08d\x12\x02\x08\x02 \xc8\x01(\xc8\x015\x92"\xaf3\x00\x01#p\x08\x04\x12\t\x12'
        b"\x03\x08\xc8\x01\x12\x02\x08\x02:\x08\n\x02\x10d\n\x02\x10\x02:\n\n\x04\x08d\x10d\n\x02\x10\x02"
        b"\x00\x00\x00\x00\x01\x00\x00\x00\x00^r-\xc9\x00\x00\x00\x00\x01\x00\x00\x00\x00\xc0\xf2\xa1\xb0"
        b"\x00\x01\x02q\x00z\x00\x00\x00\x00\x01\x00\x00\x00\x00G\xa2\x99\xc5\x7f\x08\x8c\x01\x0e"
    )
    + bytes(35)
    + b"W\xfb\x80\x8b$uG\xdb"
)
SLICED_DATA = bytes(range(256)) + bytes(range(144))

ARRAYS: dict[str, np.ndarray[Any, Any]] = {
    "bert/pooler/dense/bias": np.linspace(-1, 1, 7, dtype="<f4"),
    "bert/pooler/dense/kernel": np.arange(12, dtype="<f4").reshape(3, 4),
    "flag": np.array([True, False]),
    "global_step": np.array(300_000, dtype="<i8"),
    "half": np.array([[0.5], [-2]], dtype="<f2"),
    "nothing": np.empty((0, 3), dtype="<f8"),
}


def saved(prefix: Path, index: bytes, data: bytes) -> TensorBundle:
    Path(f"{prefix}.index").write_bytes(index)
    Path(f"{prefix}.data-00000-of-00001").write_bytes(data)
    return TensorBundle(prefix)


def assert_equal(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> None:
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert np.array_equal(found, expected)


def test_a_checkpoint_of_tensorflow_is_listed_and_read(tmp_path: Path) -> None:
    bundle = saved(tmp_path / "plain", PLAIN, PLAIN_DATA)
    assert list(bundle.variables.values()) == [
        Variable("dense/bias", "float32", (3,)),
        Variable("dense/kernel", "float32", (2, 3)),
        Variable("empty", "float32", (0, 2)),
        Variable("global_step", "int64", ()),
    ]
    assert_equal(bundle.read("dense/bias"), np.zeros(3, dtype=np.float32))
    assert_equal(bundle.read("dense/kernel"), np.array([[1, 2, 3], [4, 5, 6]], dtype=np.float32))
    assert_equal(bundle.read("empty"), np.zeros((0, 2), dtype=np.float32))
    assert_equal(bundle.read("global_step"), np.array(7))


def test_a_sliced_variable_of_tensorflow_is_read_whole_and_by_rows(tmp_path: Path) -> None:
    bundle = saved(tmp_path / "sliced", SLICED, SLICED_DATA)
    expected = np.frombuffer(SLICED_DATA, dtype=np.uint8).reshape(200, 2)
    assert list(bundle.variables.values()) == [Variable("p", "uint8", (200, 2))]
    assert_equal(bundle.read("p"), expected)
    rows = list(bundle.iterate_rows("p", 70))
    assert [len(part) for part in rows] == [70, 30, 70, 30]  # a slice after the other
    assert_equal(np.concatenate(rows), expected)


def test_a_checkpoint_by_a_second_writer_is_read(tmp_path: Path, by_hand: Callable[..., None]) -> None:
    by_hand(tmp_path / "m", ARRAYS)
    bundle = TensorBundle(tmp_path / "m")
    assert list(bundle.variables) == sorted(ARRAYS)
    for name, array in ARRAYS.items():
        assert_equal(bundle.read(name), array)


def test_a_prefix_is_taken_with_and_without_its_ending(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model.ckpt-300", ARRAYS.items())
    assert (
        TensorBundle(tmp_path / "model.ckpt-300").variables == TensorBundle(tmp_path / "model.ckpt-300.index").variables
    )


@pytest.mark.parametrize("rows", [1, 3, 999, 1000, 5000])
def test_rows_come_in_order_and_no_more_than_asked_for_at_a_time(tmp_path: Path, rows: int) -> None:
    array = np.random.default_rng(0).standard_normal((1000, 5)).astype(np.float32)
    write_bundle(tmp_path / "m", [("first", ARRAYS["half"]), ("block_emb", array)])
    parts = list(TensorBundle(tmp_path / "m").iterate_rows("block_emb", rows))
    assert {len(part) for part in parts[:-1]} <= {rows}
    assert_equal(np.concatenate(parts), array)
    assert all(part.flags.writeable for part in parts)


def test_rows_of_an_empty_variable_are_none(tmp_path: Path) -> None:
    write_bundle(tmp_path / "m", [("a", np.empty((0, 3))), ("b", np.empty((2, 0)))])
    bundle = TensorBundle(tmp_path / "m")
    assert list(bundle.iterate_rows("a", 5)) == []
    assert [part.shape for part in bundle.iterate_rows("b", 1)] == [(1, 0), (1, 0)]


def test_bfloat16_is_read_as_float32(tmp_path: Path) -> None:
    raw = np.array([1.5, -2.25, np.inf], dtype="<f4").view("<u4")
    raw = (raw >> 16).astype("<u2").tobytes()
    entry = Entry(14, (3,), 0, 0, 6, mask(crc32c(raw)))
    with (tmp_path / "m.index").open("wb") as file:
        write_table(file, [(b"", serialise_header(Header(1))), (b"v", serialise_entry(entry))])
    (tmp_path / "m.data-00000-of-00001").write_bytes(raw)
    bundle = TensorBundle(tmp_path / "m")
    assert bundle.variables["v"].dtype == "bfloat16"
    assert_equal(bundle.read("v"), np.array([1.5, -2.25, np.inf], dtype=np.float32))


def index_of(tmp_path: Path, entry: Entry, header: bytes | None = None, name: bytes = b"v") -> TensorBundle:
    """A checkpoint of one variable `v` with 8 bytes of data and any entry."""
    with (tmp_path / "m.index").open("wb") as file:
        items = [(b"", serialise_header(Header(1)) if header is None else header), (name, serialise_entry(entry))]
        write_table(file, items)
    (tmp_path / "m.data-00000-of-00001").write_bytes(bytes(8))
    return TensorBundle(tmp_path / "m")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (Entry(7, (1,), 0, 0, 8), "v holds values of string; only numbers"),
        (Entry(20, (1,), 0, 0, 8), "v holds values of type 20; only numbers"),
        (Entry(1, (3,), 0, 0, 8), r"has 8 bytes; its shape \(3,\) needs 12"),
        (Entry(1, (2**60, 2**60), 0, 0, 2**62), "has 4611686018427387904 bytes; its shape"),
        (Entry(1, (2**40,), 0, 0, 2**42), r"cut off: it has 8 bytes, and v ends at 4398046511104"),
        (Entry(1, (2,), 0, 1, 8), r"cut off: it has 8 bytes, and v ends at 9"),
        (Entry(1, (2,), 1, 0, 8), r"m\.data-00001-of-00001 is missing; the checkpoint has 1 data files"),
        (Entry(1, (2,), 0, 0, 8, 1), "the bytes of v do not match their checksum"),
        (Entry(1, (2,), slices=(((0, 1),), ((1, 1),))), r"m\.index: the slice of v that starts at 0 of 2"),
    ],
)
def test_an_entry_that_cannot_be_is_an_error_before_memory_is_taken(tmp_path: Path, entry: Entry, message: str) -> None:
    bundle = index_of(tmp_path, entry)
    with pytest.raises(SourceError, match=message):
        bundle.read("v")
    with pytest.raises(SourceError, match=message):
        list(bundle.iterate_rows("v", 1))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"", "0 data files"),
        (b"\x08\x01\x10\x01", "big-endian"),
        (b"\x08\x01\x1a\x02\x10\x02", "version 2; expected"),
        (b"\x08", "damaged: the bytes end inside a number"),
        (b"\x1a\x05", "damaged: field 3"),
    ],
)
def test_a_header_of_another_kind_is_an_error(tmp_path: Path, header: bytes, message: str) -> None:
    with pytest.raises(SourceError, match=rf"m\.index.*{message}"):
        index_of(tmp_path, Entry(1, (2,)), header)


def test_a_name_that_is_not_utf8_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"m\.index is damaged.*utf-8"):
        index_of(tmp_path, Entry(1, (2,)), name=b"\xff")


def test_an_unknown_name_is_an_error_with_the_nearest_one(tmp_path: Path) -> None:
    write_bundle(tmp_path / "m", ARRAYS.items())
    with pytest.raises(SourceError, match="no variable 'global_stop' among its 6; the nearest is 'global_step'"):
        TensorBundle(tmp_path / "m").read("global_stop")


def test_rows_of_what_has_none_are_the_callers_mistake(tmp_path: Path) -> None:
    write_bundle(tmp_path / "m", ARRAYS.items())
    bundle = TensorBundle(tmp_path / "m")
    for name, rows in (("global_step", 5), ("half", 0)):
        with pytest.raises(UsageError, match=f"{name} of shape .* cannot be given by {rows} rows"):
            next(bundle.iterate_rows(name, rows))


def test_a_variable_cut_by_columns_is_read_whole_only(tmp_path: Path) -> None:
    array = np.arange(20, dtype="<f4").reshape(4, 5)
    cuts = [((0, 4), (0, 2)), ((0, 4), (2, 3))]
    entries, data = {b"v": Entry(1, (4, 5), slices=tuple(cuts))}, b""
    for cut in cuts:
        raw = np.ascontiguousarray(array[:, cut[1][0] : sum(cut[1])]).tobytes()
        entries[slice_key("v", cut)] = Entry(1, (4, cut[1][1]), 0, len(data), len(raw), mask(crc32c(raw)))
        data += raw
    items = {b"": serialise_header(Header(1))} | {key: serialise_entry(entry) for key, entry in entries.items()}
    with (tmp_path / "m.index").open("wb") as file:
        write_table(file, sorted(items.items()))
    (tmp_path / "m.data-00000-of-00001").write_bytes(data)
    bundle = TensorBundle(tmp_path / "m")
    assert_equal(bundle.read("v"), array)
    with pytest.raises(UsageError, match="cut along axis 1"):
        next(bundle.iterate_rows("v", 2))


def test_no_flipped_bit_gives_another_number(tmp_path: Path) -> None:
    expected = saved(tmp_path / "m", PLAIN, PLAIN_DATA).read("dense/kernel")
    for file, original in ((tmp_path / "m.index", PLAIN), (tmp_path / "m.data-00000-of-00001", PLAIN_DATA)):
        for place in range(len(original)):
            flipped = original[place] ^ 1 << place % 8
            file.write_bytes(original[:place] + bytes([flipped]) + original[place + 1 :])
            with contextlib.suppress(SourceError):
                assert_equal(TensorBundle(tmp_path / "m").read("dense/kernel"), expected)
        file.write_bytes(original)


def test_a_data_file_cut_off_anywhere_is_an_error(tmp_path: Path) -> None:
    for length in range(len(PLAIN_DATA)):
        bundle = saved(tmp_path / "m", PLAIN, PLAIN_DATA[:length])
        with pytest.raises(SourceError, match="cut off"):
            bundle.read("global_step")


def test_a_wrong_checksum_is_raised_after_the_last_row(tmp_path: Path) -> None:
    bundle = saved(tmp_path / "m", PLAIN, PLAIN_DATA[:12] + b"\x01" + PLAIN_DATA[13:])
    rows = bundle.iterate_rows("dense/kernel", 1)
    assert next(rows).shape == next(rows).shape == (1, 3)
    with pytest.raises(SourceError, match="dense/kernel do not match their checksum"):
        next(rows)


def test_a_checkpoint_without_index_is_an_error_that_says_what_is_expected(tmp_path: Path) -> None:
    (tmp_path / "m").touch()
    with pytest.raises(SourceError, match=r"m\.index is missing; expected a TensorFlow V2 checkpoint"):
        TensorBundle(tmp_path / "m")
