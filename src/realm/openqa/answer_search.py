"""Where given answers stand in many blocks, as word pieces, all blocks at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Places = list[list[tuple[int, int]]]


def answer_places(rows: Sequence[NDArray[np.integer[Any]]], answers: Iterable[Sequence[int]]) -> Places:
    """Find every occurrence of every answer in every row.

    All rows are laid end to end and compared with an answer at once; a match across a border does not count.

    Args:
        rows: Word-piece ids of each block.
        answers: Word-piece ids of each answer; empty ones match nothing.

    Returns:
        For each row, first and last position (inclusive) of each match: by answer, then by position.
        Overlapping matches all count, and so do repeated answers.
    """
    places: Places = [[] for _ in rows]
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    ends = np.cumsum(lengths)
    flat = np.concatenate(rows).astype(np.int64) if len(rows) else np.empty(0, dtype=np.int64)
    for answer in answers:
        width = len(answer)
        if width == 0 or width > len(flat):
            continue
        matches = np.flatnonzero(flat[: len(flat) - width + 1] == answer[0])
        for offset, piece in enumerate(answer[1:], start=1):
            matches = matches[flat[matches + offset] == piece]
        owners = np.searchsorted(ends, matches, side="right")
        whole = matches + width <= ends[owners]
        for match, owner in zip(matches[whole].tolist(), owners[whole].tolist(), strict=True):
            start = match - int(ends[owner] - lengths[owner])
            places[owner].append((start, start + width - 1))
    return places


def plain_answers(answer_ids: Any) -> list[list[int]]:
    """Answers as lists of ids, from lists, tuples, arrays or tensors; -1 is padding and left out.

    Raises:
        TypeError: The answers are not sequences of ids.
    """
    values = answer_ids.tolist() if hasattr(answer_ids, "tolist") else answer_ids
    answers = []
    for answer in values:
        pieces = answer.tolist() if hasattr(answer, "tolist") else answer
        if isinstance(pieces, int):
            raise TypeError("answer_ids must be a list of answers, each a list of ids; found a flat list of ids.")
        answers.append([int(piece) for piece in pieces if int(piece) != -1])
    return answers
