"""Answers to learn confidences from: every question asked twice, with all blocks and with those hidden that answer it.

    questions ─► find 40 blocks ─┬─ read the best 5 ───────────────────────► right or wrong
                                 └─ without those that hold an answer: 5 ──► wrong, if anything

A file keeps them, a line for each question, so that a run that was cut short goes on where it stopped. Knows answers
with their signs, not how they are found: that is handed in as an `OpenQA`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from realm.artifacts import sha256_of_text
from realm.corpus.answers import contains_answer
from realm.corpus.expressions import ExpressionMatcher
from realm.corpus.questions import ReferenceQuestion
from realm.errors import CorruptFileError, QuestionError
from realm.evaluation import judging
from realm.evaluation.predicting import drop_broken_end
from realm.openqa.calibration import Signs
from realm.records import Answer, Question

if TYPE_CHECKING:
    from realm.openqa.ask import Asked, OpenQA, Searching

RETRIEVED = 40
"""So many blocks are found, of which those that hold an answer are hidden, so that enough are left to read."""
BATCH = 8


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
    path: Path,
    *,
    progress: Callable[[int], None] | None = None,
) -> list[Case]:
    """Ask every question twice, unless the file has its cases already.

    Args:
        qa: What is calibrated.
        references: Questions with answers; one without is passed over, as is one that is refused.
        searching: How blocks are found.
        top: How many are read.
        path: The file of cases: of these questions in this order. Every batch is on disk before the next is asked.
        progress: Called after every batch with how many questions were asked now.

    Raises:
        CorruptFileError: The file is damaged; the message names the line.
    """
    cases = _kept(path)
    matcher = ExpressionMatcher()
    left = islice(references, len(cases), None)
    with path.open("a", encoding="utf-8") as file:
        while group := list(islice(left, BATCH)):
            made = _cases(qa, group, searching, top, matcher)
            file.writelines(json.dumps([[*case.signs, *case[1:]] for case in one]) + "\n" for one in made)
            file.flush()
            os.fsync(file.fileno())
            cases += made
            if progress is not None:
                progress(len(cases))
    return [case for one in cases for case in one]


def kept_cases(path: Path) -> int:
    """Of how many questions a file has the cases already."""
    return len(_kept(path))


def _kept(path: Path) -> list[list[Case]]:
    if not path.exists():
        return []
    drop_broken_end(path)
    kept = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            kept.append([_case(*values) for values in json.loads(line)])
        except (ValueError, TypeError) as exc:
            raise CorruptFileError(f"{path}, line {number}: no cases ({exc}). Delete the file, and ask anew.") from exc
    return kept


def _case(log_odds: float, reader_score: float, overlap: float, standing: float, *facts: bool) -> Case:
    return Case(Signs(log_odds, reader_score, overlap, standing), *facts)


def _cases(
    qa: OpenQA, group: Sequence[ReferenceQuestion], searching: Searching, top: int, matcher: ExpressionMatcher
) -> list[list[Case]]:
    """Cases of each question; none of one that has no answers or is refused."""
    made: list[list[Case]] = [[] for _ in group]
    useful = [place for place, reference in enumerate(group) if any(reference.question.answers)]
    for is_hidden, answers in _answers(qa, [group[place].question for place in useful], searching, top):
        for place, answer in zip(useful, answers, strict=True):
            if answer is not None and answer.signs:
                is_right = judging.is_right(answer.text or "", group[place].question, matcher)
                made[place].append(Case(Signs(**answer.signs), is_right, is_hidden, _is_test(group[place])))
    return made


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


def _is_test(reference: ReferenceQuestion) -> bool:
    return int(sha256_of_text(reference.passage or reference.question.text)[:8], 16) % 2 == 1
