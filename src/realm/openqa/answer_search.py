"""Where given answers stand in many blocks, as word pieces, all blocks at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray

Places = list[list[tuple[int, int]]]

_EXPECTED = "answer_ids must be a list of answers, each a list of word-piece ids"


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
    answers = [_listed(answer) for answer in _listed(_nested(answer_ids))]
    return [[piece for piece in map(_piece, answer) if piece != -1] for answer in answers]


def answers_of_each(answer_ids: Any, questions: int) -> list[list[list[int]] | None]:
    """Plain answers of each question of a batch; None for every question where no answers are given at all.

    Args:
        answer_ids: For each question what `plain_answers` takes, or None where it has no answers. For a single
            question its answers alone will do.
        questions: How many there are.

    Raises:
        TypeError: The answers are not sequences of ids.
        ValueError: Answers are given for another number of questions.
    """
    if answer_ids is None:
        return [None] * questions
    of_each = _listed(_nested(answer_ids))
    if questions == 1 and not _is_batch(of_each):
        of_each = [of_each]
    if len(of_each) != questions:
        raise ValueError(f"{questions} questions need as many lists of answers; found {len(of_each)}.")
    return [[] if answers is None else plain_answers(answers) for answers in of_each]


def _is_batch(values: list[Any]) -> bool:
    """Whether these are answers of questions rather than answers of one: nested three deep, or None."""
    inner = [answer for value in values if isinstance(value, list) for answer in value]
    return values == [None] or any(isinstance(answer, list) for answer in inner)


def _nested(value: Any) -> Any:
    """Lists for tuples, arrays and tensors, at every depth."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return [_nested(item) for item in value] if isinstance(value, list | tuple) else value


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{_EXPECTED}; found {value!r:.60} in place of a list.")
    return value


def _piece(value: Any) -> int:
    try:
        return index(value)
    except TypeError as exc:
        raise TypeError(f"{_EXPECTED}; found {value!r:.60} in place of an id.") from exc
