"""Rows that are gone: their documents were removed or replaced. A sorted file of little-endian 64-bit row
numbers.

A file is named by its content and never changed, so that every version of a knowledge base keeps the one it
was made with.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from jaxtyping import Int64

from realm.artifacts import sync_directory
from realm.errors import CorruptFileError
from realm.index.segments import REBUILD, check_entry

_NUMBER = np.dtype("<i8")
_NAME = re.compile(r"tombstones-[0-9a-f]{16}\.i64")


@dataclass(frozen=True, slots=True)
class TombstoneFile:
    """What a file of tombstones holds, as the manifest says it.

    Attributes:
        name: The file's name.
        rows: How many rows are gone.
        sha256: Digest of the file.
        bytes: Size of the file.
    """

    name: str
    rows: int
    sha256: str
    bytes: int

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Self:
        """Read an entry of the manifest; `dataclasses.asdict` writes it.

        Raises:
            CorruptFileError: A key is missing or unknown, or the values contradict each other.
        """
        check_entry(cls, entry)
        file = cls(**entry)
        if not _NAME.fullmatch(file.name) or file.bytes != file.rows * _NUMBER.itemsize:
            raise CorruptFileError(
                f"the manifest's entry for the tombstones {file.name!r} contradicts itself. {REBUILD}"
            )
        return file


def write_tombstones(folder: Path, rows: Int64[np.ndarray, " row"]) -> TombstoneFile:
    """Write rows that are gone, in any order; repeated ones count once.

    Raises:
        ValueError: A row number is negative.
    """
    unique = np.unique(np.asarray(rows, dtype=_NUMBER))
    if unique.size and unique[0] < 0:
        raise ValueError(f"row {int(unique[0])} cannot be gone: row numbers begin at 0")
    data = unique.tobytes()
    digest = hashlib.sha256(data).hexdigest()
    entry = TombstoneFile(f"tombstones-{digest[:16]}.i64", len(unique), digest, len(data))
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{entry.name}.{os.getpid()}.tmp"
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, folder / entry.name)
    sync_directory(folder)
    return entry


def read_tombstones(folder: Path, entry: TombstoneFile) -> Int64[np.ndarray, " row"]:
    """Rows that are gone, ascending.

    Raises:
        CorruptFileError: The file is missing, or its bytes are not those the manifest names.
    """
    path = folder / entry.name
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise CorruptFileError(f"{path}: cannot be read ({exc.strerror or exc}). {REBUILD}") from exc
    if len(data) != entry.bytes:
        raise CorruptFileError(f"{path}: {len(data):,} bytes, where the manifest names {entry.bytes:,}. {REBUILD}")
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise CorruptFileError(f"{path}: the bytes are not those the manifest names (SHA-256 differs). {REBUILD}")
    return np.frombuffer(data, dtype=_NUMBER).astype(np.int64)
