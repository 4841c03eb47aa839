"""A new order of all rows in every epoch, computed place by place: nothing is held in memory, however many rows.

Knows numbers only.
"""

from __future__ import annotations

import random

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 6
_MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


class Shuffle:
    """Rows 0 to `count - 1` in random order, then again in another order, without end.

    A place is encrypted to a row by a Feistel network, which maps the numbers below a power of four one to one; a
    result that is not below `count` is encrypted again until it is.

    Args:
        count: Number of rows, at least 1.
        seed: Other seeds give other orders.

    Source: cycle walking, Black and Rogaway 2002, "Ciphers with arbitrary finite domains".
    """

    def __init__(self, count: int, seed: int) -> None:
        if count < 1:
            raise ValueError(f"count is {count}; there must be a row to take")
        self.count = count
        self._seed = seed
        self._half_bits = np.uint64(max(1, ((count - 1).bit_length() + 1) // 2))

    def rows(self, start: int, stop: int) -> list[int]:
        """Rows at the places `start` to `stop - 1` of the endless order; an epoch is `count` places long."""
        found: list[int] = []
        while start < stop:
            epoch, first = divmod(start, self.count)
            last = min(self.count, first + stop - start)
            found += self._encrypt(np.arange(first, last, dtype=np.uint64), epoch).tolist()
            start += last - first
        return found

    def _encrypt(self, numbers: NDArray[np.uint64], epoch: int) -> NDArray[np.uint64]:
        choice = random.Random(f"shuffle {self._seed} {epoch}")
        keys = [np.uint64(choice.getrandbits(64)) for _ in range(_ROUNDS)]
        outside = np.ones(len(numbers), dtype=bool)
        while outside.any():
            numbers[outside] = self._feistel(numbers[outside], keys)
            outside = numbers >= self.count
        return numbers

    def _feistel(self, numbers: NDArray[np.uint64], keys: list[np.uint64]) -> NDArray[np.uint64]:
        mask = (np.uint64(1) << self._half_bits) - np.uint64(1)
        left, right = numbers >> self._half_bits, numbers & mask
        for key in keys:
            left, right = right, left ^ (_mixed(right + key) & mask)
        return (left << self._half_bits) | right


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Numbers whose every bit depends on all bits (the end of SplitMix64); arithmetic modulo 2^64."""
    for shift, multiplier in zip((30, 27), _MULTIPLIERS, strict=True):
        numbers = (numbers ^ (numbers >> np.uint64(shift))) * multiplier
    return numbers ^ (numbers >> np.uint64(31))
