"""What a file of codes must hold, as the manifest says it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from realm.errors import CorruptFileError, KnowledgeBaseError
from realm.index.quantising import width_of
from realm.index.segments import check_bytes, check_entry

REBUILD = "They are a copy of the vectors; make them anew with: realm compact --kb FOLDER --rebuild"

_SCALE_BYTES = 2
_NAME = re.compile(r"[0-9]{6,}\.i8")


@dataclass(frozen=True, slots=True)
class CodeSegment:
    """What one file of codes and the file of its scales hold, as the manifest says it.

    Attributes:
        name: The name of the file of codes.
        rows: How many rows count.
        dim: Numbers in a row of the vectors.
        sha256: Digest of those rows' codes.
        bytes: How many bytes the codes take.
        scale_sha256: Digest of those rows' scales.
        residual: The largest norm of what a row's codes leave over, in units of its scale; never below it.
        length: The largest norm of a row's codes; never below it.
    """

    name: str
    rows: int
    dim: int
    sha256: str
    bytes: int
    scale_sha256: str
    residual: float
    length: float

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Self:
        """Read an entry of the manifest; `dataclasses.asdict` writes it.

        Raises:
            CorruptFileError: A key is missing or unknown, or the values contradict each other.
        """
        check_entry(cls, entry)
        segment = cls(**entry)
        is_sound = segment.rows > 0 and segment.dim > 0 and segment.bytes == segment.rows * width_of(segment.dim)
        is_bounded = all(0 <= bound < math.inf for bound in (segment.residual, segment.length))
        # The name is joined to a folder: it must not lead out of it.
        if not (is_sound and is_bounded and _NAME.fullmatch(segment.name)):
            raise CorruptFileError(f"the manifest's entry for the codes {segment.name!r} contradicts itself. {REBUILD}")
        return segment

    @property
    def scale_name(self) -> str:
        return f"{self.name.removesuffix('.i8')}.scale"

    @property
    def scale_bytes(self) -> int:
        return self.rows * _SCALE_BYTES


def check_code_segments(folder: Path, segments: Sequence[CodeSegment], dim: int) -> None:
    """Compare files with their segments, without reading them.

    Raises:
        KnowledgeBaseError: The codes are of vectors of another dimension.
        CorruptFileError: A file is missing or too short, or is too long and not the last.
    """
    for place, segment in enumerate(segments):
        if segment.dim != dim:
            raise KnowledgeBaseError(
                f"{folder / segment.name}: codes of vectors of {segment.dim} numbers, where {dim} are expected. "
                f"{REBUILD}"
            )
        is_last = place == len(segments) - 1
        check_bytes(folder / segment.name, segment.bytes, is_last, REBUILD)
        check_bytes(folder / segment.scale_name, segment.scale_bytes, is_last, REBUILD)
