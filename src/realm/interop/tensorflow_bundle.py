"""TensorFlow V2 checkpoints ("tensor bundles") read without TensorFlow.

    prefix.index                  a sorted table: name -> type, shape, place, checksum
    prefix.data-00000-of-00001    the bytes of the variables, one after another

Knows no variable in particular. Writing is in `tensorflow_bundle_writer`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from realm.errors import SourceError, UsageError
from realm.interop.bundle_entries import DTYPES, VERSION, Entry, ordered_slices, parse_entry, parse_header
from realm.interop.crc32c import crc32c, mask
from realm.interop.sstable import read_table

_PIECE_BYTES: Final = 1 << 23
_BFLOAT16: Final = "bfloat16"


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of a checkpoint.

    Attributes:
        name: Its name in TensorFlow.
        dtype: numpy's name of its type; or "bfloat16", read as float32; or another, which cannot be read.
        shape: Sizes of its axes.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]


class TensorBundle:
    """A checkpoint, opened: its index has been read and checked; its data are read when asked for.

    Args:
        prefix: Path of the checkpoint, with or without `.index`.

    Raises:
        SourceError: The index is missing, damaged, or of a kind this cannot read.
    """

    def __init__(self, prefix: Path) -> None:
        self.prefix = Path(str(prefix).removesuffix(".index"))
        self._index = Path(f"{self.prefix}.index")
        if not self._index.is_file():
            raise SourceError(
                f"{self._index} is missing; expected a TensorFlow V2 checkpoint: .index and .data-* files"
            )
        table = dict(read_table(self._index))
        try:
            header = parse_header(table.pop(b"", b""))
            self._entries = {key: parse_entry(value) for key, value in table.items()}
            # A key that starts with zero is a slice, whose variable has an entry of its own.
            names = {key: key.decode("utf-8") for key in self._entries if not key.startswith(b"\x00")}
        except (SourceError, UnicodeDecodeError) as exc:
            raise SourceError(f"{self._index} is damaged: {exc}") from exc
        if header.shards < 1 or header.big_endian or header.least_consumer > VERSION:
            order = "big" if header.big_endian else "little"
            raise SourceError(
                f"{self._index}: {header.shards} data files, {order}-endian, version "
                f"{header.least_consumer}; expected at least one, little-endian, at most version {VERSION}"
            )
        self._shards = header.shards
        variables = {}
        for key, name in names.items():
            entry = self._entries[key]
            variables[name] = Variable(name, DTYPES.get(entry.dtype, f"type {entry.dtype}"), entry.shape)
        self.variables: Mapping[str, Variable] = MappingProxyType(variables)
        """Every variable by name, in the order of names."""

    def read(self, name: str) -> NDArray[Any]:
        """The whole of a variable, checked against its checksum.

        Raises:
            SourceError: There is no such variable, it does not hold numbers, or its data are missing or
                damaged.
        """
        entry = self._entry(name)
        axis, parts = self._parts(name, entry)
        if not entry.slices:
            return self._read_part(name, entry)
        return np.concatenate([self._read_part(name, part) for part in parts], axis=axis)

    def iterate_rows(self, name: str, max_rows: int) -> Iterator[NDArray[Any]]:
        """Consecutive rows of a variable, at most `max_rows` at a time; no more are held in memory.

        Args:
            name: A variable with at least one axis.
            max_rows: Rows of an array. The last one may have fewer.

        Raises:
            SourceError: As for `read`. A wrong checksum is known, and raised, only after the last row.
            UsageError: The variable has no rows to give one after another, or `max_rows` is not positive.
        """
        entry = self._entry(name)
        axis, parts = self._parts(name, entry)
        if not entry.shape or axis or max_rows < 1:
            raise UsageError(
                f"{name} of shape {entry.shape}, cut along axis {axis}, cannot be given by {max_rows} rows"
            )
        for part in parts:
            rows = part.shape[0]
            row_bytes = part.size_bytes // max(1, rows)
            counts = (min(max_rows, rows - start) for start in range(0, rows, max_rows))
            arrays = (np.empty(count * row_bytes, dtype=np.uint8) for count in counts)
            for start, raw in zip(range(0, rows, max_rows), self._filled(name, part, arrays), strict=True):
                yield _numbers(raw, part).reshape(min(max_rows, rows - start), *part.shape[1:])

    def _entry(self, name: str) -> Entry:
        if name not in self.variables:
            near = difflib.get_close_matches(name, self.variables, 1)
            hint = f"; the nearest is {near[0]!r}" if near else ""
            raise SourceError(f"{self.prefix} has no variable {name!r} among its {len(self.variables)}{hint}")
        dtype = self.variables[name].dtype
        if dtype == "string" or dtype not in DTYPES.values():
            raise SourceError(f"{self.prefix}: {name} holds values of {dtype}; only numbers can be read")
        return self._entries[name.encode("utf-8")]

    def _parts(self, name: str, entry: Entry) -> tuple[int, list[Entry]]:
        try:
            return ordered_slices(name, entry, self._entries) if entry.slices else (0, [entry])
        except SourceError as exc:
            raise SourceError(f"{self._index}: {exc}") from exc

    def _read_part(self, name: str, part: Entry) -> NDArray[Any]:
        self._checked_path(name, part)  # before memory is taken
        flat = np.empty(part.size_bytes, dtype=np.uint8)
        pieces = (flat[start : start + _PIECE_BYTES] for start in range(0, len(flat), _PIECE_BYTES))
        for _ in self._filled(name, part, pieces):
            pass
        return _numbers(flat, part).reshape(part.shape)

    def _filled(self, name: str, part: Entry, arrays: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
        """The arrays one by one, each filled with the bytes that follow; then the checksum must be right."""
        path = self._checked_path(name, part)
        crc = 0
        try:
            with path.open("rb") as file:
                file.seek(part.offset)
                for array in arrays:
                    if file.readinto(array.data) != len(array):
                        raise SourceError(f"{path} is cut off inside {name}")
                    crc = crc32c(array, crc)
                    yield array
        except OSError as exc:
            raise SourceError(f"{path} cannot be read: {exc.strerror}") from exc
        if mask(crc) != part.masked_crc:
            raise SourceError(f"{path}: the bytes of {name} do not match their checksum; fetch the file again")

    def _checked_path(self, name: str, part: Entry) -> Path:
        """The data file, if the size of the part is that of its shape and lies within the file."""
        path = Path(f"{self.prefix}.data-{part.shard:05d}-of-{self._shards:05d}")
        expected = math.prod(part.shape) * _stored_dtype(part).itemsize
        if part.size_bytes != expected:
            raise SourceError(
                f"{self._index}: {name} has {part.size_bytes} bytes; its shape {part.shape} needs {expected}"
            )
        if not path.is_file():
            raise SourceError(
                f"{path} is missing; the checkpoint has {self._shards} data files, and {name} is in this one"
            )
        there = path.stat().st_size
        if part.offset + expected > there:
            raise SourceError(f"{path} is cut off: it has {there} bytes, and {name} ends at {part.offset + expected}")
        return path


def _stored_dtype(part: Entry) -> np.dtype[Any]:
    name = DTYPES[part.dtype]
    return np.dtype(np.uint16 if name == _BFLOAT16 else name).newbyteorder("<")


def _numbers(raw: NDArray[np.uint8], part: Entry) -> NDArray[Any]:
    """Bytes as numbers. A bfloat16 is the upper half of a float32."""
    stored = raw.view(_stored_dtype(part))
    if DTYPES[part.dtype] != _BFLOAT16:
        return stored
    return (stored.astype(np.uint32) << np.uint32(16)).view(np.float32)
