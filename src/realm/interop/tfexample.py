"""tf.Example messages read and written without TensorFlow or protobuf.

    Example      1: Features                          Feature    1: BytesList | 2: FloatList | 3: Int64List
    Features     1: map entry, repeated               each list  1: its values, one by one; or packed numbers
    map entry    1: name, 2: Feature

Knows no file: the records come from `tfrecord`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from realm.errors import SourceError, UsageError
from realm.interop.wire import bytes_field, iterate_fields, read_varint, write_varint

Feature: TypeAlias = list[bytes] | NDArray[np.int64] | NDArray[np.float32]

_BYTES_LIST: Final = 1
_FLOAT_LIST: Final = 2
_INT64_LIST: Final = 3

_SHORT_BYTES: Final = 64  # fewer are decoded sooner one by one


def parse_example(data: bytes) -> dict[str, Feature]:
    """The features of a serialised tf.Example by name, in the order in which they stand.

    Returns:
        A list of bytes, an int64 array or a float32 array for each; an empty list for a feature without a
        kind. Of two features with one name the last counts. Fields that tf.Example does not have are passed
        over.

    Raises:
        SourceError: The bytes are not such a message.
    """
    features: dict[str, Feature] = {}
    for number, message in iterate_fields(data):
        if number != 1:
            continue
        for inner, entry in iterate_fields(_as_bytes(message, "Features")):
            if inner == 1:
                name, feature = _entry(_as_bytes(entry, "a feature"))
                features[name] = feature
    return features


def serialise_example(
    features: Mapping[str, Feature | Sequence[bytes] | Sequence[int] | Sequence[float]],
) -> bytes:
    """A tf.Example with these features, sorted by name, so that equal features give equal bytes.

    Args:
        features: Lists of bytes, integers or floats, or arrays. Integers are kept as int64, floats as
            float32. An empty plain list has no kind, and is written as a feature without one.

    Raises:
        UsageError: The values of a feature are of another type, or of several.
    """
    entries = b"".join(
        bytes_field(1, bytes_field(1, name.encode("utf-8")) + bytes_field(2, _serialised_feature(name, values)))
        for name, values in sorted(features.items())
    )
    return bytes_field(1, entries)


def _as_bytes(value: int | bytes, what: str) -> bytes:
    if isinstance(value, int):
        raise SourceError(f"not a tf.Example: found a number where {what} is expected")
    return value


def _entry(data: bytes) -> tuple[str, Feature]:
    name, feature = b"", bytearray()
    for number, value in iterate_fields(data):
        if number == 1:
            name = _as_bytes(value, "a feature's name")
        elif number == 2:
            feature += _as_bytes(value, "a feature")  # two halves of a message merge, as protobuf has it
    try:
        return name.decode("utf-8"), _feature(bytes(feature))
    except UnicodeDecodeError as exc:
        raise SourceError(f"not a tf.Example: the feature name {name[:60]!r} is not UTF-8") from exc


def _feature(data: bytes) -> Feature:
    kind, values = 0, bytearray()
    for number, value in iterate_fields(data):
        if number not in (_BYTES_LIST, _FLOAT_LIST, _INT64_LIST):
            continue
        if number != kind:  # a oneof: the last kind counts, and its own parts merge
            kind, values = number, bytearray()
        values += _as_bytes(value, "a list of values")
    return _values(kind, bytes(values))


def _values(kind: int, values: bytes) -> Feature:
    if kind == _INT64_LIST:
        return _int64_list(values)
    if kind == _FLOAT_LIST:
        return _float_list(values)
    return [_as_bytes(value, "a bytes value") for number, value in iterate_fields(values) if number == 1]


def _int64_list(data: bytes) -> NDArray[np.int64]:
    parts: list[NDArray[np.int64]] = []
    single: list[int] = []
    for number, value in iterate_fields(data):
        if number != 1:
            continue
        if isinstance(value, int):
            single.append(value)
            continue
        if single:
            parts.append(np.array(single, dtype=np.uint64).view(np.int64))
            single = []
        parts.append(_packed_varints(value))
    if single:
        parts.append(np.array(single, dtype=np.uint64).view(np.int64))
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


def _packed_varints(data: bytes) -> NDArray[np.int64]:
    """All numbers of a packed field at once: a byte below 128 ends one, its place there gives the shift."""
    if len(data) < _SHORT_BYTES:
        return _packed_varints_one_by_one(data)
    raw = np.frombuffer(data, dtype=np.uint8)
    last = np.flatnonzero(raw < 0x80)
    if not len(last) or last[-1] != len(raw) - 1:
        raise SourceError("a packed list of integers ends inside a number")
    first = np.concatenate(([0], last[:-1] + 1))
    widths = last - first + 1
    if widths.max() > 9:  # only negative numbers are so wide, or broken ones; both are rare
        return _packed_varints_one_by_one(data)
    shifts = 7 * (np.arange(len(raw)) - np.repeat(first, widths)).astype(np.uint64)
    bits = (raw & 0x7F).astype(np.uint64) << shifts
    return np.bitwise_or.reduceat(bits, first).view(np.int64)


def _packed_varints_one_by_one(data: bytes) -> NDArray[np.int64]:
    numbers, position = [], 0
    while position < len(data):
        number, position = read_varint(data, position)
        numbers.append(number)
    return np.array(numbers, dtype=np.uint64).view(np.int64)


def _float_list(data: bytes) -> NDArray[np.float32]:
    raw = b"".join(_as_bytes(value, "a float") for number, value in iterate_fields(data) if number == 1)
    if len(raw) % 4:
        raise SourceError(f"not a tf.Example: a list of floats has {len(raw)} bytes, expected a multiple of 4")
    return np.frombuffer(raw, dtype="<f4").astype(np.float32)


def _serialised_feature(name: str, values: Any) -> bytes:
    if isinstance(values, str | bytes):
        raise UsageError(f"feature {name!r} is one {type(values).__name__}; expected a list, as in [{values[:10]!r}]")
    if not isinstance(values, np.ndarray):
        if not len(values):
            return b""
        if all(isinstance(value, bytes) for value in values):
            return bytes_field(_BYTES_LIST, b"".join(bytes_field(1, value) for value in values))
    array = np.asarray(values).reshape(-1)
    if array.dtype.kind == "f":
        packed = array.astype("<f4").tobytes()
        return bytes_field(_FLOAT_LIST, bytes_field(1, packed))
    if array.dtype.kind in "iu" and array.dtype != np.uint64:
        packed = b"".join(map(write_varint, array.tolist()))
        return bytes_field(_INT64_LIST, bytes_field(1, packed))
    raise UsageError(f"feature {name!r} holds {array.dtype}; expected only bytes, only integers or only floats")
