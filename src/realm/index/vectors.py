"""The vectors of a knowledge base on disk: half precision, in segments that are only ever appended to,
memory-mapped.

    vectors/000000.f16   rows 0 ... n-1, little-endian IEEE half precision, `dim` numbers a row, nothing else
    vectors/000001.f16   the rows after those

What a file holds is said by its `Segment`, which the manifest keeps. A file may be longer than its segment
says: those rows belong to a newer version, or to a writer that was killed, and are not read. So a reader of
version n sees version n while a writer makes n + 1, and a killed writer leaves nothing to repair. Knows
neither what made the vectors nor what they stand for. Read `VectorWriter` first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from jaxtyping import Float, Float16, Float32, Int64

from realm.artifacts import sync_directory
from realm.errors import ModelError
from realm.index.appending import AppendedFile, check_start
from realm.index.segments import NUMBER, Segment, check_segments, not_finite

ROWS_PER_SEGMENT = 1 << 20


class VectorWriter:
    """Appends rows. They count once `publish` has returned and the manifest names its segments."""

    def __init__(
        self,
        folder: Path,
        dim: int,
        published: Sequence[Segment] = (),
        *,
        rows_per_segment: int = ROWS_PER_SEGMENT,
    ) -> None:
        """Go on after the published rows; whatever a killed writer left behind them is cut off.

        Args:
            folder: Where the files are; made if it is missing.
            dim: Numbers in a row.
            published: Segments the manifest names, in order.
            rows_per_segment: A new file is begun at this many rows.

        Raises:
            KnowledgeBaseError: Published vectors have another dimension.
            CorruptFileError: A published file is missing or too short, or the last one's digest is wrong.
        """
        self.dim = dim
        self._folder = folder
        self._rows_per_segment = rows_per_segment
        self._segments = list(published)
        self._file: AppendedFile | None = None
        self._rows = 0
        folder.mkdir(parents=True, exist_ok=True)
        check_segments(folder, published, dim)
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
        """Write rows, rounded to half precision.

        Raises:
            ModelError: A number is NaN, infinite, or too large for half precision. Nothing has been written
                then.
            ValueError: The rows do not have `dim` numbers.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise ValueError(f"vectors of shape {vectors.shape} were given; expected (rows, {self.dim})")
        with np.errstate(over="ignore"):
            halves = np.ascontiguousarray(vectors, dtype=NUMBER)
        bad = np.flatnonzero(~np.isfinite(halves).all(axis=1))
        if bad.size:
            raise ModelError(
                f"the vector of row {len(self) + int(bad[0]):,} has a number that is NaN, infinite or over "
                f"65,504 (so have {bad.size:,} of {len(halves):,} rows): the model that made it is broken"
            )
        start = 0
        while start < len(halves):
            file = self._file or self._begin()
            part = halves[start : start + self._rows_per_segment - self._rows]
            file.write(part.tobytes())
            self._rows += len(part)
            start += len(part)
            if self._rows == self._rows_per_segment:
                self._finish(file)

    def publish(self) -> tuple[Segment, ...]:
        """Bring all rows to the disk.

        Returns:
            The segments of all rows so far, for the manifest.
        """
        if self._file is not None:
            self._file.sync()
        sync_directory(self._folder)
        return (*self._segments, *([self._open_segment(self._file)] if self._file is not None and self._rows else []))

    def close(self) -> None:
        """Let go of the file. Rows that were not published are cut off by the next writer."""
        if self._file is not None:
            self._file.close()

    def _reopen(self, segment: Segment) -> None:
        self._file = AppendedFile(self._folder / segment.name, segment.bytes, segment.sha256)
        self._rows = segment.rows

    def _begin(self) -> AppendedFile:
        self._file = AppendedFile(self._folder / self._open_name())
        self._rows = 0
        return self._file

    def _finish(self, file: AppendedFile) -> None:
        file.sync()
        self._segments.append(self._open_segment(file))
        file.close()
        self._file = None
        self._rows = 0

    def _open_name(self) -> str:
        return f"{len(self._segments):06d}.f16"

    def _open_segment(self, file: AppendedFile) -> Segment:
        size = self._rows * self.dim * NUMBER.itemsize
        return Segment(self._open_name(), self._rows, self.dim, file.sha256, size)


class VectorStore:
    """Reads the vectors of one version.

    Attributes:
        segments: What the manifest says.
        rows: How many vectors there are.
        dim: Numbers in each.
    """

    def __init__(self, folder: Path, segments: Sequence[Segment], dim: int) -> None:
        """Map the files into memory; nothing is read yet.

        Raises:
            KnowledgeBaseError: The vectors have another dimension.
            CorruptFileError: A file is missing, or does not have the bytes the manifest names.
        """
        check_segments(folder, segments, dim)
        self.segments = tuple(segments)
        self.dim = dim
        self._folder = folder
        self._ends = np.cumsum([0, *(segment.rows for segment in segments)], dtype=np.int64)
        self.rows = int(self._ends[-1])
        # Mode "c": what is written to it stays in this process. Torch warns about arrays that cannot be
        # written to.
        self._maps = [
            np.memmap(folder / segment.name, dtype=NUMBER, mode="c", shape=(segment.rows, dim)) for segment in segments
        ]

    def take(self, rows: Int64[np.ndarray, " row"]) -> Float32[np.ndarray, "row dim"]:
        """The vectors of `rows`, in their order.

        Raises:
            IndexError: There is no such row.
            CorruptFileError: A number is NaN or infinite.
        """
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size and (rows.min() < 0 or rows.max() >= self.rows):
            raise IndexError(f"rows {rows.min()} to {rows.max()} were asked for; there are {self.rows}")
        vectors = np.empty((len(rows), self.dim), dtype=np.float32)
        places = np.searchsorted(self._ends, rows, side="right") - 1
        for place in np.unique(places):
            chosen = np.flatnonzero(places == place)
            vectors[chosen] = self._maps[place][rows[chosen] - self._ends[place]]
        if not np.isfinite(vectors).all():
            raise not_finite(self.file_of(int(rows[~np.isfinite(vectors).all(axis=1)][0])))
        return vectors

    def file_of(self, row: int) -> Path:
        """The file that holds a row."""
        return self._folder / self.segments[int(np.searchsorted(self._ends, row, side="right")) - 1].name

    def chunks(self, max_rows: int, start: int = 0) -> Iterator[tuple[int, Float16[np.ndarray, "row dim"]]]:
        """Vectors in order, from row `start` on: the first row's number, and up to `max_rows` rows straight from
        the file."""
        for first, segment in zip(self._ends.tolist(), self._maps, strict=False):
            for place in range(max(0, start - first), len(segment), max_rows):
                yield first + place, segment[place : place + max_rows]

    def verify(self) -> None:
        """Read all bytes and compare digests.

        Raises:
            CorruptFileError: A file's bytes are not those the manifest names.
        """
        for segment in self.segments:
            check_start(self._folder / segment.name, segment.bytes, segment.sha256)
