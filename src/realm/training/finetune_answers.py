"""Which blocks answer a question, and where in them the answer stands.

    string    the block's text holds it, character by character or token by token    its word pieces in the block's
    regex     it is found in the block's text, in bounded time                       the pieces that a match touches
    marked    the block holds the marked answer's sentence, as word pieces           the marked pieces of it

Whether a block answers is found out once for a question and a block, and remembered as long as there is room. Knows
blocks and word pieces, no networks. Read `AnswerFinder` first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from realm.corpus.answers import which_contain_answer
from realm.corpus.expressions import ExpressionMatcher
from realm.features.spans import pieces_of_characters
from realm.openqa.answer_search import answer_places
from realm.text.pieces import PieceTokenizer
from realm.training.block_source import BlockSource
from realm.training.finetune_questions import AskedQuestion
from realm.training.finetune_recipe import FinetuneRecipe
from realm.training.token_store import TrainingBlock

_MOST_PER_QUESTION = 4


class Places(NamedTuple):
    """Where a block answers a question.

    Attributes:
        spans: First and last piece of its body (inclusive), distinct, in order.
        too_wide: How many more are wider than an answer may be.
    """

    spans: list[tuple[int, int]]
    too_wide: int


class AnswerFinder:
    """Looks for answers in the blocks of a corpus.

    Args:
        corpus: The blocks.
        tokenizer: Of the model.
        by_tokens: Whether a string must stand in the text token by token, whatever the case.
        max_span_width: Longest answer in word pieces.
        cache_bytes: What may be remembered.
    """

    def __init__(
        self, corpus: BlockSource, tokenizer: PieceTokenizer, by_tokens: bool, max_span_width: int, cache_bytes: int
    ) -> None:
        self._corpus, self._tokenizer = corpus, tokenizer
        self._by_tokens, self._max_span_width = by_tokens, max_span_width
        self._known = AnswerCache(cache_bytes)
        self._matcher = ExpressionMatcher()

    @classmethod
    def of(cls, recipe: FinetuneRecipe, corpus: BlockSource, tokenizer: PieceTokenizer) -> AnswerFinder:
        """As a recipe says."""
        cache_bytes = recipe.answer_cache_megabytes * 1_000_000
        return cls(corpus, tokenizer, recipe.has_answer == "tokens", recipe.max_span_width, cache_bytes)

    def has_answer(self, asked: AskedQuestion, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each of some blocks answers a question.

        Args:
            asked: The question.
            rows: Of the blocks, distinct.
        """
        found, is_known = self._known.look_up(asked.number, rows)
        new = np.flatnonzero(~is_known)
        if len(new):
            found[new] = self._test(asked, rows[new].tolist())
            self._known.add(asked.number, rows, found)
        return found

    def places(self, asked: AskedQuestion, blocks: Sequence[TrainingBlock]) -> list[Places]:
        """Where each of some blocks answers a question."""
        if asked.marked:
            found = self._marked_places(asked, blocks)
        elif asked.question.answer_type == "regex":
            found = [self._expression_places(asked.question.answers, block) for block in blocks]
        else:
            found = answer_places([np.asarray(block.body_ids) for block in blocks], asked.answers)
        return [self._narrow(spans) for spans in found]

    def _test(self, asked: AskedQuestion, rows: Sequence[int]) -> list[bool]:
        question = asked.question
        if asked.marked:
            return [bool(spans) for spans in self._marked_places(asked, self._corpus.take(rows))]
        texts = self._corpus.utf8_texts(rows)
        if question.answer_type == "regex" or self._by_tokens:
            return which_contain_answer(texts, question.answers, question.answer_type)
        answers = [answer.encode() for answer in question.answers if answer]
        return [any(answer in text for answer in answers) for text in texts]

    def _marked_places(self, asked: AskedQuestion, blocks: Sequence[TrainingBlock]) -> list[list[tuple[int, int]]]:
        bodies = [np.asarray(block.body_ids, dtype=np.int64) for block in blocks]
        found: list[list[tuple[int, int]]] = [[] for _ in blocks]
        for sentence in asked.marked:
            for spans, places in zip(found, answer_places(bodies, [sentence.ids]), strict=True):
                spans += [(start + sentence.first, start + sentence.last) for start, _ in places]
        return found

    def _expression_places(self, expressions: Sequence[str], block: TrainingBlock) -> list[tuple[int, int]]:
        matches = self._matcher.places(block.text, expressions)
        if not matches:
            return []
        (pieces,) = self._tokenizer.encode_batch([block.text])
        spans = (pieces_of_characters(pieces.offsets, start, end) for start, end in matches)
        return [span for span in spans if span is not None]

    def _narrow(self, spans: Sequence[tuple[int, int]]) -> Places:
        distinct = sorted(set(spans))
        narrow = [(first, last) for first, last in distinct if last - first < self._max_span_width]
        return Places(narrow, len(distinct) - len(narrow))


class AnswerCache:
    """Which blocks were looked at for a question, and which of them answer it: four bytes and a bit for each.

    Args:
        max_bytes: Questions that were not asked for longest are forgotten beyond it.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[int, tuple[NDArray[np.uint32], NDArray[np.uint8]]] = OrderedDict()
        self.bytes = 0

    def look_up(self, question: int, rows: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Whether each row answers, and whether that is known."""
        found, is_known = np.zeros(len(rows), dtype=bool), np.zeros(len(rows), dtype=bool)
        entry = self._entries.get(question)
        if entry is not None:
            self._entries.move_to_end(question)
            known = entry[0]
            places = np.minimum(np.searchsorted(known, rows), len(known) - 1)
            is_known = known[places] == rows
            found = np.unpackbits(entry[1], count=len(known)).astype(bool)[places] & is_known
        return found, is_known

    def add(self, question: int, rows: NDArray[np.int64], found: NDArray[np.bool_]) -> None:
        """Remember what was found out; of what was known before as much as there is room for."""
        numbers, values = rows.astype(np.uint32), found
        entry = self._entries.pop(question, None)
        if entry is not None:
            self.bytes -= _size(entry)
            if len(entry[0]) < _MOST_PER_QUESTION * len(rows):
                numbers = np.concatenate([numbers, entry[0]])
                values = np.concatenate([found, np.unpackbits(entry[1], count=len(entry[0])).astype(bool)])
        numbers, firsts = np.unique(numbers, return_index=True)
        entry = self._entries[question] = numbers, np.packbits(values[firsts])
        self.bytes += _size(entry)
        while self.bytes > self._max_bytes and len(self._entries) > 1:
            self.bytes -= _size(self._entries.popitem(last=False)[1])


def _size(entry: tuple[NDArray[np.uint32], NDArray[np.uint8]]) -> int:
    return entry[0].nbytes + entry[1].nbytes
