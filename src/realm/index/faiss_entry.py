"""What a FAISS file holds and how well it finds, as the manifest says it. Reads no file and knows no FAISS."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from realm.errors import CorruptFileError
from realm.index.segments import check_entry

REBUILD_FAISS = "It is made from the vectors; make it anew with: realm compact --kb FOLDER --rebuild"

_NAME = re.compile(r"faiss-[0-9a-f]{16}\.index")


@dataclass(frozen=True, slots=True)
class FaissPoint:
    """How wide to search for up to `k` rows, and what that finds.

    Attributes:
        k: Largest number of rows asked for.
        nprobe: How many lists are read.
        candidates: How many rows the codes choose for exact scoring.
        recall: Share of the true best `k` rows that are found, over the sample of the build.
    """

    k: int
    nprobe: int
    candidates: int
    recall: float


@dataclass(frozen=True, slots=True)
class FaissEntry:
    """What a FAISS file holds, as the manifest says it.

    Attributes:
        name: The file's name.
        rows: Rows covered: those from here on are newer than the file.
        vectors: How many of them are in the file; the others were tombstones.
        dim: Numbers in a vector.
        nlist: Number of lists.
        points: How to search, by ascending `k`.
        probe: What recall was measured with: `questions`, or `blocks` where none were given.
        probe_queries: How many of them; a part of them for more rows than 5.
        target: The recall that was wanted.
        target_reached: Whether every point has it.
        sha256: Digest of the file, see `digest_of_pieces`.
        bytes: Size of the file.
    """

    name: str
    rows: int
    vectors: int
    dim: int
    nlist: int
    points: tuple[FaissPoint, ...]
    probe: str
    probe_queries: int
    target: float
    target_reached: bool
    sha256: str
    bytes: int

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Self:
        """Read an entry of the manifest; `dataclasses.asdict` writes it.

        Raises:
            CorruptFileError: A key is missing or unknown, or the values contradict each other.
        """
        flat = {name: value for name, value in entry.items() if name != "points"}
        found = {name: type(value).__name__ for name, value in flat.items()}
        points = entry.get("points")
        expected = {field.name: field.type for field in fields(cls) if field.name != "points"}
        if found != expected or not isinstance(points, list | tuple) or not all(isinstance(p, dict) for p in points):
            raise CorruptFileError(
                f"the manifest's entry for a FAISS file holds {found}; expected {expected} and points. {REBUILD_FAISS}"
            )
        for point in points:
            check_entry(FaissPoint, point)
        read = cls(**flat, points=tuple(FaissPoint(**point) for point in points))
        if not read._is_sound():
            raise CorruptFileError(
                f"the manifest's entry for the FAISS file {read.name!r} contradicts itself. {REBUILD_FAISS}"
            )
        return read

    @property
    def recall_at_5(self) -> float:
        """Recall of the best 5 rows."""
        return self.recall_at(5)

    @property
    def recall_at_5000(self) -> float:
        """Recall of the best 5,000 rows, or of all where there are fewer."""
        return self.recall_at(5000)

    def recall_at(self, k: int) -> float:
        """Recall measured at `k`, or at the next larger number that was measured; at the largest beyond."""
        return next((point.recall for point in self.points if point.k >= k), self.points[-1].recall)

    def plan(self, k: int, share: float) -> tuple[int, int]:
        """How wide to search for `k` rows where only a share of the rows may be returned.

        Beyond the measured `k`, and for the rows a filter hides, the search widens in proportion.

        Returns:
            How many lists to read (perhaps more than there are) and how many candidates to score.
        """
        point = next((point for point in self.points if point.k >= k), self.points[-1])
        beyond = max(1.0, k / point.k)
        return math.ceil(point.nprobe * beyond / share), math.ceil(point.candidates * beyond)

    def _is_sound(self) -> bool:
        ks = [point.k for point in self.points]
        # The name is joined to a folder: it must not lead out of it.
        return (
            _NAME.fullmatch(self.name) is not None
            and 0 < self.vectors <= self.rows
            and self.dim > 0
            and self.nlist > 0
            and self.bytes > 0
            and bool(ks)
            and ks == sorted(set(ks))
            and ks[0] > 0
            and all(0 < p.nprobe <= self.nlist and p.k <= p.candidates <= self.vectors for p in self.points)
        )
