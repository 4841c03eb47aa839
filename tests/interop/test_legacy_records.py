"""`block_records.npy`: what pickle reads is the oracle for good files; wrong ones are errors that say why."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realm.errors import SourceError, UnsafeFileError, UsageError
from realm.interop.legacy_records import iterate_block_records, read_block_records, write_block_records

RECORDS = [b"one", b"", b"\x00\xff\n", b"x" * 255, b"y" * 256, b"z" * 70_000, b""]


def npy(body: bytes, count: int = 2, version: int = 1) -> bytes:
    """An npy file of `count` objects whose pickle is `body`."""
    text = f"{{'descr': '|O', 'fortran_order': False, 'shape': ({count},), }}\n".encode()
    return b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(2 * version, "little") + text + body


def object_array(records: list[Any]) -> np.ndarray[Any, Any]:
    array = np.empty(len(records), dtype=object)
    array[:] = records
    return array


def read(tmp_path: Path, data: bytes) -> list[bytes]:
    path = tmp_path / "block_records.npy"
    path.write_bytes(data)
    records = read_block_records(path)
    assert records.dtype == object
    assert list(iterate_block_records(path)) == records.tolist()
    return list(records)


def read_with_pickle(path: Path) -> list[bytes]:
    """What numpy does with the file: its own header reader, then pickle."""
    with path.open("rb") as file:
        assert np.lib.format.read_magic(file) == (1, 0)
        shape, order, dtype = np.lib.format.read_array_header_1_0(file)
        records = pickle.load(file)
        assert (file.read(), order, dtype, shape) == (b"", False, np.dtype(object), records.shape)
    return list(records)


# ------------------------------------------------------------------------------------------ good files


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_and_header_version_is_read(tmp_path: Path, protocol: int, version: int) -> None:
    records = RECORDS + [b"%d" % number for number in range(2500)]
    body = pickle.dumps(object_array(records), protocol)
    assert read(tmp_path, npy(body, len(records), version)) == records
    assert read(tmp_path, npy(pickletools.optimize(body), len(records), version)) == records


def test_what_numpy_saves_today_is_read(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, object_array(RECORDS))
    assert read(tmp_path, buffer.getvalue()) == RECORDS


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("records", [[], [b"alone"], [b""], [bytearray(b"\x00\xffab"), bytearray()]])
def test_few_records_and_bytearrays_are_read(tmp_path: Path, protocol: int, records: list[bytes]) -> None:
    body = pickle.dumps(object_array(records), protocol)
    assert read(tmp_path, npy(body, len(records))) == [bytes(record) for record in records]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_record_that_stands_twice_is_read_twice(tmp_path: Path, protocol: int) -> None:
    short, long = b"short", b"long" * 500
    records = [short, long] * 3 + [b"other"] * 300 + [long, short]
    assert read(tmp_path, npy(pickle.dumps(object_array(records), protocol), len(records))) == records


@pytest.mark.parametrize("descr", ["|S1", "|S7"])
def test_byte_strings_of_fixed_width_are_read_as_numpy_reads_them(tmp_path: Path, descr: str) -> None:
    array = np.array([b"abc", b"", b"a\x00b", b"longer than that"] * 700, dtype=descr)
    buffer = io.BytesIO()
    np.save(buffer, array)
    assert read(tmp_path, buffer.getvalue()) == array.tolist()


@settings(max_examples=30)
@given(st.lists(st.binary(max_size=400), max_size=12))
def test_what_is_written_comes_back_and_pickle_reads_it_too(
    tmp_path_factory: pytest.TempPathFactory, records: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("records") / "block_records.npy"
    assert write_block_records(path, iter(records)) == len(records)
    assert read_block_records(path).tolist() == records == read_with_pickle(path)


def test_many_batches_are_written_so_that_pickle_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "block_records.npy"
    records = RECORDS + [b"%d" % number for number in range(3000)]
    write_block_records(path, np.array(records, dtype=object))
    assert read_with_pickle(path) == records == read_block_records(path).tolist()
    assert os.listdir(tmp_path) == ["block_records.npy"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "block_records.npy"
    write_block_records(path, [b"old"])
    with pytest.raises(UsageError, match="of type str; expected bytes"):
        write_block_records(path, [b"new", "text"])  # type: ignore[list-item]
    assert read_block_records(path).tolist() == [b"old"]
    assert os.listdir(tmp_path) == ["block_records.npy"]


def test_records_are_given_out_before_the_end_of_the_file_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "block_records.npy"
    write_block_records(path, [b"%d" % number for number in range(5000)])
    path.write_bytes(path.read_bytes()[:-1])
    seen = []
    with pytest.raises(SourceError, match="cut off"):
        seen.extend(iterate_block_records(path))
    first = iterate_block_records(path)
    assert [next(first) for _ in range(3)] == [b"0", b"1", b"2"]


# ------------------------------------------------------------------------------------------ wrong files

PICKLED = pickle.dumps(object_array([b"one", b"two"]), 3)
GOOD = npy(PICKLED)


class Calls:
    """Pickled as a call of os.mkdir; unpickling makes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def test_a_file_that_calls_is_refused_with_its_path_and_the_name_of_what_it_calls(tmp_path: Path) -> None:
    body = pickle.dumps(object_array([b"a", Calls(tmp_path / "ran")]), 4)
    with pytest.raises(
        UnsafeFileError, match=r"block_records\.npy: the pickle asks for (posix|nt)\.mkdir, .*Nothing in the"
    ):
        read(tmp_path, npy(body))
    assert os.listdir(tmp_path) == ["block_records.npy"]


