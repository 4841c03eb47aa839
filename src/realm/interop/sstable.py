"""Sorted tables of keys and values, the format in which TensorFlow keeps the index of a checkpoint.

    block   entries; offsets of entries with a whole key; their number; 1 byte compression, 4 bytes masked CRC
    entry   bytes shared with the key before, further bytes, length of the value; these bytes, the value
    file    blocks of entries; a block of none; a block of (last key, handle) of each; footer of 48 bytes
    footer  two handles (offset, size), zeros, magic

Knows nothing of what keys and values mean. Source: LevelDB's `doc/table_format.md`, from which the format
comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from realm.errors import SourceError
from realm.interop.crc32c import crc32c, mask
from realm.interop.wire import read_varint, write_varint

BLOCK_BYTES: Final = 1 << 18

_MAGIC: Final = (0xDB4775248B80FB57).to_bytes(8, "little")
_FOOTER_BYTES: Final = 48
_TRAILER_BYTES: Final = 5
_WHOLE_KEY_EVERY: Final = 16
_MOST_KEY_BYTES: Final = 16 << 20


def read_table(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Every key with its value, in ascending order of keys. The file is read as a whole: an index is small.

    Raises:
        SourceError: The file cannot be read, is not such a table, is compressed, or a checksum is wrong.
    """
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise SourceError(f"{path} cannot be read: {exc.strerror}") from exc
    try:
        yield from _entries_of_file(data)
    except SourceError as exc:
        raise SourceError(f"{path}: {exc}") from exc


def write_table(file: BinaryIO, items: Iterable[tuple[bytes, bytes]], *, block_bytes: int = BLOCK_BYTES) -> None:
    """Write keys, which must ascend, with their values.

    Args:
        file: Written from where it stands.
        items: Keys and values.
        block_bytes: A block is closed once it has this size.
    """
    start = file.tell()
    index = _Block(whole_key_every=1)
    block = _Block()
    for key, value in items:
        block.add(key, value)
        if block.size_bytes >= block_bytes:
            index.add(block.last_key, _write_block(file, block, start))
            block = _Block()
    if block.last_key or block.size_bytes:
        index.add(block.last_key, _write_block(file, block, start))
    handles = _write_block(file, _Block(), start) + _write_block(file, index, start)
    file.write(handles.ljust(_FOOTER_BYTES - len(_MAGIC), b"\x00") + _MAGIC)


class _Block:
    """Entries on their way into a file."""

    def __init__(self, whole_key_every: int = _WHOLE_KEY_EVERY) -> None:
        self.last_key = b""
        self._every = whole_key_every
        self._data = bytearray()
        self._whole: list[int] = []
        self._count = 0

    @property
    def size_bytes(self) -> int:
        return len(self._data)

    def add(self, key: bytes, value: bytes) -> None:
        shared = 0
        if self._count % self._every == 0:
            self._whole.append(len(self._data))
        else:
            for ours, theirs in zip(key, self.last_key, strict=False):
                if ours != theirs:
                    break
                shared += 1
        rest = key[shared:]
        self._data += write_varint(shared) + write_varint(len(rest)) + write_varint(len(value)) + rest + value
        self.last_key = key
        self._count += 1

    def finish(self) -> bytes:
        whole = self._whole or [0]
        numbers = [*whole, len(whole)]
        return bytes(self._data) + b"".join(number.to_bytes(4, "little") for number in numbers)


def _write_block(file: BinaryIO, block: _Block, start: int) -> bytes:
    """Write a block, not compressed, and give its handle."""
    offset = file.tell() - start
    content = block.finish()
    file.write(content + b"\x00" + mask(crc32c(content + b"\x00")).to_bytes(4, "little"))
    return write_varint(offset) + write_varint(len(content))


def _entries_of_file(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    if len(data) < _FOOTER_BYTES or data[-len(_MAGIC) :] != _MAGIC:
        raise SourceError("not a checkpoint index, or cut off: its last eight bytes are not those of one")
    footer = data[-_FOOTER_BYTES:]
    meta, position = _handle(footer, 0)
    index, _ = _handle(footer, position)
    _block(data, *meta)  # empty, but its checksum shows a damaged footer
    last: bytes | None = None
    key_bytes = 0
    for _, value in _entries(_block(data, *index)):
        handle, _ = _handle(value, 0)
        for key, content in _entries(_block(data, *handle)):
            if last is not None and key <= last:
                raise SourceError(f"its keys do not ascend at {key[:60]!r}; the file is damaged")
            # A few bytes repeat a key of any length, so that a small file could stand for more than fits in memory.
            key_bytes += len(key)
            if key_bytes > _MOST_KEY_BYTES:
                raise SourceError(f"its keys take over {_MOST_KEY_BYTES >> 20} MiB; this is no index of a checkpoint")
            yield key, content
            last = key


def _handle(data: bytes, position: int) -> tuple[tuple[int, int], int]:
    offset, position = read_varint(data, position)
    size, position = read_varint(data, position)
    return (offset, size), position


def _block(data: bytes, offset: int, size: int) -> bytes:
    """Content of a block whose checksum is right."""
    end = offset + size
    if end + _TRAILER_BYTES > len(data) - _FOOTER_BYTES:
        raise SourceError(f"a block of {size} bytes at byte {offset} does not fit in; the file is damaged")
    if mask(crc32c(data[offset : end + 1])).to_bytes(4, "little") != data[end + 1 : end + _TRAILER_BYTES]:
        raise SourceError(f"the block at byte {offset} does not match its checksum; fetch the file again")
    if data[end]:
        raise SourceError(f"the block at byte {offset} is compressed (type {data[end]}); save without compression")
    return data[offset:end]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    whole_keys = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 - 4 * whole_keys
    if end < 0:
        raise SourceError("a block is shorter than the list at its end; the file is damaged")
    key, position = b"", 0
    while position < end:
        shared, position = read_varint(block, position)
        rest_bytes, position = read_varint(block, position)
        value_bytes, position = read_varint(block, position)
        start = position + rest_bytes
        if shared > len(key) or start + value_bytes > end:
            raise SourceError("an entry does not fit into its block; the file is damaged")
        key = key[:shared] + block[position:start]
        position = start + value_bytes
        yield key, block[start:position]
