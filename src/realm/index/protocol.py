"""What every index promises, whether it reads all vectors or only some."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float32, Int64


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """The best rows for each query, best first; of equal scores the lower row first.

    Attributes:
        scores: Inner product of query and row.
        rows: Row numbers in the vector files.
    """

    scores: Float32[np.ndarray, "query k"]
    rows: Int64[np.ndarray, "query k"]


class Index(Protocol):
    """Finds the rows with the largest inner product."""

    def search(
        self, queries: Float32[np.ndarray, "query dim"], k: int, allowed: Bool[np.ndarray, " row"] | None = None
    ) -> Hits:
        """Search for many queries at once.

        Args:
            queries: One vector each. They must be finite.
            k: How many rows to find for each, at least 1.
            allowed: Which of all rows may be returned, tombstones counted (all unless given).

        Returns:
            Exactly `min(k, rows that are live and allowed)` columns, where a row is live unless it is a
            tombstone. No other row is ever returned.
        """
        ...
