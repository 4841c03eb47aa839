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


def is_right(text: str | None, question: Question, matcher: ExpressionMatcher) -> bool:
    """Whether an answer is right as ORQA scores it: exact match, or for expressions a match at the start.

    No answer is right only where the question has none, whatever its answers become by normalisation.
    """
    text = text or ""
    if not text and any(question.answers):
        return False
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
        seconds: Time of each stage; see `Prediction`.
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

    "No answer" is right where the only reference is the empty one and the question was asked. Whether a block holds an
    answer is taken from the prediction, where it says so, and else looked for in the block's text.
    """
    official, squad_exact, f1, anywhere = _comparison(prediction, matcher)
    known, answer_rank = _answer_rank(prediction, matcher)
    return Judgement(
        id=prediction.id,
        is_string=prediction.answer_type == "string",
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


def _comparison(prediction: Prediction, matcher: ExpressionMatcher) -> tuple[bool, bool, float, bool]:
    """`official`, `squad_exact`, `f1` and `regex_anywhere` of the judgement."""
    said, answers = prediction.prediction or "", prediction.answers
    if not said and (any(answers) or prediction.problem):
        return False, False, 0.0, False
    if prediction.answer_type == "string":
        return *compare(said, answers), False
    return matcher.at_start(said, answers), False, 0.0, matcher.anywhere(said, answers)


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
