"""Sketches of the vectors on disk: four bits a number, an eighth of float32, from which a first scan can tell which
few vectors may be among the best. Made for full segments of vectors only, and never changed afterwards.

    vectors/000000.sketch   rows 0 ... n-1 in blocks of 32 (see `sketching`), then the levels: float32, columns x 16

For a row x the levels of its numbers are the vector v, and the level of its length is not below |x - v|, so that

    q x <= q v + |q| |x - v| <= sum q_i v_i + |q| level

which is a sum of one number from each column's table: all a scan has to look up. Does not know how it does.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from jaxtyping import Float32, UInt8

from realm.artifacts import sync_directory
from realm.errors import CorruptFileError, KnowledgeBaseError
from realm.index.appending import check_start
from realm.index.code_segments import REBUILD
from realm.index.segments import check_bytes, check_entry, damaged
from realm.index.sketching import (
    BLOCK_ROWS,
    LEVELS,
    columns_of,
    length_levels,
    levels_above,
    nearest_levels,
    number_levels,
    packed,
)
from realm.index.vectors import ROWS_PER_SEGMENT, VectorStore

_NAME = re.compile(r"[0-9]{6,}\.sketch")
_LEVEL = np.dtype("<f4")
# Shorter rows are scanned fast enough.
_MIN_DIM = 64
_SAMPLE_ROWS = 1 << 14
_PIECE_ROWS = 1 << 14


@dataclass(frozen=True, slots=True)
class SketchSegment:
    """What one file of sketches holds, as the manifest says it.

    Attributes:
        name: The file's name.
        rows: How many rows it is of: all of one segment of vectors.
        dim: Numbers in a row of the vectors.
        sha256: Digest of the file.
        bytes: Size of the file.
        levels_sha256: Digest of the levels.
        norm: The largest norm of a row of the vectors; never below it.
    """

    name: str
    rows: int
    dim: int
    sha256: str
    bytes: int
    levels_sha256: str
    norm: float

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Self:
        """Read an entry of the manifest; `dataclasses.asdict` writes it.

        Raises:
            CorruptFileError: A key is missing or unknown, or the values contradict each other.
        """
        check_entry(cls, entry)
        segment = cls(**entry)
        is_sound = segment.rows > 0 and segment.dim > 0 and 0 <= segment.norm < math.inf
        # The name is joined to a folder: it must not lead out of it.
        if not (is_sound and segment.bytes == _bytes_of(segment.rows, segment.dim) and _NAME.fullmatch(segment.name)):
            raise CorruptFileError(
                f"the manifest's entry for the sketches {segment.name!r} contradicts itself. {REBUILD}"
            )
        return segment


class SketchFile:
    """One segment's sketches, mapped into memory.

    Attributes:
        segment: What the manifest says.
        first: The first row's number.
        blocks: As FAISS's fast scan reads them.
        levels: Of each column.
    """

    blocks: UInt8[np.ndarray, "block column 16"]
    levels: Float32[np.ndarray, "column 16"]

    def __init__(self, folder: Path, segment: SketchSegment, first: int) -> None:
        path = folder / segment.name
        check_bytes(path, segment.bytes, False, REBUILD)
        self.segment = segment
        self.first = first
        shape = (-(-segment.rows // BLOCK_ROWS), columns_of(segment.dim), BLOCK_ROWS // 2)
        self.blocks = np.memmap(path, np.uint8, "r", shape=shape)
        levels = np.fromfile(path, _LEVEL, offset=self.blocks.nbytes)
        if hashlib.sha256(levels.tobytes()).hexdigest() != segment.levels_sha256:
            raise damaged(path, REBUILD)
        self.levels = levels.reshape(-1, LEVELS)
        if not np.isfinite(levels).all():
            raise CorruptFileError(f"{path}: a level is not a finite number. {REBUILD}")


class SketchStore:
    """Reads the sketches of one version.

    Attributes:
        rows: How many rows have sketches; they are the first ones.
        dim: Numbers in a row of the vectors.
        files: One for each segment.
    """

    def __init__(self, folder: Path, segments: Sequence[SketchSegment], dim: int) -> None:
        """Map the files into memory, and read the levels.

        Raises:
            KnowledgeBaseError: The sketches are of vectors of another dimension.
            CorruptFileError: A file is missing, or does not have the bytes the manifest names, or its levels are
                damaged.
        """
        self.dim = dim
        self.rows = 0
        self.files: list[SketchFile] = []
        self._folder = folder
        for segment in segments:
            if segment.dim != dim:
                raise KnowledgeBaseError(
                    f"{folder / segment.name}: sketches of vectors of {segment.dim} numbers, where {dim} are expected. "
                    f"{REBUILD}"
                )
            self.files.append(SketchFile(folder, segment, self.rows))
            self.rows += segment.rows

    def verify(self) -> None:
        """Read all bytes and compare digests.

        Raises:
            CorruptFileError: A file's bytes are not those the manifest names.
        """
        for file in self.files:
            check_start(self._folder / file.segment.name, file.segment.bytes, file.segment.sha256, REBUILD)


def build_sketches(
    store: VectorStore,
    folder: Path,
    published: Sequence[SketchSegment] = (),
    *,
    rows_per_segment: int = ROWS_PER_SEGMENT,
    report: Callable[[int, int], None] | None = None,
) -> tuple[SketchSegment, ...]:
    """Make the sketches of the full segments of vectors that have none yet.

    Args:
        store: The vectors.
        folder: Where the sketches go: beside the vectors.
        published: Sketches the manifest names already.
        rows_per_segment: Rows of a full segment.
        report: Called now and then with the rows done and all rows.

    Returns:
        The segments of all sketches, for the manifest.
    """
    made = list(published)
    first = sum(segment.rows for segment in made)
    for place, segment in list(enumerate(store.segments))[len(made) :]:
        if segment.rows < rows_per_segment or store.dim < _MIN_DIM:
            break
        blocks, levels, norm = _sketched(store, range(first, first + segment.rows), report)
        made.append(_written(folder / f"{place:06d}.sketch", blocks, levels, segment.rows, store.dim, norm))
        first += segment.rows
    return tuple(made)


def _sketched(
    store: VectorStore, rows: range, report: Callable[[int, int], None] | None
) -> tuple[UInt8[np.ndarray, "block column 16"], Float32[np.ndarray, "column 16"], float]:
    columns = columns_of(store.dim)
    levels = np.zeros((columns, LEVELS), dtype=_LEVEL)
    numbers = number_levels(store.take(np.arange(rows.start, rows.stop, -(-len(rows) // _SAMPLE_ROWS))))
    levels[: store.dim] = numbers
    blocks = np.zeros((-(-len(rows) // BLOCK_ROWS), columns, BLOCK_ROWS // 2), dtype=np.uint8)
    lengths, norm = np.empty(len(rows)), 0.0
    for start in range(0, len(rows), _PIECE_ROWS):
        part = rows[start : start + _PIECE_ROWS]
        piece = store.take(np.arange(part.start, part.stop))
        places, lengths[start : start + len(part)] = nearest_levels(piece, numbers)
        done = packed(places)
        blocks[start // BLOCK_ROWS :][: len(done), : store.dim] = done
        norm = max(norm, float(np.linalg.norm(piece.astype(np.float64), axis=1).max()))
        if report is not None:
            report(part.stop, store.rows)
    levels[store.dim] = length_levels(lengths)
    blocks[:, store.dim : store.dim + 1] = packed(levels_above(lengths, levels[store.dim])[:, None])
    return blocks, levels, norm * (1 + 2.0**-30)


def _written(
    path: Path,
    blocks: UInt8[np.ndarray, "block column 16"],
    levels: Float32[np.ndarray, "column 16"],
    rows: int,
    dim: int,
    norm: float,
) -> SketchSegment:
    digest = hashlib.sha256(blocks.data)
    digest.update(levels.tobytes())
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(blocks.data)
        file.write(levels.tobytes())
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_directory(path.parent)
    levels_sha256 = hashlib.sha256(levels.tobytes()).hexdigest()
    return SketchSegment(path.name, rows, dim, digest.hexdigest(), _bytes_of(rows, dim), levels_sha256, norm)


def _bytes_of(rows: int, dim: int) -> int:
    columns = columns_of(dim)
    return -(-rows // BLOCK_ROWS) * columns * BLOCK_ROWS // 2 + columns * LEVELS * _LEVEL.itemsize
