"""Model inputs from word-piece ids: special tokens, segments, truncation rules, padding.

As in the original release the question is never cut by the reader, only the block is. A title keeps at most half of a
block input, so that there is always room for the body; the release keeps all of it that fits. Segment 0 is the first
part with its [SEP], segment 1 the second.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from realm.text.pieces import SPECIAL_PIECES_OF_A_PAIR, PieceTokenizer, longest_title


class Row(NamedTuple):
    """One unpadded input: ids and segment ids of equal length, and where the second part's pieces begin and end."""

    ids: list[int]
    segments: list[int]
    body_start: int
    body_end: int


@dataclass(frozen=True)
class Inputs:
    """A padded batch, each (rows, pieces) int64; `body_mask` is True on the second part without its [SEP]."""

    input_ids: Tensor
    attention_mask: Tensor
    token_type_ids: Tensor
    body_mask: Tensor

    def to(self, device: torch.device) -> Inputs:
        """The same batch on another device."""
        return Inputs(
            *(t.to(device) for t in (self.input_ids, self.attention_mask, self.token_type_ids, self.body_mask))
        )

    def for_trunk(self) -> dict[str, Tensor]:
        """The three arguments every network takes."""
        return {
            "input_ids": self.input_ids,
            "attention_mask": self.attention_mask,
            "token_type_ids": self.token_type_ids,
        }


class InputBuilder:
    """Puts special tokens around word pieces, for one vocabulary.

    Args:
        tokenizer: Supplies the ids of [CLS], [SEP] and [PAD].
    """

    def __init__(self, tokenizer: PieceTokenizer) -> None:
        self.cls_id = tokenizer.special_id("[CLS]")
        self.sep_id = tokenizer.special_id("[SEP]")
        self.pad_id = tokenizer.special_id("[PAD]")

    def question(self, ids: Sequence[int], max_pieces: int) -> Row:
        """`[CLS] question [SEP]`, cut to `max_pieces`."""
        kept = [self.cls_id, *ids[: max_pieces - 2], self.sep_id]
        return Row(kept, [0] * len(kept), len(kept), len(kept))

    def block(self, title_ids: Sequence[int], body_ids: Sequence[int], max_pieces: int) -> Row:
        """`[CLS] title [SEP] body [SEP]`: the title cut to half of the room, the body to what is left."""
        return self._pair(list(title_ids[: longest_title(max_pieces)]), body_ids, max_pieces)

    def reader(self, question_ids: Sequence[int], body_ids: Sequence[int], max_pieces: int) -> Row:
        """`[CLS] question [SEP] body [SEP]`: only the body is cut; the question must leave room for it."""
        return self._pair(list(question_ids), body_ids, max_pieces)

    def _pair(self, first: list[int], second: Sequence[int], max_pieces: int) -> Row:
        room = max(0, max_pieces - SPECIAL_PIECES_OF_A_PAIR - len(first))
        body = list(second[:room])
        ids = [self.cls_id, *first, self.sep_id, *body, self.sep_id]
        start = len(first) + 2
        segments = [0] * start + [1] * (len(body) + 1)
        return Row(ids, segments, start, start + len(body))

    def pad(self, rows: Sequence[Row]) -> Inputs:
        """A batch as long as its longest row."""
        shape = (len(rows), max(len(row.ids) for row in rows))
        input_ids = torch.full(shape, self.pad_id, dtype=torch.long)
        attention_mask, token_type_ids = (torch.zeros(shape, dtype=torch.long) for _ in range(2))
        body_mask = torch.zeros(shape, dtype=torch.bool)
        for number, row in enumerate(rows):
            pieces = len(row.ids)
            input_ids[number, :pieces] = torch.tensor(row.ids)
            token_type_ids[number, :pieces] = torch.tensor(row.segments)
            attention_mask[number, :pieces] = 1
            body_mask[number, row.body_start : row.body_end] = True
        return Inputs(input_ids, attention_mask, token_type_ids, body_mask)


def batches_of_like_length(lengths: Sequence[int], max_pieces: int) -> Iterator[list[int]]:
    """Numbers of rows grouped by length, shortest first, so that little of a batch is padding.

    Args:
        lengths: Pieces of each row.
        max_pieces: Most pieces of a batch, padding included; a longer row is a batch of its own.
    """
    batch: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda n: lengths[n]):
        if batch and (len(batch) + 1) * lengths[number] > max_pieces:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch
