"""An int8 copy of the vectors, a half of their size, from which a scan can tell which vectors cannot be among
the best. Append-only beside the vectors, in the same segments.

    vectors/000000.i8      rows 0 ... n-1, one int8 code for each number, then zeros up to a multiple of 32
    vectors/000000.scale   one bfloat16 for each row

For a row x with codes c and scale s, x = s c + e. The segment keeps two numbers that hold for all its rows, and
that are all a bound on inner products needs (see `scans`):

    |e| <= residual * s          |c| <= length          (Euclidean norms)

Read `quantising` first (how a row is coded), then `CodeWriter`. Does not know how codes are searched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from jaxtyping import Float, Int8, UInt16

from realm.artifacts import sync_directory
from realm.errors import CorruptFileError
from realm.index.appending import AppendedFile, check_start
from realm.index.code_segments import REBUILD, CodeSegment, check_code_segments
from realm.index.quantising import quantised, width_of
from realm.index.vectors import ROWS_PER_SEGMENT, VectorStore

_PIECE_ROWS = 8192


class CodeWriter:
    """Appends codes of rows. They count once `publish` has returned and the manifest names its segments."""

    def __init__(
        self,
        folder: Path,
        dim: int,
        published: Sequence[CodeSegment] = (),
        *,
        rows_per_segment: int = ROWS_PER_SEGMENT,
    ) -> None:
        """Go on after the published rows; whatever a killed writer left behind them is cut off.

        Args:
            folder: Where the files are; made if it is missing.
            dim: Numbers in a row of the vectors.
            published: Segments the manifest names, in order.
            rows_per_segment: A new file is begun at this many rows: the same as for the vectors.

        Raises:
            KnowledgeBaseError: Published codes are of vectors of another dimension.
            CorruptFileError: A published file is missing or too short, or the last one's digest is wrong.
        """
        self.dim = dim
        self._folder = folder
        self._rows_per_segment = rows_per_segment
        self._segments = list(published)
        self._files: tuple[AppendedFile, AppendedFile] | None = None
        self._rows, self._residual, self._length = 0, 0.0, 0.0
        folder.mkdir(parents=True, exist_ok=True)
        check_code_segments(folder, published, dim)
        if published and published[-1].rows < rows_per_segment:
            self._reopen(self._segments.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        """Rows so far, published or not."""
        return sum(segment.rows for segment in self._segments) + self._rows

    def append(self, vectors: Float[np.ndarray, "row dim"]) -> None:
        """Write the codes of rows that were given to `VectorWriter.append`, or that were read back.

        Raises:
            ValueError: A number is not finite in half precision, or the rows do not have `dim` numbers.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise ValueError(f"vectors of shape {vectors.shape} were given; expected (rows, {self.dim})")
        start = 0
        while start < len(vectors):
            part = vectors[start : start + min(_PIECE_ROWS, self._rows_per_segment - self._rows)]
            codes, scales, residual, length = quantised(part)
            self._files = files = self._files or self._begin()
            files[0].write(codes.tobytes())
            files[1].write(scales.astype("<u2").tobytes())
            self._rows += len(part)
            self._residual, self._length = max(self._residual, residual), max(self._length, length)
            start += len(part)
            if self._rows == self._rows_per_segment:
                self._finish(files)

    def publish(self) -> tuple[CodeSegment, ...]:
        """Bring all codes to the disk.

        Returns:
            The segments of all rows so far, for the manifest.
        """
        for file in self._files or ():
            file.sync()
        sync_directory(self._folder)
        return (*self._segments, *([self._open_segment(self._files)] if self._files else []))

    def close(self) -> None:
        """Let go of the files. Rows that were not published are cut off by the next writer."""
        for file in self._files or ():
            file.close()

    def _reopen(self, segment: CodeSegment) -> None:
        codes = AppendedFile(self._folder / segment.name, segment.bytes, segment.sha256, REBUILD)
        try:
            scales = AppendedFile(self._folder / segment.scale_name, segment.scale_bytes, segment.scale_sha256, REBUILD)
        except CorruptFileError:
            codes.close()
            raise
        self._files = codes, scales
        self._rows, self._residual, self._length = segment.rows, segment.residual, segment.length

    def _begin(self) -> tuple[AppendedFile, AppendedFile]:
        stem = f"{len(self._segments):06d}"
        return AppendedFile(self._folder / f"{stem}.i8"), AppendedFile(self._folder / f"{stem}.scale")

    def _finish(self, files: tuple[AppendedFile, AppendedFile]) -> None:
        for file in files:
            file.sync()
            file.close()
        self._segments.append(self._open_segment(files))
        self._files = None
        self._rows, self._residual, self._length = 0, 0.0, 0.0

    def _open_segment(self, files: tuple[AppendedFile, AppendedFile]) -> CodeSegment:
        codes, scales = files
        return CodeSegment(
            name=f"{len(self._segments):06d}.i8",
            rows=self._rows,
            dim=self.dim,
            sha256=codes.sha256,
            bytes=self._rows * width_of(self.dim),
            scale_sha256=scales.sha256,
            residual=self._residual,
            length=self._length,
        )


