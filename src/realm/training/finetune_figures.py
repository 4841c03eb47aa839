"""What fine-tuning says of itself: all spans of a question together, the best of them, and shares of questions.

Knows no metric of answers' texts: whether one is right is handed in, because training may not know evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from realm.features.spans import characters_of_pieces
from realm.models.spans import SpanCandidates, correct_spans
from realm.openqa.span_choice import whole_words
from realm.records import Question
from realm.text.pieces import PieceTokenizer
from realm.training.finetune_inputs import Found, Part
from realm.training.finetune_model import SpanScores

IsRight = Callable[[str, Question], bool]
"""Whether a predicted text answers a question, by the official rule."""

TOP_K = (5, 10, 50, 100, 500, 1000, 5000)


class Best(NamedTuple):
    """The best span of each of some questions, (readers,) each.

    Attributes:
        place: Which of the blocks that the question reads.
        span: Which of the block's spans.
        is_right: Whether it is a right answer.
    """

    place: Tensor
    span: Tensor
    is_right: Tensor


class Joint(NamedTuple):
    """All spans of the blocks that some questions read, (readers, blocks, spans) each.

    Attributes:
        scores: Of the reader alone.
        allowed: Which lie in the block.
        correct: Which are a right answer.
    """

    scores: Tensor
    allowed: Tensor
    correct: Tensor

    @classmethod
    def of(cls, part: Part, spans: SpanScores) -> Joint:
        """The spans of a part's pairs, by question."""
        device = spans.scores.device
        pairs = zip(part.firsts.to(device), part.lasts.to(device), spans.firsts, spans.lasts, strict=True)
        # One row at a time: the comparison of all rows at once would be rows x answers x spans.
        correct = torch.stack([
            correct_spans(first, last, SpanCandidates(*sides)) & (sides[0] >= 0) for first, last, *sides in pairs
        ])  # fmt: skip
        shape = (*part.ranks.shape, spans.scores.size(1))
        return cls(*(tensor.view(shape) for tensor in (spans.scores, spans.allowed, correct & spans.allowed)))

    def best(self, retrieval_scores: Tensor) -> Best:
        """The best span of each question, over all blocks it reads.

        Args:
            retrieval_scores: Of the blocks, (readers, blocks).
        """
        scores = (self.scores + retrieval_scores[..., None]).masked_fill(~self.allowed, -torch.inf)
        number = scores.flatten(1).argmax(-1)
        is_right = self.correct.flatten(1).gather(1, number[:, None])[:, 0]
        spans = scores.size(-1)
        return Best(number // spans, number % spans, is_right)


def match_figures(found: Sequence[Found], questions: int) -> dict[str, float]:
    """Shares of questions: a block with an answer among the best k; a right span in what is read."""
    shares = {"reader_oracle": sum(one.has_target for one in found) / questions}
    for k in TOP_K:
        if found and k <= len(found[0].rows):
            shares[f"top_{k}_match"] = sum(bool(one.has_answer[:k].any()) for one in found) / questions
    return shares


def count_figures(found: Sequence[Found]) -> dict[str, float]:
    """How many questions there are, how many of them teach nothing, and why; answers that are no target, and why."""
    figures = {
        "examples": len(found),
        "skipped_no_answering_block": sum(not one.has_answer.any() for one in found),
        "skipped_no_right_span": sum(bool(one.has_answer.any()) and not one.has_target for one in found),
        "spans_too_wide": 0,
        "spans_cut_off": 0,
    }
    for one in found:
        for reading in one.readings:
            for reason, count in reading.skipped.items():
                figures[f"spans_{reason}"] += count
    return {key: float(value) for key, value in figures.items()}


def predicted_texts(readers: Sequence[Found], best: Best, spans: SpanScores, tokenizer: PieceTokenizer) -> list[str]:
    """The characters of the best span of each question, widened to whole words; empty where it reads nothing.

    Args:
        readers: The questions.
        best: Their best spans.
        spans: All spans of what they read, row number `reader * blocks + place`.
        tokenizer: Of the model.
    """
    texts = []
    for number, (one, place, span) in enumerate(zip(readers, best.place.tolist(), best.span.tolist(), strict=True)):
        reading = one.readings[place]
        row = number * len(one.readings) + place
        first, last = (int(side[row, span]) - reading.row.body_start for side in (spans.firsts, spans.lasts))
        text = reading.block.text
        (pieces,) = tokenizer.encode_batch([text])
        if not bool(spans.allowed[row, span]):
            texts.append("")
            continue
        start, end = whole_words(text, *characters_of_pieces(pieces.offsets, first, last))
        texts.append(text[start:end])
    return texts