def test_a_file_cut_off_anywhere_is_an_error_that_names_it(tmp_path: Path) -> None:
    for length in range(len(GOOD)):
        with pytest.raises(SourceError, match=r"block_records\.npy"):
            read(tmp_path, GOOD[:length])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an npy file"),
        (b"\x80\x04.", "not an npy file"),
        (b"PK\x03\x04" + bytes(100), "not an npy file"),
        (GOOD.replace(b"'shape'", b"'shade'"), "header is damaged"),
        (GOOD.replace(b"'shape'", b"[[[[[[["), "header is damaged"),
        (b"\x93NUMPY\x03\x00" + GOOD[8:], "version 3.0; known are 1.0 and 2.0"),
        (npy(PICKLED, 10**15), "announces 1000000000000000 records, but the file has"),
        (npy(PICKLED, 3), "announces 3 records and its pickle holds 2"),
        (npy(PICKLED, 1), "announces 1 records, and more follow"),
        (GOOD.replace(b"(2,)", b"(2,1)"), r"shape \(2, 1\); expected one dimension"),
        (GOOD.replace(b"(2,)", b"()"), r"shape \(\); expected one dimension"),
        (GOOD.replace(b"|O", b"<f4"), "an array of float32; expected byte strings"),
        (GOOD.replace(b"|O", b"<U4"), "an array of <U4; expected byte strings"),
        (npy(b"abcd").replace(b"|O", b"|S3"), "cut off: 1 of its 2 records"),
        (npy(b"abcd").replace(b"|O", b"|S999999999"), "cut off: 0 of its 2 records"),
        (npy(b"").replace(b"|O", b"|S0"), "expected byte strings"),
    ],
)
def test_a_wrong_header_is_an_error_that_says_what_was_expected(tmp_path: Path, data: bytes, message: str) -> None:
    if data[8:10] != b"v\x00" and data.startswith(b"\x93NUMPY\x01"):  # the text may have another length now
        end = data.index(b"\n") + 1
        data = data[:8] + struct.pack("<H", end - 10) + data[10:]
    with pytest.raises(SourceError, match=message):
        read(tmp_path, data)


def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    for read_file in (read_block_records, lambda path: list(iterate_block_records(path))):
        with pytest.raises(SourceError, match=r"absent\.npy cannot be read"):
            read_file(tmp_path / "absent.npy")
