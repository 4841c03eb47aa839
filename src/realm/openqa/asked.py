"""A question between search and reading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from realm.openqa.search import Found

STANDING_WEIGHT = np.float32(6.0)
"""What a fused score of 1 adds to the reader's scores; see docs/results.md for how it was chosen."""


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A question with the blocks found for it.

    Attributes:
        text: As typed.
        ids: Its word pieces.
        vector: Its vector, (dim,).
        found: The blocks.
        by_words: Whether words had a share in finding them.
        note: Why nothing was found.
        seconds: What embedding and search took.
    """

    text: str
    ids: list[int]
    vector: NDArray[np.float32]
    found: Found
    by_words: bool
    note: str
    seconds: Mapping[str, float]

    @property
    def relevance(self) -> NDArray[np.float32]:
        """What each block adds to the reader's scores of its spans: the inner product, as it was trained; where words
        have a share in the search, a multiple of the fused score, which knows more.
        """
        return STANDING_WEIGHT * self.found.fused if self.by_words else self.found.dense
