"""Hard negatives: blocks that a search takes for the passage of a question, and that do not hold its answer.

    question ─ search by words, by vectors ─ best blocks ─ those without an answer ─ the first few of each search

Batches hold few blocks that are hard to tell apart from the right one; a search over a whole knowledge base finds them.
Knows questions and an open knowledge base, no networks of a run. Read `mine_hard_negatives` first.

Source: Karpukhin et al. 2020, "Dense Passage Retrieval", section 3.2 (negatives by words); Xiong et al. 2021, "ANCE"
(by the model's own vectors).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice, zip_longest
from typing import Literal

from realm.corpus.answers import contains_answer
from realm.errors import QuestionError, UsageError
from realm.openqa.ask import OpenQA, Searching
from realm.openqa.asked import Asked
from realm.records import Question, ReadingExample

By = Literal["words", "vectors", "both"]

_QUESTIONS_AT_ONCE = 64
_WEIGHTS = {"words": (1.0,), "vectors": (0.0,), "both": (1.0, 0.0)}


def mine_hard_negatives(
    qa: OpenQA, examples: Iterable[ReadingExample], *, by: By = "both", count: int = 8, skip: int = 0, depth: int = 50
) -> Iterator[ReadingExample]:
    """Look for hard negatives of every example.

    Args:
        qa: The knowledge base to search, best one that has the passages of the examples.
        examples: Questions with their passages. Of one without an answer no block can be said not to hold it.
        by: How blocks are looked for. With both, the best by words and by vectors take turns.
        count: At most so many for each example.
        skip: So many of the best blocks without an answer are passed over: they may answer in other words.
        depth: How many blocks of each search are looked at.

    Returns:
        The examples, in order, each with the negatives found instead of those it had: none where the question is empty
        or too long for a search.

    Raises:
        UsageError: Nothing would be found in so few blocks; the knowledge base has no index of words.
    """
    if skip + 1 > depth:
        raise UsageError(f"Of {depth} blocks looked at, {skip} are to be skipped: give a larger depth, or skip fewer.")
    waiting = iter(examples)
    while batch := list(islice(waiting, _QUESTIONS_AT_ONCE)):
        questions = [example.question for example in batch]
        searches = [found_for(qa, questions, depth, Searching(weight=weight)) for weight in _WEIGHTS[by]]
        for example, *asked in zip(batch, *searches, strict=True):
            found = [_without_answer(qa, one, example, skip + count)[skip:] for one in asked if one is not None]
            in_turn = (block for blocks in zip_longest(*found) for block in blocks if block is not None)
            yield replace(example, hard_negatives=tuple(islice(dict.fromkeys(in_turn), count)))


def found_for(qa: OpenQA, questions: Sequence[Question], depth: int, searching: Searching) -> list[Asked | None]:
    """The best blocks of each question; None for one that is empty or too long: one of thousands stops no search."""
    try:
        return [*qa.find([question.text for question in questions], depth, searching)]
    except QuestionError:
        if len(questions) == 1:
            return [None]
        return [asked for question in questions for asked in found_for(qa, [question], depth, searching)]


def _without_answer(qa: OpenQA, asked: Asked, example: ReadingExample, count: int) -> list[tuple[str, str]]:
    """Title and text of the first blocks that hold no answer."""
    answers = example.question.answers
    if not answers:
        return []
    blocks = (stored.block for stored in qa.blocks_of(asked))
    wrong = ((block.title, block.text) for block in blocks if not contains_answer(block.text, answers))
    return list(islice(wrong, count))
