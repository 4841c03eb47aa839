"""Answers to learn confidences from: every question asked twice, with all blocks and with those hidden that answer it.

    questions ─┬─ find 40 blocks ─────────────────────────── read the best 5 ─► right or wrong
               └─ find as if none that holds an answer were there: the best 5 ─► wrong, if anything

A block is hidden from the search, not only from its results: scores are shares of what a search finds, and would tell
that something better is there. Both for every kind of search that is to be calibrated; a block that several of them
find is read once. A file keeps the answers, a line for each question, so that a run that was cut short goes on where it
stopped. Knows answers with their signs, not how they are found: that is handed in as an `OpenQA`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from realm.artifacts import sha256_of_text
from realm.corpus.answers import contains_answer
from realm.corpus.expressions import ExpressionMatcher
from realm.corpus.questions import ReferenceQuestion
from realm.errors import CorruptFileError, QuestionError
from realm.evaluation import judging
from realm.evaluation.predicting import drop_broken_end
from realm.openqa.calibration import Signs
from realm.records import Question

if TYPE_CHECKING:
    from realm.openqa.ask import OpenQA, Searching
    from realm.openqa.asked import Asked

RETRIEVED = 40
"""So many blocks are looked through at once for answers to hide."""
BATCH = 8

CasesOfQuestion = dict[str, list["Case"]]
"""By the name of the search."""


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
    searches: Mapping[str, Searching],
    top: int,
    path: Path,
    *,
    progress: Callable[[int], None] | None = None,
) -> dict[str, list[Case]]:
    """Ask every question twice in every way, unless the file has its cases already.

    Args:
        qa: What is calibrated.
        references: Questions with answers; one without is passed over, as is one that is refused.
        searches: Ways to find blocks, by name.
        top: How many are read.
        path: The file of cases: of these questions in this order. Every batch is on disk before the next is asked.
        progress: Called after every batch with how many questions were asked now.

    Returns:
        The cases of all questions, by the name of the search.

    Raises:
        CorruptFileError: The file is damaged; the message names the line.
    """
    cases = _kept(path, searches)
    matcher = ExpressionMatcher()
    left = islice(references, len(cases), None)
    with path.open("a", encoding="utf-8") as file:
        while group := list(islice(left, BATCH)):
            made = _cases(qa, group, searches, top, matcher)
            file.writelines(_line(one) for one in made)
            file.flush()
            os.fsync(file.fileno())
            cases += made
            if progress is not None:
                progress(len(cases))
    return {name: [case for one in cases for case in one[name]] for name in searches}


def kept_cases(path: Path, searches: Collection[str]) -> int:
    """Of how many questions a file has the cases already. Raises like `collect_cases`."""
    return len(_kept(path, searches))


def _line(cases: CasesOfQuestion) -> str:
    return json.dumps({name: [[*case.signs, *case[1:]] for case in own] for name, own in cases.items()}) + "\n"


def _kept(path: Path, searches: Collection[str]) -> list[CasesOfQuestion]:
    if not path.exists():
        return []
    drop_broken_end(path)
    kept = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            found = json.loads(line)
            kept.append({name: [_case(*values) for values in found[name]] for name in searches})
        except (ValueError, TypeError, KeyError) as exc:
            raise CorruptFileError(f"{path}, line {number}: no cases ({exc}). Delete the file, and ask anew.") from exc
    return kept


def _case(*values: float) -> Case:
    signs = len(Signs._fields)
    is_right, is_hidden, is_test = map(bool, values[signs:])
    return Case(Signs(*values[:signs]), is_right, is_hidden, is_test)


def _cases(
    qa: OpenQA,
    group: Sequence[ReferenceQuestion],
    searches: Mapping[str, Searching],
    top: int,
    matcher: ExpressionMatcher,
) -> list[CasesOfQuestion]:
    """Cases of each question; none of one that has no answers or is refused."""
    made: list[CasesOfQuestion] = [{name: [] for name in searches} for _ in group]
    wanted: list[tuple[int, str, bool, Asked]] = []
    for place, reference in enumerate(group):
        if any(reference.question.answers):
            for name, searching in searches.items():
                wanted += [(place, name, *both) for both in _plain_and_hidden(qa, reference.question, searching, top)]
    answers = qa.read([asked for *_, asked in wanted], top, 0.0)
    for (place, name, is_hidden, _), answer in zip(wanted, answers, strict=True):
        if answer.signs:
            is_right = judging.is_right(answer.text, group[place].question, matcher)
            made[place][name].append(Case(Signs(**answer.signs), is_right, is_hidden, is_test(group[place])))
    return made


def _plain_and_hidden(qa: OpenQA, question: Question, searching: Searching, top: int) -> Iterator[tuple[bool, Asked]]:
    """A question with the best blocks, and with the best of a search as if none held an answer; nothing if it is
    refused.
    """
    try:
        (asked,) = qa.find([question.text], max(top, RETRIEVED), searching)
    except QuestionError:
        return
    yield False, replace(asked, found=asked.found.at(slice(top)))
    hidden = np.empty(0, np.int64)
    while (holds := _holding(qa, asked, question))[:top].any():
        hidden = np.concatenate([hidden, asked.found.rows[holds]])
        (asked,) = qa.find([question.text], max(top, RETRIEVED), searching, without=hidden)
    yield True, replace(asked, found=asked.found.at(slice(top)))


def _holding(qa: OpenQA, asked: Asked, question: Question) -> NDArray[np.bool_]:
    """Which of the blocks found hold an answer."""
    blocks = qa.blocks_of(asked)
    return np.array([contains_answer(b.block.text, question.answers, question.answer_type) for b in blocks], np.bool_)


def is_test(reference: ReferenceQuestion) -> bool:
    """Which half a question belongs to, by a digest that says nothing about what recipes keep aside."""
    return int(sha256_of_text("calibration", reference.passage or reference.question.text)[:8], 16) % 2 == 1
