"""Distant supervision: for a question with answers alone, the best block that holds one, as if it were its passage.

    question ─ search ─ best blocks ─┬─ the first that holds an answer ─ where it stands ─► reading example
                                     └─ the first that hold none ─────────────────────────► its hard negatives

Some of these blocks hold the answer's words and do not answer; among the best of a search few do. Knows questions and
an open knowledge base, no networks of a run. Read `find_passages` first.

Source: Mintz et al. 2009, "Distant supervision for relation extraction without labeled data"; Karpukhin et al. 2020,
"Dense Passage Retrieval", section 4.2 (the best passage by BM25 that holds the answer).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from realm.corpus.answers import contains_answer
from realm.corpus.expressions import ExpressionMatcher
from realm.features.spans import characters_of_pieces
from realm.openqa.answer_search import answer_places
from realm.openqa.ask import OpenQA, Searching
from realm.records import Block, Question, ReadingExample
from realm.text.pieces import PieceTokenizer
from realm.training.hard_negatives import By, found_for

_QUESTIONS_AT_ONCE = 64
_MOST_PLACES = 4
_SEARCHING = {"words": Searching(weight=1.0), "vectors": Searching(weight=0.0), "both": Searching(hybrid=True)}


def find_passages(
    qa: OpenQA, questions: Iterable[Question], *, by: By = "both", depth: int = 20, negatives: int = 0
) -> Iterator[ReadingExample | None]:
    """Look for a passage of every question.

    Args:
        qa: The knowledge base to search.
        questions: With their answers, texts or regular expressions.
        by: How blocks are looked for; "both" by the fused score of words and vectors.
        depth: How many blocks of a search are looked at.
        negatives: At most so many hard negatives for each: the best of these blocks that hold no answer.

    Returns:
        For each question, in order, an example whose answers are what stands in the passage; None where no block that
        was looked at holds an answer, or the question has none, is empty or too long for a search.

    Raises:
        UsageError: The knowledge base has no index of words.
    """
    waiting = iter(questions)
    matcher = ExpressionMatcher()
    while batch := list(islice(waiting, _QUESTIONS_AT_ONCE)):
        for question, asked in zip(batch, found_for(qa, batch, depth, _SEARCHING[by]), strict=True):
            blocks = [] if asked is None else [stored.block for stored in qa.blocks_of(asked)]
            yield _example(question, blocks, negatives, qa.model.tokenizer, matcher)


def _example(
    question: Question, blocks: Sequence[Block], negatives: int, tokenizer: PieceTokenizer, matcher: ExpressionMatcher
) -> ReadingExample | None:
    holds = [contains_answer(block.text, question.answers, question.answer_type) for block in blocks]
    wrong = ((block.title, block.text) for block, is_right in zip(blocks, holds, strict=True) if not is_right)
    for block in (block for block, is_right in zip(blocks, holds, strict=True) if is_right):
        if places := _places(question, block, tokenizer, matcher):
            texts = tuple(block.text[start:end] for start, end in places)
            return ReadingExample(
                replace(question, answers=texts, answer_type="string"),
                block.title,
                block.text,
                tuple(start for start, _ in places),
                tuple(dict.fromkeys(islice(wrong, negatives))),
            )
    return None


def _places(
    question: Question, block: Block, tokenizer: PieceTokenizer, matcher: ExpressionMatcher
) -> list[tuple[int, int]]:
    """Where the answers stand in a block's text, in characters; the first few."""
    if question.answer_type == "regex":
        found = matcher.places(block.text, question.answers)
    else:
        [pieces] = tokenizer.encode_batch([block.text])
        answers = [tokenizer.ids_of(answer) for answer in question.answers]
        [spans] = answer_places([np.array(pieces.ids)], answers)
        found = [characters_of_pieces(pieces.offsets, first, last) for first, last in spans]
    return sorted(set(found))[:_MOST_PLACES]
