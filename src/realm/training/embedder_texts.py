"""What an embedder learns from: questions, blocks, which belong together, and who takes part in a step.

    reading files ─► question, passage, hard negatives ─┐
    documents     ─► sentence, block without it        ─┼─► distinct texts, numbered ─ draw ─► numbers of a step
    questions     ─► by themselves                     ─┘

What is drawn is a function of (seed, step). Knows word pieces, no networks. Read `EmbedderTexts` first.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from realm.artifacts import sha256_of_text
from realm.corpus.questions import read_questions
from realm.features.inputs import InputBuilder, Row
from realm.text.pieces import PieceTokenizer
from realm.training.embedder_recipe import EmbedderRecipe
from realm.training.inverse_cloze import sentence_and_rest, sentence_blocks
from realm.training.reading_data import ReadingPool

T = TypeVar("T")


@dataclass(frozen=True)
class EmbedderBatch:
    """Who takes part in a step, by number.

    Attributes:
        questions: The first ones belong to blocks; the rest are only distilled.
        blocks: Distinct ones.
        targets: Place among the step's blocks of the block that a question belongs to, for the first questions.
        excluded: Blocks that must not count as negatives: of the same passage as the question's own.
    """

    questions: Int64[Tensor, " question"]
    blocks: Int64[Tensor, " block"]
    targets: Int64[Tensor, " pair"]
    excluded: Bool[Tensor, "pair block"]


class _Pair(NamedTuple):
    """Numbers of a question, of its block, and of the hard negatives among the blocks."""

    question: int
    block: int
    negatives: tuple[int, ...] = ()


class _Texts:
    """Distinct rows, numbered in the order in which they were first seen."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self.rows: list[Row] = []

    def number(self, row: Row) -> int:
        number = self._numbers.setdefault(array("I", (row.body_start, *row.ids)).tobytes(), len(self.rows))
        if number == len(self.rows):
            self.rows.append(row)
        return number


class EmbedderTexts:
    """All texts of a recipe, and the draws of its steps.

    Args:
        recipe: See `EmbedderRecipe`.
        tokenizer: Of the trunk.
        builder: Of the same vocabulary.

    Attributes:
        questions: All questions and sentences, as inputs.
        blocks: All blocks, as inputs.
        digests: Of what was read, by name.

    Raises:
        RecipeError: There is no source, or one without examples.
        SourceError: A file cannot be read.
    """

    def __init__(self, recipe: EmbedderRecipe, tokenizer: PieceTokenizer, builder: InputBuilder) -> None:
        self._recipe, self._builder = recipe, builder
        self._questions, self._blocks = _Texts(), _Texts()
        self._passages: list[int] = []
        folder = Path(recipe.data)
        self._pool = ReadingPool(recipe.sources, folder, tokenizer, recipe.seed)
        for group in self._pool.groups:
            for example in group:
                self._pair_of(example.question_ids, example.title_ids, example.body_ids, example.passage)
                for negative in example.hard_negatives:
                    self._block(negative.title_ids, negative.body_ids, negative.passage)
        sentences = list(sentence_blocks([folder / path for path in recipe.documents], recipe.max_documents, tokenizer))
        choice = random.Random(recipe.seed)
        self._sentences: list[_Pair] = []
        for number, block in enumerate(sentences):
            sentence, (title, body) = sentence_and_rest(block, recipe.keep_sentence_share, choice)
            self._sentences.append(self._pair_of(sentence, title, body, -1 - number))
        texts = [q.text for path in recipe.questions for q in read_questions(folder / path)]
        self.digests = {
            **self._pool.digests,
            "documents": sha256_of_text(repr(sentences)), "questions": sha256_of_text(*texts),
        }  # fmt: skip
        choice.shuffle(texts)
        self._further = [self._question(pieces.ids) for pieces in tokenizer.encode_batch(texts)]
        self.questions, self.blocks = self._questions.rows, self._blocks.rows
        self._passage_of_block = torch.tensor(self._passages)

    def draw(self, step: int) -> EmbedderBatch:
        """Who takes part in a step."""
        recipe = self._recipe
        pairs = [*self._reading_pairs(step), *_in_turn(self._sentences, step, recipe.batch_sentences)]
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
        others = torch.randperm(len(self.blocks), generator=generator)[: recipe.batch_blocks]
        needed = [number for pair in pairs for number in (pair.block, *pair.negatives)]
        blocks = torch.unique(torch.cat([torch.tensor(needed), others]))
        own = torch.tensor([pair.block for pair in pairs])
        targets = torch.searchsorted(blocks, own)
        excluded = self._passage_of_block[own][:, None] == self._passage_of_block[blocks]
        excluded[torch.arange(len(pairs)), targets] = False
        further = _in_turn(self._further, step, recipe.batch_questions)
        return EmbedderBatch(torch.tensor([*(pair.question for pair in pairs), *further]), blocks, targets, excluded)

    def _reading_pairs(self, step: int) -> Iterable[_Pair]:
        choice = random.Random(f"{self._recipe.seed} {step}")
        for example in self._pool.draw(step, self._recipe.batch_pairs):
            pair = self._pair_of(example.question_ids, example.title_ids, example.body_ids, example.passage)
            negatives = choice.sample(
                example.hard_negatives, min(self._recipe.hard_negatives, len(example.hard_negatives))
            )
            yield pair._replace(negatives=tuple(self._block(n.title_ids, n.body_ids, n.passage) for n in negatives))

    def _pair_of(self, question: list[int], title: list[int], body: list[int], passage: int) -> _Pair:
        return _Pair(self._question(question), self._block(title, body, passage))

    def _question(self, ids: list[int]) -> int:
        return self._questions.number(self._builder.question(ids, self._recipe.max_question_pieces))

    def _block(self, title: list[int], body: list[int], passage: int) -> int:
        number = self._blocks.number(self._builder.block(title, body, self._recipe.max_block_pieces))
        if number == len(self._passages):
            self._passages.append(passage)
        return number


def _in_turn(items: Sequence[T], step: int, count: int) -> list[T]:
    """The next `count` of the items, from the first again after the last."""
    return [items[(step * count + place) % len(items)] for place in range(count)] if items else []
