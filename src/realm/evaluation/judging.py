"""One prediction after the other into right and wrong, ranks and times: all that figures are made of.

Knows no model and no figure over many questions. Read `judge` first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from realm.corpus.answers import contains_answer
from realm.corpus.expressions import ExpressionMatcher
from realm.evaluation.exact_match import compare, exact_match
from realm.evaluation.predictions import Prediction, RankedBlock
from realm.records import Question


def is_right(text: str, question: Question, matcher: ExpressionMatcher) -> bool:
    """Whether an answer is right as ORQA scores it: exact match, or for expressions a match at the start."""
    if question.answer_type == "regex":
        return matcher.at_start(text, question.answers)
    return exact_match(text, question.answers)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one prediction is worth.

    Attributes:
        id: The question's.
        is_string: Whether the references are strings; else they are regular expressions.
        official: Right as ORQA scores it: exact match, or for expressions a match at the start.
        squad_exact: Right as SQuAD scores it; False for expressions.
        f1: SQuAD's; 0.0 for expressions.
        regex_anywhere: An expression is found in the answer; False for strings.
        is_answered: Whether there is an answer.
        is_answerable: Whether there should be one.
        confidence: How sure the system was, or None.
        known: How many blocks of evidence it is known of whether they hold an answer, from the best on.
        answer_rank: Rank (from 1) of the best of these that does, or None.
        gold_known: Whether it is known which blocks are of the question's passage.
        gold_rank: Rank of the best of these, or None.
        depth: How many blocks were retrieved.
        read: How many of them were read.
        seconds: Time of each stage.
    """

    id: str
    is_string: bool
    official: bool
    squad_exact: bool
    f1: float
    regex_anywhere: bool
    is_answered: bool
    is_answerable: bool
    confidence: float | None
    known: int
    answer_rank: int | None
    gold_known: bool
    gold_rank: int | None
    depth: int
    read: int
    seconds: Mapping[str, float]


def judge(prediction: Prediction, matcher: ExpressionMatcher) -> Judgement:
    """Judge a prediction by its references, of which there must be at least one.

    "No answer" is right where the only reference is the empty one. Whether a block holds an answer is taken from the
    prediction, where it says so, and else looked for in the block's text.
    """
    said = prediction.prediction or ""
    is_string = prediction.answer_type == "string"
    if is_string:
        comparison = compare(said, prediction.answers)
        official, squad_exact, f1 = comparison
        anywhere = False
    else:
        official, squad_exact, f1 = matcher.at_start(said, prediction.answers), False, 0.0
        anywhere = matcher.anywhere(said, prediction.answers)
    known, answer_rank = _answer_rank(prediction, matcher)
    return Judgement(
        id=prediction.id,
        is_string=is_string,
        official=official,
        squad_exact=squad_exact,
        f1=f1,
        regex_anywhere=anywhere,
        is_answered=bool(prediction.prediction),
        is_answerable=any(prediction.answers),
        confidence=prediction.confidence,
        known=known,
        answer_rank=answer_rank,
        gold_known=any(block.is_gold is not None for block in prediction.evidence),
        gold_rank=next((rank for rank, block in enumerate(prediction.evidence, 1) if block.is_gold), None),
        depth=len(prediction.evidence),
        read=prediction.read,
        seconds=prediction.seconds,
    )


def holds_answer(text: str, asked: Question | Prediction, matcher: ExpressionMatcher) -> bool:
    """Whether a reference answer stands in the text."""
    if asked.answer_type == "regex":
        return matcher.anywhere(text, asked.answers)
    return contains_answer(text, asked.answers)


def _answer_rank(prediction: Prediction, matcher: ExpressionMatcher) -> tuple[int, int | None]:
    """How many blocks are known, and the rank of the first that holds an answer."""
    for rank, block in enumerate(prediction.evidence, 1):
        found = _has_answer(block, prediction, matcher)
        if found is None:
            return rank - 1, None
        if found:
            return len(prediction.evidence), rank
    return len(prediction.evidence), None


def _has_answer(block: RankedBlock, prediction: Prediction, matcher: ExpressionMatcher) -> bool | None:
    if block.has_answer is not None or block.text is None:
        return block.has_answer
    return holds_answer(block.text, prediction, matcher)
