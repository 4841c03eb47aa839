"""What the index of a TensorFlow checkpoint says of each variable, and of the checkpoint as a whole.

    BundleHeaderProto   1: data files, 2: byte order (0 little), 3: version (1: producer, 2: least consumer)
    BundleEntryProto    1: type, 2: shape, 3: data file, 4: offset, 5: bytes, 6: masked CRC-32C, 7: slices
    TensorShapeProto    2: dimensions (1: size)
    TensorSliceProto    1: extents (1: start, 2: length; without a length the whole axis)

The header stands under the empty key, a variable under its name, a slice of one under `slice_key`. Knows no
file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from realm.errors import SourceError
from realm.interop.wire import bytes_field, fixed32_field, iterate_fields, signed, varint_field

Slice: TypeAlias = tuple[tuple[int, int] | None, ...]
"""Start and length on each axis; None for the whole axis."""

VERSION: Final = 1
DTYPES: Final = {
    1: "float32",
    2: "float64",
    3: "int32",
    4: "uint8",
    5: "int16",
    6: "int8",
    7: "string",
    8: "complex64",
    9: "int64",
    10: "bool",
    14: "bfloat16",
    17: "uint16",
    18: "complex128",
    19: "float16",
    22: "uint32",
    23: "uint64",
}


@dataclass(frozen=True, slots=True)
class Header:
    """The checkpoint as a whole.

    Attributes:
        shards: Number of data files.
        big_endian: Whether numbers in the data files have their highest byte first.
        least_consumer: Lowest version of the format a reader must know.
    """

    shards: int
    big_endian: bool = False
    least_consumer: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """One variable, or one slice of one.

    Attributes:
        dtype: Number of the type in `DTYPES`.
        shape: Of the whole variable.
        shard: Which data file.
        offset: First byte in it.
        size_bytes: How many bytes.
        masked_crc: Their checksum, masked.
        slices: The slices that make up the variable, each with an entry of its own; then this one has no
            data.
    """

    dtype: int
    shape: tuple[int, ...]
    shard: int = 0
    offset: int = 0
    size_bytes: int = 0
    masked_crc: int = 0
    slices: tuple[Slice, ...] = ()


def parse_header(data: bytes) -> Header:
    """The value under the empty key."""
    numbers = {number: value for number, value in iterate_fields(data) if isinstance(value, int)}
    version = {
        number: value
        for outer, message in iterate_fields(data)
        if outer == 3
        for number, value in iterate_fields(_message(message))
        if isinstance(value, int)
    }
    return Header(numbers.get(1, 0), numbers.get(2, 0) != 0, version.get(2, 0))


def serialise_header(header: Header) -> bytes:
    """A header of this version, byte order little."""
    return varint_field(1, header.shards) + bytes_field(3, varint_field(1, VERSION))


def parse_entry(data: bytes) -> Entry:
    """The value under a name."""
    numbers: dict[int, int] = {}
    shape: tuple[int, ...] = ()
    slices: list[Slice] = []
    for number, value in iterate_fields(data):
        if number == 2:
            shape += tuple(_dimension(_message(item)) for inner, item in iterate_fields(_message(value)) if inner == 2)
        elif number == 7:
            slices.append(_slice(_message(value)))
        elif number == 6:
            numbers[6] = int.from_bytes(_message(value), "little")
        elif isinstance(value, int):
            numbers[number] = signed(value)
    dtype, shard, offset, size_bytes, crc = (numbers.get(number, 0) for number in (1, 3, 4, 5, 6))
    entry = Entry(dtype, shape, shard, offset, size_bytes, crc, tuple(slices))
    if min(entry.shard, entry.offset, entry.size_bytes, *entry.shape) < 0:
        raise SourceError("a size or an offset is negative; the index is damaged")
    return entry


def serialise_entry(entry: Entry) -> bytes:
    """An entry byte for byte as TensorFlow writes it: zeros are left out."""
    shape = b"".join(bytes_field(2, varint_field(1, size) if size else b"") for size in entry.shape)
    numbers = ((3, entry.shard), (4, entry.offset), (5, entry.size_bytes))
    return b"".join(
        (
            varint_field(1, entry.dtype),
            bytes_field(2, shape),
            *(varint_field(number, value) for number, value in numbers if value),
            fixed32_field(6, entry.masked_crc) if entry.masked_crc else b"",
            *(bytes_field(7, b"".join(map(_extent, part))) for part in entry.slices),
        )
    )


def slice_key(name: str, part: Slice) -> bytes:
    """Key of a slice: 0, name, number of axes, start and length of each; in TensorFlow's "ordered code"."""
    escaped = name.encode("utf-8").replace(b"\x00", b"\x00\xff")  # the code escapes 0xff too, which UTF-8 has not
    numbers = (number for axis in part for number in (axis or (0, -1)))
    return b"\x00" + escaped + b"\x00\x01\x01" + bytes([len(part)]) + b"".join(map(_ordered, numbers))


