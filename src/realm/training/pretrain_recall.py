"""Zero-shot recall: how often the best blocks of a question hold an answer, before anything was trained on questions.

Knows no snapshots and no jobs: what searches is handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from realm.corpus.answers import which_contain_answer
from realm.corpus.questions import AnswerType, read_questions
from realm.errors import SourceError
from realm.features.inputs import InputBuilder, Row
from realm.records import Question
from realm.text.pieces import PieceTokenizer
from realm.training.block_source import BlockSource

Search = Callable[[Sequence[Row], int], NDArray[np.int64]]
"""The k best rows of the corpus for each question, best first."""


def answerable_questions(path: Path, answer_type: AnswerType) -> list[Question]:
    """The questions of a file that have an answer.

    Args:
        path: The file.
        answer_type: What answers are where the file does not say.

    Raises:
        SourceError: The file cannot be read, or none has.
    """
    found = [question for question in read_questions(path, answer_type=answer_type) if any(question.answers)]
    if not found:
        raise SourceError(f"{path}: no question has an answer to look for in blocks; recall cannot be measured.")
    return found


def zero_shot_recall(
    questions: Sequence[Question],
    search: Search,
    blocks: BlockSource,
    tokenizer: PieceTokenizer,
    max_pieces: int,
    k: int = 5,
) -> float:
    """Share of questions of which one of the k best blocks holds an answer, in its text.

    Args:
        questions: With answers.
        search: Over the blocks, with the tower that embedded them.
        blocks: The corpus.
        tokenizer: Of the model.
        max_pieces: Longest question.
        k: So many blocks count.

    Source: REALM, Guu et al. 2020, table 2 ("zero-shot retrieval recall@5").
    """
    builder = InputBuilder(tokenizer)
    pieces = tokenizer.encode_batch([question.text for question in questions])
    found = search([builder.question(part.ids, max_pieces) for part in pieces], k)
    hits = 0
    for question, rows in zip(questions, found, strict=True):
        texts = blocks.utf8_texts([int(row) for row in rows])
        hits += any(which_contain_answer(texts, question.answers, question.answer_type))
    return hits / len(questions)
