"""Answers in blocks, against the search written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from realm.openqa.answer_search import answer_places, plain_answers

# Few different pieces, so that answers overlap, repeat and lie across borders.
PIECES = st.integers(0, 2)
ROWS = st.lists(st.lists(PIECES, max_size=12), max_size=6)
ANSWERS = st.lists(st.lists(PIECES, max_size=4), max_size=4)


def places_written_out(rows: list[list[int]], answers: list[list[int]]) -> list[list[tuple[int, int]]]:
    return [
        [
            (start, start + len(answer) - 1)
            for answer in answers
            if answer
            for start in range(len(row) - len(answer) + 1)
            if row[start : start + len(answer)] == answer
        ]
        for row in rows
    ]


@given(ROWS, ANSWERS)
def test_answer_places_are_those_of_the_search_written_out(rows: list[list[int]], answers: list[list[int]]) -> None:
    arrays = [np.array(row, dtype=np.int32) for row in rows]
    assert answer_places(arrays, answers) == places_written_out(rows, answers)


def test_answer_places_takes_ids_of_any_integer_type() -> None:
    rows = [np.array([9, 300, 70], dtype=np.uint16), np.array([300, 70], dtype=np.int64)]
    assert answer_places(rows, [(300, 70)]) == [[(1, 2)], [(0, 1)]]


@pytest.mark.parametrize(
    "given_answers",
    [
        [[5, 6], [7]],
        ((5, 6), (7,)),
        [[5, 6, -1], [7, -1, -1]],
        [torch.tensor([5, 6]), np.array([7])],
        torch.tensor([[5, 6], [7, -1]]),
        np.array([[5, 6], [7, -1]]),
    ],
)
def test_plain_answers_reads_lists_tuples_arrays_and_tensors_alike(given_answers: object) -> None:
    assert plain_answers(given_answers) == [[5, 6], [7]]


def test_plain_answers_keeps_an_answer_of_padding_only_as_one_that_matches_nothing() -> None:
    assert plain_answers(torch.tensor([[-1, -1]])) == [[]]
    assert answer_places([np.array([1, 2])], [[]]) == [[]]


@pytest.mark.parametrize(
    ("given_answers", "found"),
    [
        ([5, 6], "5"),
        (torch.tensor([5, 6]), "5"),
        ("record", "'record'"),
        (["record"], "'record'"),
        (5, "5"),
        ([[1.5]], "1.5"),
        ([["5"]], "'5'"),
        ([None], "None"),
        (torch.tensor([[5.0]]), "5.0"),
    ],
)
def test_plain_answers_says_what_it_found_in_place_of_lists_of_ids(given_answers: object, found: str) -> None:
    with pytest.raises(TypeError, match=f"list of answers, each a list of word-piece ids; found {found}"):
        plain_answers(given_answers)
