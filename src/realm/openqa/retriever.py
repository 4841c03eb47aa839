"""RealmRetriever: the texts of retrieved blocks, made into the reader's input, with the answers found in them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoTokenizer, BatchEncoding, PreTrainedTokenizerBase
from transformers.utils import cached_file

import realm.features.auto  # noqa: F401 - lets AutoTokenizer know realm's folders
from realm.errors import QuestionError, SourceError
from realm.interop.huggingface_folder import BLOCK_RECORDS_FILE
from realm.interop.legacy_records import read_block_records, write_block_records
from realm.openqa.answer_search import answer_places, plain_answers
from realm.text.pieces import PieceTokenizer

_MOST_CACHED_BLOCKS = 200_000


class RetrievedBlocks(NamedTuple):
    """What `RealmRetriever` gives; the first three are None without answers.

    Attributes:
        has_answers: Whether each block holds an answer.
        start_pos: First piece of each answer in each block's row, padded with -1.
        end_pos: Last piece, inclusive.
        concat_inputs: input_ids, token_type_ids, special_tokens_mask, attention_mask, each (blocks, pieces).
    """

    has_answers: list[bool] | None
    start_pos: list[list[int]] | None
    end_pos: list[list[int]] | None
    concat_inputs: BatchEncoding


class RealmRetriever:
    """Block texts with a tokenizer.

    Args:
        block_records: The blocks' texts as UTF-8 bytes (or str), in the order of the block embeddings.
        tokenizer: A `RealmTokenizer` or `RealmTokenizerFast`.

    Differs: transformers 4.37.2 decodes the question and tokenises it anew, cuts the question where the pair is
        too long, reads special pieces such as "[SEP]" out of block texts, and loads pickles.
    """

    def __init__(self, block_records: Sequence[bytes] | NDArray[Any], tokenizer: PreTrainedTokenizerBase) -> None:
        self.block_records = block_records
        self.tokenizer = tokenizer
        self._pieces = PieceTokenizer(tokenizer.backend_tokenizer)
        self._cached: dict[int, NDArray[np.int32]] = {}

    def __call__(
        self,
        retrieved_block_ids: Any,
        question_input_ids: Any,
        answer_ids: Any,
        max_length: int | None = None,
        return_tensors: str | None = "pt",
    ) -> RetrievedBlocks:
        """Rows `[CLS] question [SEP] block [SEP]`, and where answers stand in them.

        Args:
            retrieved_block_ids: Numbers of the blocks.
            question_input_ids: The question with its special tokens, (1, pieces); its ids are used as they are.
            answer_ids: Word pieces of each answer: lists, tuples or a tensor padded with -1. None for no answers.
            max_length: Longest row; only the block is cut. Default: what the tokenizer says.
            return_tensors: "pt", "np", or None for lists.

        Raises:
            IndexError: There is no such block.
            QuestionError: The question alone is longer than `max_length`.
        """
        block_ids = np.asarray(retrieved_block_ids).reshape(-1).tolist()
        question = self.question_pieces(question_input_ids)
        bodies = self.bodies(block_ids, self.body_room(len(question), max_length))
        encoded = self.concat(question, bodies, max(map(len, bodies), default=0))
        encoded.convert_to_tensors(return_tensors)
        if answer_ids is None:
            return RetrievedBlocks(None, None, None, encoded)
        return RetrievedBlocks(*self.find_answers(bodies, answer_ids, len(question) + 2), encoded)

    def block_has_answer(
        self, concat_inputs: BatchEncoding, answer_ids: Any
    ) -> tuple[list[bool], list[list[int]], list[list[int]]]:
        """Check whether rows hold an answer in their second segment, and where.

        Args:
            concat_inputs: Rows with their `token_type_ids`; without these a block is what stands between the first
                two [SEP].
            answer_ids: As for a call.

        Returns:
            has_answers, start positions, end positions (inclusive), padded with -1 to the longest; where nothing
            is found anywhere the lists of positions are empty.
        """
        rows = np.asarray(concat_inputs["input_ids"])
        types = np.asarray(concat_inputs.get("token_type_ids", np.zeros_like(rows)))
        bodies, first = [], []
        for row, segments in zip(rows, types, strict=True):
            # A question may hold [SEP] itself; the second segment ends with the one that closes the block.
            second = np.flatnonzero(segments)
            separators = np.flatnonzero(row == self.tokenizer.sep_token_id)
            start, end = (second[0], second[-1]) if len(second) else (separators[0] + 1, separators[1])
            bodies.append(row[start:end])
            first.append(int(start))
        return _pad_places(answer_places(bodies, plain_answers(answer_ids)), first)

    def question_pieces(self, question_input_ids: Any) -> list[int]:
        """A question's own pieces: without [CLS] before it, and [SEP] and padding behind it."""
        ids = np.asarray(question_input_ids)
        pieces: list[int] = (ids[0] if ids.ndim > 1 else ids).tolist()
        tokenizer = self.tokenizer
        while pieces and pieces[-1] == tokenizer.pad_token_id:
            pieces.pop()
        if pieces and pieces[-1] == tokenizer.sep_token_id:
            pieces.pop()
        return pieces[1:] if pieces and pieces[0] == tokenizer.cls_token_id else pieces

    def body_room(self, question_pieces: int, max_length: int | None) -> int:
        """How many pieces of a block fit beside a question.

        Raises:
            QuestionError: None do.
        """
        longest = self.tokenizer.model_max_length if max_length is None else max_length
        room = int(min(longest, 1 << 30)) - question_pieces - 3
        if room < 1:
            raise QuestionError(
                f"The question has {question_pieces} word pieces; with a block at most {longest} fit. Shorten it."
            )
        return room

    def bodies(self, block_ids: Sequence[int], max_pieces: int) -> list[NDArray[np.int32]]:
        """Word pieces of blocks, cut to `max_pieces`; tokenised once and then kept."""
        missing = [number for number in dict.fromkeys(block_ids) if number not in self._cached]
        if missing:
            if len(self._cached) + len(missing) > _MOST_CACHED_BLOCKS:
                self._cached = {number: self._cached[number] for number in block_ids if number in self._cached}
            texts = [self.block_text(number) for number in missing]
            for number, pieces in zip(missing, self._pieces.encode_batch(texts), strict=True):
                self._cached[number] = np.asarray(pieces.ids, dtype=np.int32)
        return [self._cached[number][:max_pieces] for number in block_ids]

    def block_text(self, number: int) -> str:
        """Text of a block."""
        if not 0 <= number < len(self.block_records):
            raise IndexError(f"block {number} was asked for; there are {len(self.block_records)} block records.")
        record = self.block_records[number]
        return record if isinstance(record, str) else record.decode()

    def concat(self, question: Sequence[int], bodies: Sequence[NDArray[np.int32]], body_pieces: int) -> BatchEncoding:
        """Rows of question and blocks as lists, padded as if the longest block had `body_pieces` pieces."""
        start, length = len(question) + 2, len(question) + 3 + body_pieces
        shape = (len(bodies), length)
        input_ids = np.full(shape, self.tokenizer.pad_token_id, dtype=np.int64)
        types, attention = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        special = np.ones(shape, dtype=np.int64)
        special[:, 1 : start - 1] = 0
        for number, body in enumerate(bodies):
            end = start + len(body)
            input_ids[number, : end + 1] = [
                self.tokenizer.cls_token_id, *question, self.tokenizer.sep_token_id, *body, self.tokenizer.sep_token_id
            ]  # fmt: skip
            types[number, start : end + 1] = 1
            attention[number, : end + 1] = 1
            special[number, start:end] = 0
        columns = {
            "input_ids": input_ids,
            "token_type_ids": types,
            "special_tokens_mask": special,
            "attention_mask": attention,
        }
        return BatchEncoding({key: value.tolist() for key, value in columns.items()})

    def find_answers(
        self, bodies: Sequence[NDArray[np.int32]], answer_ids: Any, first: int
    ) -> tuple[list[bool], list[list[int]], list[list[int]]]:
        """Whether and where answers stand in blocks' pieces, which begin at position `first` of a row.

        Returns:
            As `block_has_answer`.
        """
        return _pad_places(answer_places(bodies, plain_answers(answer_ids)), [first] * len(bodies))

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], *init_inputs: Any, **kwargs: Any
    ) -> RealmRetriever:
        """Load `block_records.npy` and the tokenizer from a folder or the Hub, without running pickle code.

        Raises:
            SourceError: There is no `block_records.npy`, or it is broken.
            UnsafeFileError: It holds anything but bytes.
        """
        name = str(pretrained_model_name_or_path)
        local = Path(name) / BLOCK_RECORDS_FILE
        found = str(local) if Path(name).is_dir() else cached_file(name, BLOCK_RECORDS_FILE, **kwargs)
        if found is None or not Path(found).is_file():
            raise SourceError(f"No {BLOCK_RECORDS_FILE} in {name}: expected the folder of a RealmRetriever.")
        tokenizer = AutoTokenizer.from_pretrained(name, *init_inputs, **kwargs)
        return cls(read_block_records(Path(found)), tokenizer)

    def save_pretrained(self, save_directory: str | os.PathLike[str]) -> None:
        """Write `block_records.npy` (as transformers 4.37.2 reads it) and the tokenizer's files."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        records = (r.encode() if isinstance(r, str) else bytes(r) for r in self.block_records)
        write_block_records(folder / BLOCK_RECORDS_FILE, records)
        self.tokenizer.save_pretrained(folder)


def body_mask(concat_inputs: BatchEncoding) -> Tensor:
    """True on the pieces of the block: second segment, not special."""
    special = torch.as_tensor(concat_inputs["special_tokens_mask"]).bool()
    return ~special & torch.as_tensor(concat_inputs["token_type_ids"]).bool()


def _pad_places(
    places: Sequence[Sequence[tuple[int, int]]], first: Sequence[int]
) -> tuple[list[bool], list[list[int]], list[list[int]]]:
    most = max(map(len, places), default=0)
    starts, ends = (
        [
            [found[side] + shift for found in row] + [-1] * (most - len(row))
            for row, shift in zip(places, first, strict=True)
        ]
        for side in (0, 1)
    )
    return [bool(row) for row in places], starts, ends
