"""How sure to be of answers, learned from questions that a knowledge base answers, and from the same questions with
every block hidden that holds an answer.

    questions ─► find 40 blocks ─┬─ read the best 5 ───────────────────────► right or wrong ─┐
                                 └─ without those that hold an answer: 5 ──► wrong ──────────┴─► fit, on one half
                                                                                              ─► measure, on the other

Knows answers with their signs, not how they are found: that is handed in as an `OpenQA`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from realm.artifacts import sha256_of_text
from realm.corpus.answers import contains_answer
from realm.corpus.expressions import ExpressionMatcher
from realm.corpus.questions import ReferenceQuestion
from realm.errors import QuestionError, UsageError
from realm.evaluation.calibration import BINS, expected_calibration_error
from realm.evaluation.exact_match import exact_match
from realm.openqa.calibration import Confidence, Signs
from realm.records import Answer, Question

if TYPE_CHECKING:
    from realm.openqa.ask import Asked, OpenQA, Searching

RETRIEVED = 40
"""So many blocks are found, of which those that hold an answer are hidden, so that enough are left to read."""
HIDDEN_WEIGHT = 0.15
"""How much a question with its answer hidden counts beside one without: about one of eight cannot be answered."""
KEPT = 0.93
"""The threshold is as high as it may be for this part of the right answers to be given."""
_RIDGE = 1.0
_NEWTON_STEPS = 50


class Case(NamedTuple):
    """One answer.

    Attributes:
        signs: What is known of it.
        is_right: Whether it matches a reference.
        is_hidden: Whether blocks that hold an answer were hidden.
        is_test: Which half of the questions it belongs to: all questions about one passage to the same.
    """

    signs: Signs
    is_right: bool
    is_hidden: bool
    is_test: bool


def collect_cases(
    qa: OpenQA,
    references: Sequence[ReferenceQuestion],
    searching: Searching,
    top: int,
    *,
    batch: int = 8,
    progress: Callable[[int], None] | None = None,
) -> list[Case]:
    """Ask every question twice: with all blocks, and with those hidden that hold an answer.

    Args:
        qa: What is calibrated.
        references: Questions with answers; one without is passed over, as is one that is refused.
        searching: How blocks are found.
        top: How many are read.
        batch: Questions asked together.
        progress: Called after every batch with the questions done.
    """
    matcher = ExpressionMatcher()
    cases: list[Case] = []
    for start in range(0, len(references), batch):
        group = [reference for reference in references[start : start + batch] if any(reference.question.answers)]
        for is_hidden, answers in _answers(qa, [reference.question for reference in group], searching, top):
            for reference, answer in zip(group, answers, strict=True):
                if answer is not None and answer.signs:
                    is_right = _is_right(answer.text or "", reference.question, matcher)
                    cases.append(Case(Signs(**answer.signs), is_right, is_hidden, _is_test(reference)))
        if progress is not None:
            progress(min(start + batch, len(references)))
    return cases


def _answers(
    qa: OpenQA, questions: Sequence[Question], searching: Searching, top: int
) -> list[tuple[bool, list[Answer | None]]]:
    """Answers with all blocks and with some hidden; None for a question that is refused."""
    asked: list[Asked | None] = []
    for question in questions:
        try:
            asked.append(qa.find([question.text], max(top, RETRIEVED), searching)[0])
        except QuestionError:
            asked.append(None)
    there = [one for one in asked if one is not None]
    hidden = []
    for question, one in zip(questions, asked, strict=True):
        if one is not None:
            holds = [contains_answer(b.block.text, question.answers, question.answer_type) for b in qa.blocks_of(one)]
            hidden.append(replace(one, found=one.found.at(np.flatnonzero(~np.array(holds, dtype=np.bool_)))))
    found: list[tuple[bool, list[Answer | None]]] = []
    for is_hidden, several in ((False, there), (True, hidden)):
        best = [replace(one, found=one.found.at(np.arange(min(top, len(one.found.rows))))) for one in several]
        answers = iter(qa.read(best, top, 0.0))
        found.append((is_hidden, [None if one is None else next(answers) for one in asked]))
    return found


def fit_confidence(cases: Sequence[Case], names: Sequence[str]) -> Confidence:
    """Logistic regression of being right on some signs, with a small ridge; hidden cases count `HIDDEN_WEIGHT`.

    Args:
        cases: What to learn from.
        names: Signs to use.

    Raises:
        UsageError: There are no right answers among them, or no wrong ones.
    """
    values = np.array([[getattr(case.signs, name) for name in names] for case in cases], dtype=np.float64)
    right = np.array([case.is_right for case in cases], dtype=np.float64)
    if not 0 < right.sum() < len(right):
        raise UsageError(
            f"{len(cases)} answers, of which {int(right.sum())} are right: calibration needs right and wrong ones. "
            "Give more questions."
        )
    weights = np.array([HIDDEN_WEIGHT if case.is_hidden else 1.0 for case in cases])
    center, spread = values.mean(0), np.maximum(values.std(0), 1e-9)
    solution = _logistic(np.column_stack([(values - center) / spread, np.ones(len(values))]), right, weights)
    slopes = solution[:-1] / spread
    fitted = Confidence(
        float(solution[-1] - slopes @ center), dict(zip(names, map(float, slopes), strict=True)), threshold=0.0
    )
    kept = sorted(fitted(case.signs) for case in cases if case.is_right and not case.is_hidden)
    threshold = kept[int((1 - KEPT) * len(kept))] if kept else 0.0
    return replace(fitted, threshold=threshold)


def measure_confidence(confidence: Confidence, cases: Sequence[Case]) -> dict[str, float]:
    """How good confidences and the threshold are.

    Returns:
        `ece` of the questions as they are; share of right answers that are given (`kept`), and of answers to questions
        with their passages hidden that are not (`refused`); how many there are of each.
    """
    plain = [case for case in cases if not case.is_hidden]
    right = [case for case in plain if case.is_right]
    hidden = [case for case in cases if case.is_hidden]
    given = [confidence(case.signs) >= confidence.threshold for case in (*right, *hidden)]
    sure = [confidence(case.signs) for case in plain]
    return {
        "ece": expected_calibration_error(sure, [case.is_right for case in plain], bins=BINS),
        "kept": float(np.mean(given[: len(right)])) if right else 0.0,
        "refused": 1.0 - float(np.mean(given[len(right) :])) if hidden else 0.0,
        "questions": float(len(plain)),
        "right": float(len(right)),
        "hidden": float(len(hidden)),
    }


def _logistic(
    values: NDArray[np.float64], right: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Newton's method; the last column, of ones, is not held back."""
    ridge = np.diag([_RIDGE] * (values.shape[1] - 1) + [0.0])
    solution = np.zeros(values.shape[1])
    for _ in range(_NEWTON_STEPS):
        probability = 0.5 * (1 + np.tanh(0.5 * values @ solution))
        slope = values.T @ (weights * (right - probability)) - ridge @ solution
        curvature = (values * (weights * probability * (1 - probability))[:, None]).T @ values + ridge
        step = np.linalg.lstsq(curvature, slope, rcond=None)[0]
        solution += step
        if np.abs(step).max() < 1e-10:
            break
    return np.asarray(solution, dtype=np.float64)


def _is_right(text: str, question: Question, matcher: ExpressionMatcher) -> bool:
    if question.answer_type == "regex":
        return matcher.at_start(text, question.answers)
    return exact_match(text, question.answers)


def _is_test(reference: ReferenceQuestion) -> bool:
    return int(sha256_of_text(reference.passage or reference.question.text)[:8], 16) % 2 == 1
