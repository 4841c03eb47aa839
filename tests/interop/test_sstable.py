"""Sorted tables: what is written comes back, TensorFlow's own is read, and no damaged one is taken for good."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realm.errors import SourceError
from realm.interop.crc32c import crc32c, mask
from realm.interop.sstable import read_table, write_table

Items: TypeAlias = list[tuple[bytes, bytes]]
ByHand: TypeAlias = Callable[[list[Items]], bytes]

ITEMS = [(b"", b"head"), (b"bert/a", b"1"), (b"bert/ab", b""), (b"bert/b", b"x" * 20), (b"\xff", b"\x00")]


def written(path: Path, items: Items, block_bytes: int = 1 << 18) -> bytes:
    with path.open("wb") as file:
        write_table(file, items, block_bytes=block_bytes)
    return path.read_bytes()


def checked(content: bytes, kind: bytes = b"\x00") -> bytes:
    return content + kind + mask(crc32c(content + kind)).to_bytes(4, "little")


def file_of(block: bytes, kind: bytes = b"\x00") -> bytes:
    """A table of one block of any content, with right checksums."""
    first = checked(block, kind)
    meta = checked(b"\x00\x00\x00\x00\x01\x00\x00\x00")
    handle = bytes([0, len(block)])
    index = checked(b"\x00\x01\x02z" + handle + b"\x00\x00\x00\x00\x01\x00\x00\x00")
    assert len(first) + len(meta) < 128
    footer = bytes([len(first), len(meta) - 5, len(first) + len(meta), len(index) - 5])
    return first + meta + index + footer.ljust(40, b"\x00") + bytes.fromhex("57fb808b247547db")


def test_a_table_has_the_bytes_of_the_format(tmp_path: Path) -> None:
    entries = b"\x00\x01\x01a1" + b"\x01\x01\x01b2" + b"\x02\x01\x00c"  # "ab" and "abc" share what came before
    block = checked(entries + b"\x00\x00\x00\x00" + b"\x01\x00\x00\x00")
    meta = checked(b"\x00\x00\x00\x00\x01\x00\x00\x00")
    index = checked(b"\x00\x03\x02abc" + bytes([0, len(block) - 5]) + b"\x00\x00\x00\x00\x01\x00\x00\x00")
    footer = bytes([len(block), 8, len(block) + len(meta), len(index) - 5])
    expected = block + meta + index + footer.ljust(40, b"\x00") + (0xDB4775248B80FB57).to_bytes(8, "little")
    assert written(tmp_path / "t", [(b"a", b"1"), (b"ab", b"2"), (b"abc", b"")]) == expected


@given(
    items=st.dictionaries(st.binary(max_size=12), st.binary(max_size=30), max_size=40),
    block_bytes=st.sampled_from([1, 40, 200, 1 << 18]),
)
@settings(max_examples=40)
def test_items_come_back_in_blocks_of_any_size(
    tmp_path_factory: pytest.TempPathFactory, items: dict[bytes, bytes], block_bytes: int
) -> None:
    path = tmp_path_factory.mktemp("tables") / "t"
    written(path, sorted(items.items()), block_bytes)
    assert list(read_table(path)) == sorted(items.items())


def test_keys_of_a_common_beginning_take_little_room_in_one_block_or_many(tmp_path: Path) -> None:
    items = [(b"module/module/module/bert/encoder/layer_%05d" % place, b"") for place in range(2000)]
    one, many = written(tmp_path / "one", items), written(tmp_path / "many", items, 512)
    assert len(one) < sum(len(key) for key, _ in items) / 4
    assert list(read_table(tmp_path / "one")) == list(read_table(tmp_path / "many")) == items
    assert many != one


def test_a_table_by_another_writer_is_read(tmp_path: Path, index_by_hand: ByHand) -> None:
    path = tmp_path / "t"
    path.write_bytes(index_by_hand([ITEMS[:1], ITEMS[1:4], ITEMS[4:]]))
    assert list(read_table(path)) == ITEMS


def test_a_table_without_items_is_read(tmp_path: Path) -> None:
    written(tmp_path / "t", [])
    assert list(read_table(tmp_path / "t")) == []


def test_no_flipped_bit_gives_other_items(tmp_path: Path) -> None:
    path = tmp_path / "t"
    data = written(path, ITEMS, 20)
    harmless = 0
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :])
        with contextlib.suppress(SourceError):
            assert list(read_table(path)) == ITEMS
            harmless += 1
    assert harmless < 40  # only the zeros of the footer say nothing


def test_a_table_cut_off_anywhere_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "t"
    data = written(path, ITEMS)
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(SourceError, match="not a checkpoint index, or cut off"):
            list(read_table(path))


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (b"", "shorter than the list"),
        (b"\xff\xff\xff\xff", "shorter than the list"),
        (b"\x01\x01\x01ab\x00\x00\x00\x00\x01\x00\x00\x00", "does not fit into its block"),
        (b"\x00\x01\x09ab\x00\x00\x00\x00\x01\x00\x00\x00", "does not fit into its block"),
        (b"\x00\xff\xff\xff\xff\x0f\x01a\x00\x00\x00\x00\x01\x00\x00\x00", "does not fit into its block"),
        (b"\x00\x80\x00\x00\x00\x00\x01\x00\x00\x00", "does not fit|end inside a number"),
        (b"\x00\x01\x00b\x00\x01\x00a\x00\x00\x00\x00\x01\x00\x00\x00", "keys do not ascend at b'a'"),
        (b"\x00\x01\x00a\x00\x01\x00a\x00\x00\x00\x00\x01\x00\x00\x00", "keys do not ascend at b'a'"),
    ],
)
def test_a_block_with_a_right_checksum_and_wrong_content_is_an_error(
    tmp_path: Path, block: bytes, message: str
) -> None:
    (tmp_path / "t").write_bytes(file_of(block))
    with pytest.raises(SourceError, match=message):
        list(read_table(tmp_path / "t"))


def test_a_compressed_block_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(file_of(b"\x00\x00\x00\x00\x01\x00\x00\x00", b"\x01"))
    with pytest.raises(SourceError, match=r"compressed \(type 1\); save without compression"):
        list(read_table(tmp_path / "t"))


def test_a_handle_beyond_the_file_is_an_error(tmp_path: Path) -> None:
    data = written(tmp_path / "t", ITEMS)
    (tmp_path / "t").write_bytes(data[:-48] + (b"\xff" * 8 + b"\x01").ljust(40, b"\x7f") + data[-8:])
    with pytest.raises(SourceError, match="does not fit in"):
        list(read_table(tmp_path / "t"))


def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="absent cannot be read"):
        list(read_table(tmp_path / "absent"))


def test_a_small_file_that_stands_for_endless_keys_is_an_error(tmp_path: Path) -> None:
    data = written(tmp_path / "t", [(b"a" * 4096 + number.to_bytes(4), b"") for number in range(4200)])
    assert len(data) < 2 << 20
    with pytest.raises(SourceError, match="its keys take over 16 MiB"):
        list(read_table(tmp_path / "t"))
