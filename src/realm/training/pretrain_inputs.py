"""Masked sentences with their candidates as inputs of the networks: in parts that fit into memory, with little padding.

    examples ─ sorted by length ─ parts of at most `micro_rows` pairs ─► MicroBatch
                                                                           rows of like length padded together: Group

Knows no index and no networks. Read `micro_batches` first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor

from realm.features.inputs import InputBuilder, Inputs, Row
from realm.models.masked_losses import IGNORED_LABEL
from realm.training.masking import MaskedSentence
from realm.training.token_store import TrainingBlock

_MAX_PADDING: Final = 0.1


class Example(NamedTuple):
    """A masked sentence, and the rows of its candidates in the corpus.

    The first candidate is the null block, whose row there is not.
    """

    sentence: MaskedSentence
    rows: Sequence[int]


class Group(NamedTuple):
    """Inputs that are padded and computed together.

    Attributes:
        rows: Their numbers among all that belong to a micro-batch.
        inputs: Padded.
        pieces: How many of their positions hold a word piece.
    """

    rows: list[int]
    inputs: Inputs
    pieces: int


class MicroBatch(NamedTuple):
    """Some sentences with all their candidates.

    Attributes:
        questions: The sentences, for the retriever.
        blocks: The blocks that are a candidate of one of them, each once, for the retriever.
        pairs: Sentence and block, for the encoder; pair number `sentence * candidates + candidate`.
        places: (sentences, candidates) int64: number of each candidate among `blocks`.
        counts: (candidates,) bool: whether a candidate counts.
        positions: (sentences, masks) int64: where masked pieces stand in a pair.
        targets: (sentences, masks) int64: the masked pieces; -100 beyond a sentence's last.
    """

    questions: list[Group]
    blocks: list[Group]
    pairs: list[Group]
    places: Tensor
    counts: Tensor
    positions: Tensor
    targets: Tensor

    def padding(self) -> tuple[int, int]:
        """How many positions hold no word piece, and how many are computed in all."""
        groups = (*self.questions, *self.blocks, *self.pairs)
        computed = sum(group.inputs.input_ids.numel() for group in groups)
        return computed - sum(group.pieces for group in groups), computed


class Collator:
    """Makes inputs.

    Args:
        builder: Of the model's tokenizer.
        query_seq_len: Longest sentence with its special pieces.
        candidate_seq_len: Longest block with title and special pieces.
        micro_rows: Most pairs of a micro-batch, if a sentence does not have more.
        null_counts: Whether the null block counts as a candidate.
    """

    def __init__(
        self, builder: InputBuilder, query_seq_len: int, candidate_seq_len: int, micro_rows: int, null_counts: bool
    ) -> None:
        self._builder = builder
        self._query_seq_len, self._candidate_seq_len = query_seq_len, candidate_seq_len
        self._micro_rows, self._null_counts = micro_rows, null_counts

    def question(self, sentence: MaskedSentence) -> Row:
        """The sentence as the retriever sees it."""
        return self._builder.question(sentence.ids, self._query_seq_len)

    def micro_batches(self, examples: Sequence[Example], blocks: Mapping[int, TrainingBlock]) -> list[MicroBatch]:
        """All examples in parts, each of like length.

        Args:
            examples: Each with the same number of candidates.
            blocks: The candidates by their rows.
        """
        pairs = [[self._pair(example.sentence, blocks.get(row)) for row in example.rows] for example in examples]
        order = sorted(range(len(examples)), key=lambda n: sum(len(row.ids) for row in pairs[n]))
        sentences = max(1, self._micro_rows // max(1, len(pairs[0]) if pairs else 1))
        parts = (order[first : first + sentences] for first in range(0, len(order), sentences))
        return [self._micro_batch([examples[n] for n in part], [pairs[n] for n in part], blocks) for part in parts]

    def _micro_batch(
        self, examples: Sequence[Example], pairs: Sequence[Sequence[Row]], blocks: Mapping[int, TrainingBlock]
    ) -> MicroBatch:
        # In the order of rows: what is computed together must not hang on the order of a set.
        unique = sorted({int(row) for example in examples for row in example.rows})
        number = {row: place for place, row in enumerate(unique)}
        masks = max(len(example.sentence.positions) for example in examples)
        positions = torch.zeros((len(examples), masks), dtype=torch.long)
        targets = torch.full_like(positions, IGNORED_LABEL)
        for n, (sentence, _) in enumerate(examples):
            # Order: [CLS] stands in front of the sentence.
            positions[n, : len(sentence.positions)] = torch.tensor(sentence.positions) + 1
            targets[n, : len(sentence.targets)] = torch.tensor(sentence.targets)
        counts = torch.ones(len(pairs[0]), dtype=torch.bool)
        counts[0] = self._null_counts
        return MicroBatch(
            self._grouped([self.question(example.sentence) for example in examples]),
            self._grouped([self._block(blocks.get(row)) for row in unique]),
            self._grouped([row for rows in pairs for row in rows]),
            torch.tensor([[number[int(row)] for row in example.rows] for example in examples]),
            counts, positions, targets,
        )  # fmt: skip

    def _block(self, block: TrainingBlock | None) -> Row:
        """A block as the retriever sees it; the null block has neither title nor text."""
        title, body = ([], []) if block is None else (block.title_ids, block.body_ids)
        return self._builder.block(title, body, self._candidate_seq_len)

    def _pair(self, sentence: MaskedSentence, block: TrainingBlock | None) -> Row:
        """Sentence and block as the encoder sees them: without the title."""
        body = [] if block is None else block.body_ids[: self._candidate_seq_len - 2]
        return self._builder.reader(sentence.ids, body, self._query_seq_len + self._candidate_seq_len)

    def _grouped(self, rows: Sequence[Row]) -> list[Group]:
        return [
            Group(numbers, self._builder.pad([rows[n] for n in numbers]), sum(len(rows[n].ids) for n in numbers))
            for numbers in groups_of_like_length([len(row.ids) for row in rows])
        ]


def groups_of_like_length(lengths: Sequence[int], max_padding: float = _MAX_PADDING) -> Iterator[list[int]]:
    """Numbers of rows, shortest first, in groups that have at most this share of padding."""
    group: list[int] = []
    pieces = 0
    for number in sorted(range(len(lengths)), key=lambda n: lengths[n]):
        computed = (len(group) + 1) * lengths[number]
        if group and computed - pieces - lengths[number] > max_padding * computed:
            yield group
            group, pieces = [], 0
        group.append(number)
        pieces += lengths[number]
    if group:
        yield group
