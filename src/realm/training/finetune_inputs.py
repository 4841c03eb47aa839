"""Questions with what was retrieved for them as inputs of the networks: in parts that fit into memory.

    questions, retrieved rows, which of them answer ─ choose ─► blocks to read, what counts in the retriever's loss
                                                          │
    parts of at most `micro_rows` pairs, of like length ◄─┘ collate

Knows no index and no networks. Read `Collator`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from realm.features.inputs import InputBuilder, Row
from realm.training.finetune_answers import AnswerFinder, Places
from realm.training.finetune_questions import AskedQuestion
from realm.training.finetune_recipe import FinetuneRecipe
from realm.training.pretrain_inputs import Group, groups_of_like_length
from realm.training.token_store import TrainingBlock


class Reading(NamedTuple):
    """A block that a question reads.

    Attributes:
        rank: Its place among those retrieved.
        block: The block.
        row: Question and block as the reader sees them.
        spans: Right answers in the row, first and last piece.
        skipped: Right answers that are no target, by reason: too wide, or in the part that was cut off.
    """

    rank: int
    block: TrainingBlock
    row: Row
    spans: list[tuple[int, int]]
    skipped: dict[str, int]


class Found(NamedTuple):
    """A question with what was retrieved for it.

    Attributes:
        number: Of the question among those of this process.
        asked: The question.
        rows: (retrieved,) int64, best first.
        has_answer: (retrieved,) bool.
        counts: (retrieved,) bool: what the retriever's loss is over.
        readings: Blocks to read, by rank.
    """

    number: int
    asked: AskedQuestion
    rows: NDArray[np.int64]
    has_answer: NDArray[np.bool_]
    counts: NDArray[np.bool_]
    readings: list[Reading]

    @property
    def has_target(self) -> bool:
        """Whether a block that is read holds a right span."""
        return any(reading.spans for reading in self.readings)


class Part(NamedTuple):
    """Some questions; those that read stand first.

    Attributes:
        numbers: (questions,) int64: their numbers among those of this process.
        rows: (questions, retrieved) int64.
        has_answer: (questions, retrieved) bool.
        counts: (questions, retrieved) bool: what the retriever's loss is over.
        ranks: (readers, blocks) int64: which of the retrieved blocks are read.
        pairs: Question and block, for the reader; row number `reader * blocks + place`.
        firsts: (readers * blocks, answers) int64: first piece of each right span; -1 beyond the last.
        lasts: The same of last pieces.
    """

    numbers: Tensor
    rows: NDArray[np.int64]
    has_answer: Tensor
    counts: Tensor
    ranks: Tensor
    pairs: list[Group]
    firsts: Tensor
    lasts: Tensor

    def padding(self) -> tuple[int, int]:
        """How many positions hold no word piece, and how many are computed in all."""
        computed = sum(group.inputs.input_ids.numel() for group in self.pairs)
        return computed - sum(group.pieces for group in self.pairs), computed


class Collator:
    """Chooses blocks to read and makes inputs.

    Args:
        builder: Of the model's tokenizer.
        finder: Looks for answers.
        recipe: See `FinetuneRecipe`.
    """

    def __init__(self, builder: InputBuilder, finder: AnswerFinder, recipe: FinetuneRecipe) -> None:
        self._builder, self._finder, self._recipe = builder, finder, recipe

    def question(self, asked: AskedQuestion) -> Row:
        """A question as the retriever sees it."""
        return self._builder.question(asked.ids, len(asked.ids) + 2)

    def block(self, block: TrainingBlock) -> Row:
        """A block as the retriever sees it."""
        return self._builder.block(block.title_ids, block.body_ids, self._recipe.block_seq_len)

    def grouped(self, rows: Sequence[Row]) -> list[Group]:
        """Rows in groups of like length."""
        return [
            Group(numbers, self._builder.pad([rows[n] for n in numbers]), sum(len(rows[n].ids) for n in numbers))
            for numbers in groups_of_like_length([len(row.ids) for row in rows])
        ]

    def ranks_to_read(self, has_answer: NDArray[np.bool_], read: str) -> list[int]:
        """Places of the blocks that a question reads.

        Args:
            has_answer: (retrieved,) bool, best first.
            read: "best" or "contrast"; see `FinetuneRecipe`.
        """
        blocks = self._recipe.reader_blocks
        if read == "best":
            return list(range(min(blocks, len(has_answer))))
        right, wrong = (np.flatnonzero(has_answer == value).tolist() for value in (True, False))
        chosen = right[: max((blocks + 1) // 2, blocks - len(wrong))]
        return sorted([*chosen, *wrong[: blocks - len(chosen)]])

    def found(
        self,
        number: int,
        asked: AskedQuestion,
        rows: NDArray[np.int64],
        has_answer: NDArray[np.bool_],
        ranks: Sequence[int],
        blocks: Mapping[int, TrainingBlock],
    ) -> Found:
        """A question with what it reads.

        Args:
            number: Of the question among those of this process.
            asked: The question.
            rows: Retrieved, best first.
            has_answer: Which of them answer.
            ranks: Which are read.
            blocks: Those, by row of the corpus.
        """
        read = [blocks[int(rows[rank])] for rank in ranks]
        places = self._finder.places(asked, read)
        readings = [self._reading(asked, *one) for one in zip(ranks, read, places, strict=True)]
        return Found(number, asked, rows, has_answer, self._counts(has_answer), readings)

    def parts(self, found: Sequence[Found], reads_all: bool) -> list[Part]:
        """All questions in parts of like length.

        Args:
            found: The questions.
            reads_all: Whether those read that have nothing to learn from reading, too.
        """
        readers = [one for one in found if reads_all or one.has_target]
        readers.sort(key=lambda one: sum(len(reading.row.ids) for reading in one.readings))
        at_once = max(1, self._recipe.micro_rows // self._recipe.reader_blocks)
        groups = [readers[first : first + at_once] for first in range(0, len(readers), at_once)]
        others = [one for one in found if not (reads_all or one.has_target)]
        parts = [self._part(group, group) for group in groups]
        most = max(at_once, self._recipe.micro_rows)
        return parts + [self._part(others[first : first + most], []) for first in range(0, len(others), most)]

    def _reading(self, asked: AskedQuestion, rank: int, block: TrainingBlock, places: Places) -> Reading:
        row = self._builder.reader(asked.ids, block.body_ids, self._recipe.reader_seq_len)
        spans = [(first + row.body_start, last + row.body_start) for first, last in places.spans]
        inside = [(first, last) for first, last in spans if last < row.body_end]
        skipped = {"too_wide": places.too_wide, "cut_off": len(spans) - len(inside)}
        return Reading(rank, block, row, inside, skipped)

    def _counts(self, has_answer: NDArray[np.bool_]) -> NDArray[np.bool_]:
        counts = np.ones_like(has_answer)
        if self._recipe.distant_within:
            counts[self._recipe.distant_within :] &= ~has_answer[self._recipe.distant_within :]
        if self._recipe.max_positive_blocks:
            right = np.flatnonzero(has_answer & counts)
            counts[right[self._recipe.max_positive_blocks :]] = False
        return counts

    def _part(self, found: Sequence[Found], readers: Sequence[Found]) -> Part:
        readings = [reading for one in readers for reading in one.readings]
        most = max((len(reading.spans) for reading in readings), default=0)
        firsts, lasts = (torch.full((len(readings), max(1, most)), -1, dtype=torch.long) for _ in range(2))
        for number, reading in enumerate(readings):
            for place, (first, last) in enumerate(reading.spans):
                firsts[number, place], lasts[number, place] = first, last
        return Part(
            torch.tensor([one.number for one in found]),
            np.stack([one.rows for one in found]),
            torch.from_numpy(np.stack([one.has_answer for one in found])),
            torch.from_numpy(np.stack([one.counts for one in found])),
            torch.tensor([[reading.rank for reading in one.readings] for one in readers], dtype=torch.long),
            self.grouped([reading.row for reading in readings]),
            firsts,
            lasts,
        )  # fmt: skip


def fresh_places(part: Part, best: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Questions and ranks of the `best` blocks of all questions of a part, and of the blocks that are read."""
    chosen = np.zeros(part.rows.shape, dtype=bool)
    chosen[:, :best] = True
    readers = np.arange(len(part.ranks))[:, None]
    chosen[readers, part.ranks.numpy()] = True
    questions, ranks = np.nonzero(chosen)
    return questions, ranks
