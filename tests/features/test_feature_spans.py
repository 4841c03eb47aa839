"""Spans from characters to word pieces and back."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordPiece

from realm.features.spans import characters_of_pieces, pieces_of_characters
from realm.text.pieces import PieceTokenizer


def backend() -> Tokenizer:
    letters = "abcdefghijklmnopqrstuvwxyz.,'-"
    vocabulary = {
        piece: number for number, piece in enumerate(["[UNK]", *letters, *(f"##{c}" for c in letters), "the"])
    }
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


TOKENIZER = PieceTokenizer(backend())
TEXTS = st.text("aé Tz\n.,'東", max_size=30)
# Pieces in order that neither overlap nor are empty, with gaps between some: what any tokenizer gives.
OFFSETS = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3)), max_size=10).map(
    lambda steps: [(sum(map(sum, steps[:n])) + steps[n][0], sum(map(sum, steps[: n + 1]))) for n in range(len(steps))]
)


@given(OFFSETS, st.integers(0, 40), st.integers(0, 10))
def test_pieces_of_characters_are_all_that_touch_the_range(
    offsets: list[tuple[int, int]], start: int, width: int
) -> None:
    end = start + width
    touching = [n for n, (first, last) in enumerate(offsets) if first < end and last > start]
    expected = (touching[0], touching[-1]) if touching else None
    assert pieces_of_characters(offsets, start, end) == expected


@given(TEXTS, st.data())
def test_a_range_of_pieces_survives_the_way_over_characters(text: str, data: st.DataObject) -> None:
    offsets = TOKENIZER.encode_batch([text])[0].offsets
    assume(offsets)
    first = data.draw(st.integers(0, len(offsets) - 1))
    last = data.draw(st.integers(first, len(offsets) - 1))
    start, end = characters_of_pieces(offsets, first, last)
    assert pieces_of_characters(offsets, start, end) == (first, last)


@given(TEXTS, st.data())
def test_a_range_of_characters_comes_back_with_every_visible_character_of_it(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    offsets = TOKENIZER.encode_batch([text])[0].offsets
    pieces = pieces_of_characters(offsets, start, end)
    visible = [place for place in range(start, end) if not text[place].isspace()]
    if pieces is None:
        assert not visible
    else:
        back_start, back_end = characters_of_pieces(offsets, *pieces)
        assert all(back_start <= place < back_end for place in visible)


def test_white_space_and_the_end_of_a_cut_text_have_no_pieces() -> None:
    offsets = TOKENIZER.encode_batch(["the  the"])[0].offsets
    assert offsets == [(0, 3), (5, 8)]
    assert pieces_of_characters(offsets, 3, 5) is None
    assert pieces_of_characters(offsets[:1], 5, 8) is None
    assert pieces_of_characters([], 0, 3) is None
    assert pieces_of_characters(offsets, 2, 6) == (0, 1)
