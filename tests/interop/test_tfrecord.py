"""TFRecord files: framing, checksums, both compressions, and everything that can be wrong with a file."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realm.errors import SourceError, UsageError
from realm.interop.crc32c import crc32c, mask
from realm.interop.tfrecord import Compression, iterate_tfrecord, write_tfrecord

RECORDS = [b"", b"a block of text", bytes(range(256)) * 20]
# One record as TensorFlow 2.21 writes it.
GOLDEN = bytes.fromhex("0500000000000000eab2043e") + b"realm" + bytes.fromhex("9e70838e")


def framed(payload: bytes, length: int | None = None) -> bytes:
    head = struct.pack("<Q", len(payload) if length is None else length)
    return head + struct.pack("<I", mask(crc32c(head))) + payload + struct.pack("<I", mask(crc32c(payload)))


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_records_come_back_in_order(tmp_path: Path, compression: Compression) -> None:
    path = tmp_path / "a.tfr"
    assert write_tfrecord(path, iter(RECORDS), compression=compression) == 3
    assert list(iterate_tfrecord(path)) == RECORDS
    assert [file.name for file in tmp_path.iterdir()] == ["a.tfr"]


def test_a_written_file_has_the_bytes_of_the_format(tmp_path: Path) -> None:
    path = tmp_path / "a.tfr"
    write_tfrecord(path, [b"realm"])
    assert path.read_bytes() == GOLDEN


@settings(max_examples=30)
@given(records=st.lists(st.binary(max_size=300), max_size=8), compression=st.sampled_from(["none", "gzip"]))
def test_arbitrary_records_round_trip(
    tmp_path_factory: pytest.TempPathFactory, records: list[bytes], compression: Compression
) -> None:
    path = tmp_path_factory.mktemp("records") / "a.tfr"
    write_tfrecord(path, records, compression=compression)
    assert list(iterate_tfrecord(path)) == records


def test_equal_records_give_equal_gzip_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_tfrecord(tmp_path / name, RECORDS, compression="gzip")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_plain_file_whose_length_looks_like_gzip_is_read_as_plain(tmp_path: Path) -> None:
    path = tmp_path / "a.tfr"
    record = b"x" * 0x8B1F
    write_tfrecord(path, [record])
    assert path.read_bytes()[:2] == b"\x1f\x8b"
    assert list(iterate_tfrecord(path)) == [record]


def test_an_empty_file_has_no_records(tmp_path: Path) -> None:
    path = tmp_path / "a.tfr"
    path.touch()
    assert list(iterate_tfrecord(path)) == []


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_a_file_cut_off_anywhere_gives_whole_records_and_then_an_error(
    tmp_path: Path, compression: Compression
) -> None:
    path = tmp_path / "a.tfr"
    records = [b"one", b"", b"three"]
    write_tfrecord(path, records, compression=compression)
    data = path.read_bytes()
    borders = {0, 19, 35} if compression == "none" else {0}
    for length in range(len(data)):
        path.write_bytes(data[:length])
        seen = []
        if length in borders:
            seen = list(iterate_tfrecord(path))
        else:
            with pytest.raises(SourceError, match=r"cut off|TFRecord"):
                seen.extend(iterate_tfrecord(path))
        assert seen == records[: len(seen)]


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_no_flipped_bit_gives_a_wrong_record(tmp_path: Path, compression: Compression) -> None:
    path = tmp_path / "a.tfr"
    records = [b"one", b"two"]
    write_tfrecord(path, records, compression=compression)
    data = path.read_bytes()
    for place in range(len(data)):
        for bit in (0x01, 0x80):
            path.write_bytes(data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :])
            seen = []
            try:
                seen.extend(iterate_tfrecord(path))
            except SourceError:
                assert seen == records[: len(seen)]
            else:  # a byte of gzip's own header that means nothing
                assert compression == "gzip"
                assert seen == records


def test_a_damaged_record_is_named_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "a.tfr"
    damaged = bytearray(framed(b"two"))
    damaged[13] ^= 1
    path.write_bytes(framed(b"one") + damaged)
    with pytest.raises(SourceError, match=r"record 1 of .*a\.tfr: its 3 bytes do not match their checksum"):
        list(iterate_tfrecord(path))


@pytest.mark.parametrize("length", [1 << 29, 1 << 62, 2**64 - 1])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_an_absurd_length_with_a_right_checksum_is_refused_before_memory_is_taken(
    tmp_path: Path, length: int, pack: type[bytes]
) -> None:
    path = tmp_path / "a.tfr"
    path.write_bytes(pack(framed(b"", length)))
    with pytest.raises(SourceError, match=f"record 0 of .* claims {length} bytes"):
        list(iterate_tfrecord(path))


def test_the_longest_record_allowed_is_read_and_one_byte_more_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.tfr"
    write_tfrecord(path, [b"x" * 10, b"x" * 11])
    records = iterate_tfrecord(path, max_record_bytes=10)
    assert next(records) == b"x" * 10
    with pytest.raises(SourceError, match="claims 11 bytes; at most 10"):
        next(records)


@pytest.mark.parametrize(
    "data", [b"a text that is no record file at all", gzip.compress(b"no records either, sorry")], ids=["text", "gzip"]
)
def test_another_kind_of_file_is_an_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.tfr"
    path.write_bytes(data)
    with pytest.raises(SourceError, match="not a TFRecord file"):
        list(iterate_tfrecord(path))


def test_a_missing_file_and_a_folder_are_errors_that_name_the_path(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.tfr", tmp_path):
        with pytest.raises(SourceError, match=f"{path.name} cannot be read"):
            list(iterate_tfrecord(path))


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.tfr"
    write_tfrecord(path, [b"old"])

    def records() -> object:
        yield b"new"
        raise KeyError

    with pytest.raises(KeyError):
        write_tfrecord(path, records())  # type: ignore[arg-type]
    assert list(iterate_tfrecord(path)) == [b"old"]
    assert list(tmp_path.iterdir()) == [path]


def test_an_unknown_compression_is_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'zlib'; expected 'none' or 'gzip'"):
        write_tfrecord(tmp_path / "a", [], compression="zlib")  # type: ignore[arg-type]
