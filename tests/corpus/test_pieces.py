"""Pieces of words looked up, against the tokenizer run over whole texts."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, normalizers, pre_tokenizers

from realm.corpus.pieces import WORD, WordPieces, count, ids
from realm.errors import ModelError
from realm.text.pieces import Pieces, PieceTokenizer

SPACES = "\n\t\r\u000b\u000c\u001c\u001f\u0085\u00a0\u1680\u2003\u2028\u2029\u202f\u3000\u200b\u180e\ufeff"
ALPHABET = SPACES + "abT .,'-[]$=<\u0301\u0338東é½İΣ"
TEXTS = st.text(alphabet=ALPHABET) | st.text()


@given(TEXTS)
@settings(max_examples=60)
@pytest.mark.parametrize("name", ["small_pieces", "real_pieces"])
def test_pieces_of_a_text_are_those_of_its_words_in_a_row(name: str, request: pytest.FixtureRequest, text: str) -> None:
    pieces: PieceTokenizer = request.getfixturevalue(name)
    (found,) = WordPieces(pieces).of_texts([text])
    assert list(ids(found)) == pieces.encode_batch([text])[0][0]
    assert count(found) == len(ids(found))


@given(text=TEXTS)
def test_words_join_to_the_text_without_its_white_space(text: str) -> None:
    words = WORD.findall(text)
    assert "".join("".join(words).split()) == "".join(text.split())
    assert not any(set(word) & set(" \t\n\r\u00a0\u2003\u2028\u3000") for word in words)


class Counting:
    """A tokenizer that notes the words it is shown."""

    def __init__(self, pieces: PieceTokenizer) -> None:
        self.pieces = pieces
        self.splits_at_signs = False
        self.seen: list[str] = []

    def encode_batch(self, texts: list[str]) -> list[Pieces]:
        self.seen += [word for text in texts for word in text.split()]
        return self.pieces.encode_batch(texts)


@given(TEXTS, TEXTS, st.sampled_from(string.punctuation))
@settings(max_examples=60)
@pytest.mark.parametrize("name", ["small_pieces", "real_pieces"])
def test_pieces_do_not_reach_across_signs_where_the_tokenizer_says_so(
    name: str, request: pytest.FixtureRequest, before: str, behind: str, sign: str
) -> None:
    pieces: PieceTokenizer = request.getfixturevalue(name)
    assert pieces.splits_at_signs
    parts = pieces.ids_of(before) + pieces.ids_of(sign) + pieces.ids_of(behind)
    assert pieces.ids_of(f"{before}{sign}{behind}") == parts


@pytest.mark.parametrize("change", ["added token", "pre-tokenizer", "normalizer"])
def test_pieces_are_right_for_tokenizers_that_join_what_signs_part(small_tokenizer: Tokenizer, change: str) -> None:
    changed = Tokenizer.from_str(small_tokenizer.to_str())
    if change == "added token":
        changed.add_tokens(["a-b"])
    elif change == "pre-tokenizer":
        changed.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    else:
        changed.normalizer = normalizers.Replace("a-", "b")
    pieces = PieceTokenizer(changed)
    assert not pieces.splits_at_signs
    text = "the sea-a-b rivers, a-b."
    assert pieces.ids_of("a-b") != pieces.ids_of("a") + pieces.ids_of("-") + pieces.ids_of("b")
    (found,) = WordPieces(pieces).of_texts([text])
    assert list(ids(found)) == pieces.ids_of(text)


def test_each_word_is_tokenised_once(small_pieces: PieceTokenizer) -> None:
    tokenizer = Counting(small_pieces)
    pieces = WordPieces(tokenizer)
    tokenizer.seen.clear()
    texts = [f"the sea {number % 700} rivers" for number in range(1400)]
    alone = [pieces.of_texts([text])[0] for text in texts[:900]]
    assert pieces.of_texts(texts)[:900] == alone
    assert sorted(tokenizer.seen) == sorted({word for text in texts for word in text.split()})


def test_memory_is_bounded_and_pieces_stay_right(small_pieces: PieceTokenizer) -> None:
    pieces = WordPieces(small_pieces, max_words=20)
    for number in range(50):
        texts = [f"a{number} sea", "the sea", f"b{number} a{number // 2}"]
        found = pieces.of_texts(texts)
        assert [list(ids(each)) for each in found] == [small_pieces.encode_batch([text])[0][0] for text in texts]
        assert len(pieces._numbers) <= 20 + 6


@given(st.text(st.characters(exclude_categories=["Cs", "Z", "Cc"]), min_size=1, max_size=60), st.integers(5, 20))
def test_cut_word_has_parts_within_the_limit_that_make_it_up(
    small_pieces: PieceTokenizer, word: str, max_pieces: int
) -> None:
    parts = WordPieces(small_pieces).cut(word, max_pieces)
    assert "".join(word[start:end] for start, end, _ in parts) == word
    for start, end, found in parts:
        assert count(found) <= max_pieces
        assert list(ids(found)) == small_pieces.encode_batch([word[start:end]])[0][0]


def parts_by_whole_windows(tokenizer: PieceTokenizer, word: str, max_pieces: int) -> list[tuple[int, int, list[int]]]:
    """The definition of a cut: eight characters for each piece are tokenised, then as many as had few enough pieces."""
    parts, start = [], 0
    while start < len(word):
        end = min(len(word), start + 8 * max_pieces)
        found = tokenizer.encode_batch([word[start:end]])[0]
        while len(found.ids) > max_pieces and end > start + 1:
            end = start + max(1, min(found.offsets[max_pieces][0], end - start - 1))
            found = tokenizer.encode_batch([word[start:end]])[0]
        parts.append((start, end, found.ids))
        start = end
    return parts


RUNS = st.lists(
    st.text(st.sampled_from("東京鿿㐀、。-+/=ab1é각İΣ½\u0301\u0338\u200b\u3099のทำ"), min_size=1, max_size=12)
    | st.text(st.characters(exclude_categories=["Cs", "Z", "Cc"]), max_size=12)
    | st.builds(str.__mul__, st.sampled_from("東a-各각"), st.integers(1, 120))
).map("".join)


@pytest.mark.parametrize("kind", ["small", "real", "cased", "no Chinese", "white space"])
def test_word_is_cut_as_if_all_characters_ahead_were_looked_at(kind: str, request: pytest.FixtureRequest) -> None:
    pieces = request.getfixturevalue("real_pieces" if kind == "real" else "small_pieces")
    if kind not in ("small", "real"):
        changed = Tokenizer.from_str(request.getfixturevalue("small_tokenizer").to_str())
        if kind == "white space":
            changed.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        else:
            changed.normalizer = normalizers.BertNormalizer(
                lowercase=False, strip_accents=False, handle_chinese_chars=kind == "cased"
            )
        pieces = PieceTokenizer(changed)
    words = WordPieces(pieces)

    @settings(max_examples=200)
    @given(RUNS, st.integers(1, 20))
    def run(word: str, max_pieces: int) -> None:
        parts = [(start, end, list(ids(found))) for start, end, found in words.cut(word, max_pieces)]
        assert parts == parts_by_whole_windows(pieces, word, max_pieces)

    run()


@pytest.mark.parametrize(
    "word", ["東京" * 20_000, "東、京" * 10_000, "x7Rq9ZkW/f3+" * 4_000, "a.東-" * 9_000], ids=lambda word: word[:8]
)
def test_long_word_with_signs_is_tokenised_little_more_than_once(small_pieces: PieceTokenizer, word: str) -> None:
    tokenizer = Counting(small_pieces)
    tokenizer.splits_at_signs = True
    pieces = WordPieces(tokenizer)
    tokenizer.seen.clear()
    pieces.cut(word, 280)
    assert sum(map(len, tokenizer.seen)) < 1.4 * len(word)


def test_settings_of_the_tokenizer_that_was_handed_in_neither_matter_nor_change(small_tokenizer: Tokenizer) -> None:
    before = small_tokenizer.to_str()
    pieces = PieceTokenizer(small_tokenizer)
    assert len(pieces.encode_batch(["the sea " * 10])[0][0]) == 20
    assert len(small_tokenizer.encode("the sea " * 10).ids) == 8
    assert small_tokenizer.to_str() == before


def test_monstrous_word_takes_linear_time_and_is_not_kept(small_pieces: PieceTokenizer) -> None:
    tokenizer = Counting(small_pieces)
    pieces = WordPieces(tokenizer)
    word = "ab.東é" * 4000
    pieces.of_texts([word, "the sea"])
    tokenizer.seen.clear()
    parts = pieces.cut(word, 280)
    assert "".join(word[start:end] for start, end, _ in parts) == word
    assert sum(map(len, tokenizer.seen)) < 20 * len(word)
    tokenizer.seen.clear()
    pieces.of_texts([word, "the sea"])
    assert tokenizer.seen == [word]


def test_pieces_of_monstrous_words_do_not_pile_up(small_pieces: PieceTokenizer) -> None:
    pieces = WordPieces(small_pieces, max_words=100)
    for number in range(20):
        word = f"{number}." * 500
        assert list(ids(pieces.of_texts([word])[0])) == small_pieces.encode_batch([word])[0][0]
        assert len(pieces._table) < 2 * 8 * 100 + 2000


class Adding:
    """A tokenizer that frames every text."""

    splits_at_signs = False

    def encode_batch(self, texts: list[str]) -> list[tuple[list[int], list[tuple[int, int]]]]:
        return [
            ([2, *range(len(text)), 3], [(0, 0), *((at, at + 1) for at in range(len(text))), (0, 0)]) for text in texts
        ]


class Large:
    """A tokenizer with ids beyond 16 bits."""

    splits_at_signs = False

    def encode_batch(self, texts: list[str]) -> list[tuple[list[int], list[tuple[int, int]]]]:
        return [([70_000] * len(text), [(at, at + 1) for at in range(len(text))]) for text in texts]


@pytest.mark.parametrize(("tokenizer", "message"), [(Adding(), "adds special tokens"), (Large(), "id 70,000 is over")])
def test_unfit_tokenizer_is_refused_before_anything_is_cut(tokenizer: Adding | Large, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        WordPieces(tokenizer)
