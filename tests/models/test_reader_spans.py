"""Spans are enumerated, allowed and picked as a search through all of them would."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from realm.models.spans import SpanCandidates, allowed_spans, best_spans, correct_spans, span_candidates

CPU = torch.device("cpu")
# Few values, so that ties abound.
SCORES = st.sampled_from([-math.inf, torch.finfo(torch.float32).min, -2.0, 0.0, 1.0, 5.0])


@given(pieces=st.integers(1, 24), width=st.integers(1, 12))
def test_every_span_comes_once_by_width_and_then_by_start(pieces: int, width: int) -> None:
    wanted = [(start, start + w - 1) for w in range(1, width + 1) for start in range(pieces) if start + w <= pieces]
    starts, ends = span_candidates(pieces, width, CPU)
    assert list(zip(starts.tolist(), ends.tolist(), strict=True)) == wanted
    assert starts.dtype == ends.dtype == torch.int64


def test_there_are_3155_spans_in_320_pieces_of_at_most_10() -> None:
    assert len(span_candidates(320, 10, CPU).starts) == 3155


def test_spans_of_a_short_input_follow_the_documented_order() -> None:
    starts, ends = span_candidates(10, 4, CPU)
    assert starts.tolist() == [*range(10), *range(9), *range(8), *range(7)]
    assert ends.tolist() == [*range(10), *range(1, 10), *range(2, 10), *range(3, 10)]


@given(mask=st.lists(st.booleans(), min_size=1, max_size=10), width=st.integers(1, 4))
def test_a_span_is_allowed_iff_both_ends_lie_in_the_block(mask: list[bool], width: int) -> None:
    candidates = span_candidates(len(mask), width, CPU)
    found = allowed_spans(torch.tensor([mask, mask]), candidates)
    wanted = [mask[s] and mask[e] for s, e in zip(*(side.tolist() for side in candidates), strict=True)]
    assert found.tolist() == [wanted, wanted]


@given(
    answers=st.lists(st.tuples(st.integers(-1, 9), st.integers(-1, 9)), min_size=1, max_size=4),
    width=st.integers(1, 3),
)
def test_a_span_is_correct_iff_it_is_exactly_an_answer(answers: list[tuple[int, int]], width: int) -> None:
    candidates = span_candidates(6, width, CPU)
    starts, ends = torch.tensor([answers]).unbind(-1)
    found = correct_spans(starts, ends, candidates)[0].tolist()
    pairs = zip(candidates.starts.tolist(), candidates.ends.tolist(), strict=True)
    assert found == [pair in answers for pair in pairs]


@given(data=st.data(), blocks=st.integers(1, 3), batch=st.integers(1, 2))
def test_the_best_span_is_the_first_of_the_highest_allowed_ones(data: st.DataObject, blocks: int, batch: int) -> None:
    candidates = span_candidates(4, 2, CPU)
    spans = len(candidates.starts)
    size = batch * blocks * spans
    scores = data.draw(st.lists(SCORES, min_size=size, max_size=size))
    allowed = data.draw(st.lists(st.booleans(), min_size=size, max_size=size))
    shape = (batch, blocks, spans)
    found = best_spans(torch.tensor(scores).view(shape), torch.tensor(allowed).view(shape), candidates)
    for question in range(batch):
        best, wanted = None, (-1, -1, -1, -1)
        for block in range(blocks):
            for span in range(spans):
                place = (question * blocks + block) * spans + span
                # An overflowed score counts as the lowest number there is.
                score = max(scores[place], torch.finfo(torch.float32).min)
                if allowed[place] and (best is None or score > best):
                    best = score
                    wanted = (block, span, int(candidates.starts[span]), int(candidates.ends[span]))
        assert tuple(int(field[question]) for field in found) == wanted


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_best_span_is_found_in_every_float_format(dtype: torch.dtype) -> None:
    candidates = SpanCandidates(torch.tensor([0, 1]), torch.tensor([0, 1]))
    scores = torch.tensor([[[9.0, 1.0], [2.0, 1.0]]], dtype=dtype)
    allowed = torch.tensor([[[False, True], [True, True]]])
    assert [field.item() for field in best_spans(scores, allowed, candidates)] == [1, 0, 0, 0]


def test_an_allowed_span_whose_score_has_overflowed_still_comes_before_every_masked_one() -> None:
    candidates = span_candidates(3, 1, CPU)
    scores = torch.tensor([[[4.0, 9.0, -math.inf]]])
    found = best_spans(scores, torch.tensor([[[False, False, True]]]), candidates)
    assert [field.item() for field in found] == [0, 2, 2, 2]
