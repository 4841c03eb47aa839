"""What a file of vectors must hold, as the manifest says it, and whether it does."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np

from realm.errors import CorruptFileError, KnowledgeBaseError

NUMBER = np.dtype("<f2")
REBUILD = "Rebuild the knowledge base with: realm index SOURCE... --kb NEW_FOLDER"

_NAME = re.compile(r"[0-9]{6,}\.f16")


@dataclass(frozen=True, slots=True)
class Segment:
    """What one file of vectors holds, as the manifest says it.

    Attributes:
        name: The file's name.
        rows: How many rows count.
        dim: Numbers in a row.
        sha256: Digest of those rows' bytes.
        bytes: How many bytes they take.
    """

    name: str
    rows: int
    dim: int
    sha256: str
    bytes: int

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Self:
        """Read an entry of the manifest; `dataclasses.asdict` writes it.

        Raises:
            CorruptFileError: A key is missing or unknown, or the values contradict each other.
        """
        check_entry(cls, entry)
        segment = cls(**entry)
        # The name is joined to a folder: it must not lead out of it.
        is_sound = _NAME.fullmatch(segment.name) and segment.rows > 0 and segment.dim > 0
        if not is_sound or segment.bytes != segment.rows * segment.dim * NUMBER.itemsize:
            raise CorruptFileError(
                f"the manifest's entry for the vectors {segment.name!r} contradicts itself. {REBUILD}"
            )
        return segment


def check_entry(kind: type[Any], entry: Mapping[str, Any]) -> None:
    """Check that an entry of the manifest has the fields of the dataclass `kind`, each of its type.

    Raises:
        CorruptFileError: It has not.
    """
    expected = {field.name: field.type for field in fields(kind)}
    found = {name: type(value).__name__ for name, value in entry.items()}
    if found != expected:
        raise CorruptFileError(
            f"the manifest's entry for a {kind.__name__} holds {found}; expected {expected}. {REBUILD}"
        )


def check_segments(folder: Path, segments: Sequence[Segment], dim: int) -> None:
    """Compare files with their segments, without reading them.

    Raises:
        KnowledgeBaseError: The vectors do not have `dim` numbers.
        CorruptFileError: A file is missing or too short, or is too long and not the last: see `vectors`.
    """
    for place, segment in enumerate(segments):
        path = folder / segment.name
        if segment.dim != dim:
            raise KnowledgeBaseError(
                f"{path}: vectors of {segment.dim} numbers, where {dim} are expected: another model made them. "
                f"{REBUILD}"
            )
        check_bytes(path, segment.bytes, place == len(segments) - 1, REBUILD)


def check_bytes(path: Path, expected: int, is_last: bool, rebuild: str) -> None:
    """Compare the size of a file with what the manifest says; the last file of a sequence may be longer.

    Raises:
        CorruptFileError: The file is missing or has another size; `rebuild` is the next command.
    """
    if not path.is_file():
        raise CorruptFileError(f"{path}: missing. {rebuild}")
    found = path.stat().st_size
    if found < expected or (found > expected and not is_last):
        raise CorruptFileError(f"{path}: {found:,} bytes, where the manifest names {expected:,}. {rebuild}")


def not_finite(path: Path) -> CorruptFileError:
    """The error for a file with a number that no writer has let through."""
    return CorruptFileError(
        f"{path}: a number in it is NaN or infinite, which none was when it was written. "
        "See what else is damaged with: realm info --verify"
    )


def damaged(path: Path, rebuild: str = REBUILD) -> CorruptFileError:
    """The error for a file whose digest is wrong."""
    return CorruptFileError(f"{path}: the bytes are not those the manifest names (SHA-256 differs). {rebuild}")
