"""The wire format of protocol buffers, as far as tf.Example and TensorFlow's checkpoints use it.

A message is a row of fields, each a tag (number and wire type) and a value. Knows no message in particular,
and no path: whoever calls adds the name of the file to the error.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from realm.errors import SourceError

VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
FIXED32: Final = 5

_VARINT_BYTES: Final = 10


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    """The unsigned number of up to 64 bits at `position`, seven bits a byte, and the position after it.

    Raises:
        SourceError: The bytes end inside the number, or it has more than 64 bits.
    """
    value = shift = 0
    for place in range(position, min(position + _VARINT_BYTES, len(data))):
        byte = data[place]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >= 1 << 64:
                break
            return value, place + 1
        shift += 7
    if position + _VARINT_BYTES > len(data):
        raise SourceError(f"the bytes end inside a number that starts at byte {position}")
    raise SourceError(f"the number at byte {position} has more than 64 bits")


def write_varint(value: int) -> bytes:
    """`value` in seven bits a byte; a negative one as its 64-bit two's complement, in ten bytes."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def signed(value: int) -> int:
    """A 64-bit unsigned number read as two's complement."""
    return value - (1 << 64) if value >= 1 << 63 else value


def iterate_fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Every field of a message, in order: its number, and an int for a varint, bytes for any other wire type.

    Raises:
        SourceError: A field is cut off, has the number 0, or a wire type other than 0, 1, 2 and 5.
    """
    position = 0
    while position < len(data):
        tag, start = read_varint(data, position)
        number, wire_type = tag >> 3, tag & 7
        if number == 0:
            raise SourceError(f"the field at byte {position} has the number 0")
        if wire_type == VARINT:
            value, position = read_varint(data, start)
            yield number, value
            continue
        if wire_type == BYTES:
            count, start = read_varint(data, start)
        elif wire_type in (FIXED32, FIXED64):
            count = 4 if wire_type == FIXED32 else 8
        else:
            raise SourceError(f"field {number} at byte {position} has wire type {wire_type}; known are 0, 1, 2, 5")
        if start + count > len(data):
            raise SourceError(f"field {number} at byte {position} needs {count} bytes, {len(data) - start} are left")
        position = start + count
        yield number, data[start:position]


def varint_field(number: int, value: int) -> bytes:
    """A field holding an integer."""
    return write_varint(number << 3 | VARINT) + write_varint(value)


def bytes_field(number: int, value: bytes) -> bytes:
    """A field holding bytes, a text or a message."""
    return write_varint(number << 3 | BYTES) + write_varint(len(value)) + value


def fixed32_field(number: int, value: int) -> bytes:
    """A field holding four bytes, lowest first."""
    return write_varint(number << 3 | FIXED32) + value.to_bytes(4, "little")
