"""A second writer of TensorFlow checkpoints, as plain as can be and sharing nothing with ours."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

WriteByHand: TypeAlias = Callable[[Path, Mapping[str, np.ndarray[Any, Any]]], None]

TYPE_NUMBERS = {"float32": 1, "float64": 2, "int32": 3, "uint8": 4, "int64": 9, "bool": 10, "float16": 19}


def stored_crc(data: bytes) -> bytes:
    """Masked CRC-32C, bit by bit."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0x82F63B78 if register & 1 else 0)
    crc = register ^ 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def number(value: int) -> bytes:
    """Seven bits a byte."""
    return bytes([value]) if value < 128 else bytes([value % 128 + 128]) + number(value // 128)


def block(entries: list[tuple[bytes, bytes]]) -> bytes:
    """A block in which every key is whole, and so every entry is in the list at the end."""
    body, places = b"", []
    for key, value in entries:
        places.append(len(body))
        body += b"\x00" + number(len(key)) + number(len(value)) + key + value
    body += struct.pack(f"<{len(places) + 1}I", *places, len(places)) if places else struct.pack("<2I", 0, 1)
    return body + b"\x00" + stored_crc(body + b"\x00")


def table(blocks: list[list[tuple[bytes, bytes]]]) -> bytes:
    """A whole index file."""
    data, handles = b"", []
    for entries in blocks:
        content = block(entries)
        handles.append((entries[-1][0] + b"~", number(len(data)) + number(len(content) - 5)))
        data += content
    meta = number(len(data)) + number(len(block([])) - 5)
    data += block([])
    last = block(handles)
    footer = meta + number(len(data)) + number(len(last) - 5)
    return data + last + footer + bytes(40 - len(footer)) + bytes.fromhex("57fb808b247547db")


def write_by_hand(prefix: Path, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """One data file, in it the variables in reverse with gaps between them; two blocks of index."""
    data = b"gap"
    entries = []
    for name, array in sorted(arrays.items(), reverse=True):
        raw = array.tobytes()
        shape = b"".join(b"\x12" + number(len(number(size)) + 1) + b"\x08" + number(size) for size in array.shape)
        value = b"\x08" + number(TYPE_NUMBERS[array.dtype.name]) + b"\x12" + number(len(shape)) + shape
        value += b"\x18\x00\x20" + number(len(data)) + b"\x28" + number(len(raw)) + b"\x35" + stored_crc(raw)
        entries.append((name.encode(), value))
        data += raw + b"gap"
    entries.append((b"", b"\x08\x01\x10\x00\x1a\x02\x08\x01"))
    entries.reverse()
    half = (len(entries) + 1) // 2
    blocks = [part for part in (entries[:half], entries[half:]) if part]
    Path(f"{prefix}.index").write_bytes(table(blocks))
    Path(f"{prefix}.data-00000-of-00001").write_bytes(data)


@pytest.fixture
def by_hand() -> WriteByHand:
    return write_by_hand


@pytest.fixture
def index_by_hand() -> Callable[[list[list[tuple[bytes, bytes]]]], bytes]:
    return table
