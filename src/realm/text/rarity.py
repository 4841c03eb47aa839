"""How much a word piece tells, by its place in the vocabulary: names much, "who" and "the" nothing.

A WordPiece vocabulary lists pieces from the most to the least frequent, after special pieces and single characters, and
by Zipf's law the frequency of the n-th is near 1 / n. So log n stands in for an inverse document frequency, with no
corpus to count in: on BERT's vocabulary it told right answers from wrong ones as well as counts of Wikipedia did.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

_COMMON = 100


def rarities(vocabulary: Mapping[str, int]) -> NDArray[np.float32]:
    """Of every piece, by id: log(n / 100) of the n-th piece, and 0.0 of the 100 most frequent ones, of special pieces
    and of single characters before them.
    """
    first = min((number for piece, number in vocabulary.items() if _is_word(piece)), default=0)
    places = np.arange(1, max(vocabulary.values(), default=-1) + 2) - first
    return np.log(np.maximum(places / _COMMON, 1.0)).astype(np.float32)


def _is_word(piece: str) -> bool:
    return len(piece) > 1 and not piece.startswith("##") and not (piece[0] == "[" and piece[-1] == "]")