@dataclass(frozen=True, slots=True, eq=False)
class CodeChunk:
    """Some rows of one segment, straight from the files.

    Attributes:
        first: The first row's number.
        codes: As in the file.
        scales: Bits of bfloat16 numbers.
        segment: What bounds the error of these rows.
    """

    first: int
    codes: Int8[np.ndarray, "row width"]
    scales: UInt16[np.ndarray, " row"]
    segment: CodeSegment


class CodeStore:
    """Reads the codes of one version.

    Attributes:
        segments: What the manifest says.
        rows: How many rows have codes.
        dim: Numbers in a row of the vectors.
    """

    def __init__(self, folder: Path, segments: Sequence[CodeSegment], dim: int) -> None:
        """Map the files into memory; nothing is read yet.

        Raises:
            KnowledgeBaseError: The codes are of vectors of another dimension.
            CorruptFileError: A file is missing, or does not have the bytes the manifest names.
        """
        check_code_segments(folder, segments, dim)
        self.segments = tuple(segments)
        self.rows = sum(segment.rows for segment in segments)
        self.dim = dim
        self._folder = folder
        # Mode "c": see VectorStore.
        self._maps = [
            (
                np.memmap(folder / segment.name, np.int8, "c", shape=(segment.rows, width_of(dim))),
                np.memmap(folder / segment.scale_name, np.dtype("<u2"), "c", shape=(segment.rows,)),
            )
            for segment in segments
        ]

    def chunks(self, max_rows: int, first_row: int = 0, end: int | None = None) -> Iterator[CodeChunk]:
        """Codes of the rows from `first_row` to `end`, in order, up to `max_rows` rows at a time."""
        first = 0
        for segment, (codes, scales) in zip(self.segments, self._maps, strict=True):
            stop = segment.rows if end is None else min(segment.rows, end - first)
            for start in range(max(0, first_row - first), stop, max_rows):
                part = slice(start, min(start + max_rows, stop))
                yield CodeChunk(first + start, codes[part], scales[part], segment)
            first += segment.rows

    def verify(self) -> None:
        """Read all bytes and compare digests.

        Raises:
            CorruptFileError: A file's bytes are not those the manifest names.
        """
        self.verify_scales()
        for segment in self.segments:
            check_start(self._folder / segment.name, segment.bytes, segment.sha256, REBUILD)

    def verify_scales(self) -> None:
        """The same for the scales alone, of two bytes a row. Raises as above."""
        for segment in self.segments:
            check_start(self._folder / segment.scale_name, segment.scale_bytes, segment.scale_sha256, REBUILD)


def build_codes(
    store: VectorStore,
    folder: Path,
    published: Sequence[CodeSegment] = (),
    *,
    rows_per_segment: int = ROWS_PER_SEGMENT,
    report: Callable[[int, int], None] | None = None,
) -> tuple[CodeSegment, ...]:
    """Make the codes of the vectors that have none yet, a few thousand at a time.

    Args:
        store: The vectors.
        folder: Where the codes go: beside the vectors.
        published: Codes the manifest names already.
        rows_per_segment: See `CodeWriter`.
        report: Called now and then with the rows done and all rows.
    """
    with CodeWriter(folder, store.dim, published, rows_per_segment=rows_per_segment) as writer:
        for first, halves in store.chunks(_PIECE_ROWS, len(writer)):
            writer.append(halves)
            if report is not None:
                report(first + len(halves), store.rows)
        return writer.publish()
