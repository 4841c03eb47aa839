"""Layouts of model inputs, against the rules written out piece by piece."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordPiece

from realm.features.inputs import InputBuilder, Row, batches_of_like_length
from realm.text.pieces import PieceTokenizer

PAD, CLS, SEP = 0, 2, 3
IDS = st.lists(st.integers(10, 99), max_size=40)
MAX_PIECES = st.integers(8, 48)

BUILDER = InputBuilder(
    PieceTokenizer(Tokenizer(WordPiece({"[PAD]": PAD, "[UNK]": 1, "[CLS]": CLS, "[SEP]": SEP}, unk_token="[UNK]")))
)


def test_special_ids_come_from_the_vocabulary_and_a_vocabulary_without_them_is_refused() -> None:
    assert (BUILDER.pad_id, BUILDER.cls_id, BUILDER.sep_id) == (PAD, CLS, SEP)
    with pytest.raises(KeyError, match="CLS"):
        InputBuilder(PieceTokenizer(Tokenizer(WordPiece({"[UNK]": 0}, unk_token="[UNK]"))))


@given(IDS, MAX_PIECES)
def test_a_question_stands_between_cls_and_sep_and_is_cut_to_the_limit(ids: list[int], max_pieces: int) -> None:
    row = BUILDER.question(ids, max_pieces)
    assert row.ids == [CLS, *ids[: max_pieces - 2], SEP]
    assert row.segments == [0] * len(row.ids)
    assert row.body_start == row.body_end
    assert len(row.ids) <= max_pieces


@given(IDS, IDS, MAX_PIECES)
def test_a_block_keeps_half_of_its_room_from_the_title(title: list[int], body: list[int], max_pieces: int) -> None:
    row = BUILDER.block(title, body, max_pieces)
    kept_title = title[: (max_pieces - 3) // 2]
    kept_body = body[: max_pieces - 3 - len(kept_title)]
    assert row.ids == [CLS, *kept_title, SEP, *kept_body, SEP]
    assert row.segments == [0] * (len(kept_title) + 2) + [1] * (len(kept_body) + 1)
    assert row.ids[row.body_start : row.body_end] == kept_body
    assert len(row.ids) <= max_pieces
    assert kept_body or not body


@given(IDS, IDS, MAX_PIECES)
def test_the_reader_cuts_the_body_and_never_the_question(question: list[int], body: list[int], max_pieces: int) -> None:
    row = BUILDER.reader(question, body, max_pieces)
    kept = body[: max(0, max_pieces - 3 - len(question))]
    assert row.ids == [CLS, *question, SEP, *kept, SEP]
    assert row.segments == [0] * (len(question) + 2) + [1] * (len(kept) + 1)
    assert row.ids[row.body_start : row.body_end] == kept


@given(st.lists(st.tuples(IDS, IDS), min_size=1, max_size=5))
def test_a_batch_holds_its_rows_and_masks_all_the_rest(pairs: list[tuple[list[int], list[int]]]) -> None:
    rows = [BUILDER.reader(question, body, 60) for question, body in pairs]
    batch = BUILDER.pad(rows)
    longest = max(len(row.ids) for row in rows)
    for number, row in enumerate(rows):
        padding = longest - len(row.ids)
        assert batch.input_ids[number].tolist() == row.ids + [PAD] * padding
        assert batch.token_type_ids[number].tolist() == row.segments + [0] * padding
        assert batch.attention_mask[number].tolist() == [1] * len(row.ids) + [0] * padding
        marked = [place in range(row.body_start, row.body_end) for place in range(longest)]
        assert batch.body_mask[number].tolist() == marked
    assert batch.input_ids.dtype == batch.attention_mask.dtype == batch.token_type_ids.dtype == torch.long


def test_a_batch_gives_networks_its_three_arguments() -> None:
    batch = BUILDER.pad([Row([CLS, 7, SEP], [0, 0, 0], 3, 3)]).to(torch.device("cpu"))
    given_arguments = batch.for_trunk()
    assert set(given_arguments) == {"input_ids", "attention_mask", "token_type_ids"}
    assert torch.equal(given_arguments["input_ids"], batch.input_ids)


@given(st.lists(st.integers(1, 30), max_size=30), st.integers(1, 100))
def test_batches_of_like_length_take_every_row_once_within_the_limit(lengths: list[int], max_pieces: int) -> None:
    batches = list(batches_of_like_length(lengths, max_pieces))
    in_order = [number for batch in batches for number in batch]
    assert sorted(in_order) == list(range(len(lengths)))
    assert [lengths[number] for number in in_order] == sorted(lengths)
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[number] for number in batch) <= max_pieces