def _ordered(number: int) -> bytes:
    """A signed number whose bytes sort as the numbers do: the leading bits tell length and sign."""
    magnitude = ~number if number < 0 else number
    length = magnitude.bit_length() // 7 + 1
    ones = ((1 << length) - 1) << (8 * length - length)  # `length` leading ones, flipped for a negative number
    return ((number ^ ones) & ((1 << 8 * length) - 1)).to_bytes(length, "big")


def ordered_slices(name: str, entry: Entry, entries: Mapping[bytes, Entry]) -> tuple[int, list[Entry]]:
    """The entries that hold the data of a sliced variable, in order, and the axis along which they follow.

    Raises:
        SourceError: The variable is cut along several axes, or its slices leave a gap, overlap or are not
            there.
    """
    whole = [(0, size) for size in entry.shape]
    if any(len(part) != len(whole) for part in entry.slices):
        raise SourceError(f"the slices of {name} have another number of axes than its shape {entry.shape}")
    cut = {axis for part in entry.slices for axis in range(len(whole)) if part[axis] not in (None, whole[axis])}
    if len(cut) > 1:
        raise SourceError(f"{name} is cut along {len(cut)} axes; only variables cut along one can be read")
    axis = min(cut, default=0)
    parts, start = [], 0
    for part in sorted(entry.slices, key=lambda part: part[axis] or whole[axis]):
        first, length = part[axis] or whole[axis]
        shape = (*entry.shape[:axis], length, *entry.shape[axis + 1 :])
        found = entries.get(slice_key(name, part))
        if found is None or first != start or (found.dtype, found.shape, found.slices) != (entry.dtype, shape, ()):
            raise SourceError(f"the slice of {name} that starts at {start} of {entry.shape[axis]} is not there")
        parts.append(found)
        start += length
    if start != entry.shape[axis]:
        raise SourceError(f"the slices of {name} end at {start} of {entry.shape[axis]}")
    return axis, parts


def _message(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise SourceError("found a number where a message is expected; the index is damaged")
    return value


def _dimension(data: bytes) -> int:
    return next((signed(value) for number, value in iterate_fields(data) if number == 1 and isinstance(value, int)), 0)


def _slice(data: bytes) -> Slice:
    axes: list[tuple[int, int] | None] = []
    for number, extent in iterate_fields(data):
        if number == 1:
            numbers = {inner: signed(item) for inner, item in iterate_fields(_message(extent)) if isinstance(item, int)}
            axes.append((numbers.get(1, 0), numbers[2]) if 2 in numbers else None)
    return tuple(axes)


def _extent(axis: tuple[int, int] | None) -> bytes:
    if axis is None:
        return bytes_field(1, b"")
    return bytes_field(1, (varint_field(1, axis[0]) if axis[0] else b"") + varint_field(2, axis[1]))
