"""Answer spans between characters and word pieces."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

Offsets = Sequence[tuple[int, int]]


def pieces_of_characters(offsets: Offsets, start: int, end: int) -> tuple[int, int] | None:
    """First and last word piece (inclusive) that touch the characters `[start, end)`.

    Args:
        offsets: Half-open character range of each piece, in order.
        start: First character.
        end: One past the last character.

    Returns:
        None if no piece touches the range (white space only, or cut away).
    """
    first = bisect_right([piece_end for _, piece_end in offsets], start)
    last = bisect_left([piece_start for piece_start, _ in offsets], end) - 1
    return (first, last) if first <= last else None


def characters_of_pieces(offsets: Offsets, first: int, last: int) -> tuple[int, int]:
    """Half-open character range from the first piece to the last one, inclusive."""
    return offsets[first][0], offsets[last][1]
