"""TensorFlow V2 checkpoints written without TensorFlow: the other half of `tensorflow_bundle`.

The data files are written first and the index last, each beside its place and then renamed, so that an index
never names data that are not there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from realm.errors import UsageError
from realm.interop.bundle_entries import DTYPES, Entry, Header, serialise_entry, serialise_header
from realm.interop.crc32c import crc32c, mask
from realm.interop.sstable import BLOCK_BYTES, write_table

_PIECE_BYTES: Final = 1 << 23
_DTYPE_NUMBERS: Final = {name: number for number, name in DTYPES.items()}


@dataclass(frozen=True, slots=True)
class RowStream:
    """A variable too large for memory, given a few rows at a time.

    Attributes:
        shape: Of the whole variable.
        dtype: Type in the file; the rows are converted to it.
        rows: Arrays of consecutive rows.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    rows: Iterable[NDArray[Any]]


Value: TypeAlias = NDArray[Any] | RowStream


def write_bundle(
    prefix: Path, variables: Iterable[tuple[str, Value]], *, shards: int = 1, block_bytes: int = BLOCK_BYTES
) -> None:
    """Write a checkpoint that TensorFlow, and `TensorBundle`, read.

    Args:
        prefix: Path without `.index`. Files of an older checkpoint of this name are replaced.
        variables: Names and values, taken one by one.
        shards: Number of data files; the variables are dealt out in turn.
        block_bytes: Size of a block of the index.

    Raises:
        UsageError: A name is empty or there twice, a type has no counterpart, or a row stream has another
            size than it announced.
    """
    paths = [Path(f"{prefix}.data-{shard:05d}-of-{shards:05d}") for shard in range(shards)]
    paths.append(Path(f"{prefix}.index"))
    temporary = [path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in paths]
    try:
        with ExitStack() as stack:
            paths[0].parent.mkdir(parents=True, exist_ok=True)
            files = [stack.enter_context(path.open("wb")) for path in temporary]
            entries = {b"": serialise_header(Header(shards))}
            for place, (name, value) in enumerate(variables):
                key = name.encode("utf-8")
                if key in entries or key.startswith(b"\x00"):
                    raise UsageError(f"the variable name {name!r} is empty or there twice; expected a new one")
                entries[key] = serialise_entry(_written(files[place % shards], place % shards, name, value))
            write_table(files[-1], sorted(entries.items()), block_bytes=block_bytes)
            for file in files:
                file.flush()
                os.fsync(file.fileno())
        for old, new in zip(temporary, paths, strict=True):
            os.replace(old, new)
    finally:
        for path in temporary:
            path.unlink(missing_ok=True)


def _written(file: BinaryIO, shard: int, name: str, value: Value) -> Entry:
    """Append a variable to a data file."""
    number = _DTYPE_NUMBERS.get(np.dtype(value.dtype).name)
    if number is None:
        raise UsageError(f"variable {name!r} has the type {value.dtype}, which a checkpoint cannot hold")
    offset, crc, written = file.tell(), 0, 0
    for piece in _pieces(value):
        data = piece.view(np.uint8).data
        file.write(data)
        crc = crc32c(data, crc)
        written += len(data)
    expected = int(np.prod(value.shape, dtype=np.int64)) * np.dtype(value.dtype).itemsize
    if written != expected:
        raise UsageError(f"variable {name!r} of shape {value.shape} needs {expected} bytes; its rows have {written}")
    return Entry(number, tuple(value.shape), shard, offset, written, mask(crc))


def _pieces(value: Value) -> Iterator[NDArray[Any]]:
    """The numbers in one dimension, lowest byte first, a few megabytes at a time."""
    arrays = value.rows if isinstance(value, RowStream) else [value]
    dtype = np.dtype(value.dtype).newbyteorder("<")
    for array in arrays:
        flat = array.reshape(-1)
        step = max(1, _PIECE_BYTES // dtype.itemsize)
        for start in range(0, len(flat), step):
            yield np.ascontiguousarray(flat[start : start + step], dtype=dtype)
