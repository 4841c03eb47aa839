"""Masked sentences: the pieces inside a span and no others, and a way back."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_trunk import tokenizer_of

from realm.errors import RecipeError
from realm.text.pieces import Pieces, PieceTokenizer
from realm.text.salient import SalientSpan
from realm.training.masking import MaskedSentence, Masker, MaskingKind, Skip, random_spans

ALPHABET = "abé İßK'-. 東京Éq1,😀̈"
MASKING_KINDS = ("salient", "random_token", "random_span")


@pytest.fixture(scope="module")
def tokenizer(trunk: Path) -> PieceTokenizer:
    return tokenizer_of(trunk)


def unmasked(masked: MaskedSentence) -> list[int]:
    ids = list(masked.ids)
    for position, target in zip(masked.positions, masked.targets, strict=True):
        ids[position] = target
    return ids


def mask_sentence(
    text: str,
    spans: Sequence[SalientSpan],
    tokenizer: PieceTokenizer,
    kind: MaskingKind,
    choice: random.Random,
    max_pieces: int,
    max_masks: int,
) -> MaskedSentence | Skip:
    """One sentence, masked by a masker of its own."""
    return Masker(tokenizer, kind, max_pieces, max_masks).mask(tokenizer.encode_batch([text])[0], spans, choice)


def span_of(text: str, words: str) -> SalientSpan:
    return SalientSpan(text.index(words), text.index(words) + len(words), "name")


@pytest.mark.parametrize(
    ("text", "words", "hidden"),
    [
        ("the river Balcor is old", "Balcor", ["bal", "##c", "##o", "##r"]),
        ("the mill İé is old", "İé", ["i", "##e"]),  # İ is two characters in lower case, é loses its accent
        ("the mill ée\u0301 of it", "ée\u0301", ["e", "##e"]),
        ("it is 東京 town", "東京", ["東", "京"]),
        ("old bal-cor town", "bal", ["bal"]),
        ("old bal-cor town", "bal-cor", ["bal", "-", "cor"]),
    ],
)
def test_pieces_of_the_span_are_masked_whatever_lower_case_does(
    tokenizer: PieceTokenizer, trunk: Path, text: str, words: str, hidden: list[str]
) -> None:
    vocabulary = (trunk / "vocab.txt").read_text(encoding="utf-8").splitlines()
    masked = mask_sentence(text, [span_of(text, words)], tokenizer, "salient", random.Random(0), 94, 10)
    assert isinstance(masked, MaskedSentence)
    assert [vocabulary[target] for target in masked.targets] == hidden
    assert unmasked(masked) == tokenizer.ids_of(text)


@given(data=st.data(), text=st.text(alphabet=ALPHABET, min_size=1, max_size=30), max_pieces=st.integers(1, 20))
def test_masked_are_exactly_the_pieces_inside_the_span(
    tokenizer: PieceTokenizer, data: st.DataObject, text: str, max_pieces: int
) -> None:
    start = data.draw(st.integers(0, len(text) - 1))
    span = SalientSpan(start, data.draw(st.integers(start + 1, len(text))), "name")
    max_masks = data.draw(st.integers(1, 4))
    pieces = tokenizer.encode_batch([text])[0]
    inside = [n for n, (a, b) in enumerate(pieces.offsets) if span.start <= a and b <= span.end]
    mask, unknown = tokenizer.special_id("[MASK]"), tokenizer.special_id("[UNK]")
    known = [n for n in inside if pieces.ids[n] != unknown]
    masked = mask_sentence(text, [span], tokenizer, "salient", random.Random(0), max_pieces, max_masks)
    if not pieces.ids:
        assert masked == Skip("no_piece")
    elif not inside:
        assert masked == Skip("no_whole_piece")
    elif inside[-1] >= max_pieces:
        assert masked == Skip("beyond_query")
    elif not known:
        assert masked == Skip("only_unknown")
    else:
        assert isinstance(masked, MaskedSentence)
        expected = [mask if n in inside else id for n, id in enumerate(pieces.ids[:max_pieces])]
        assert masked == MaskedSentence(
            expected, known[:max_masks], [pieces.ids[n] for n in known[:max_masks]], "salient"
        )


def test_unknown_pieces_elsewhere_in_the_sentence_do_not_matter(tokenizer: PieceTokenizer) -> None:
    text = "😀 Bal was 😀"
    masked = mask_sentence(text, [span_of(text, "Bal")], tokenizer, "salient", random.Random(0), 94, 10)
    assert isinstance(masked, MaskedSentence)
    assert masked.positions == [1]


def test_every_span_is_chosen_equally_often(tokenizer: PieceTokenizer) -> None:
    text = "bal cor den fel"
    spans = [span_of(text, word) for word in text.split()]
    choice = random.Random(5)
    counts = Counter(
        mask_sentence(text, spans, tokenizer, "salient", choice, 94, 10).positions[0]  # type: ignore[union-attr]
        for _ in range(4000)
    )
    assert all(abs(counts[n] - 1000) < 120 for n in range(4))


@given(st.lists(st.integers(1, 4), min_size=1, max_size=40), st.integers(1, 30), st.integers(0, 99))
def test_random_spans_are_whole_words_within_the_budget(words: list[int], budget: int, seed: int) -> None:
    offsets, at = [], 0
    for pieces in words:
        offsets += [(at + n, at + n + 1) for n in range(pieces)]
        at += pieces + 1
    pieces_of = Pieces(list(range(len(offsets))), offsets)
    chosen = random_spans(pieces_of, budget, random.Random(seed))
    assert chosen == sorted(set(chosen))
    assert 1 <= len(chosen) <= budget
    borders = {n for n in range(len(offsets) + 1) if n in (0, len(offsets)) or offsets[n][0] != offsets[n - 1][1]}
    if budget >= max(words):
        runs = [n for n in chosen if n - 1 not in chosen] + [n + 1 for n in chosen if n + 1 not in chosen]
        assert set(runs) <= borders


def test_random_spans_are_as_long_as_spanbert_says() -> None:
    # With room for everything each first run keeps its length: geometric with 0.2, given that it is at most 10.
    weights = [0.2 * 0.8 ** (n - 1) for n in range(1, 11)]
    expected = sum(n * w for n, w in enumerate(weights, 1)) / sum(weights)
    pieces = Pieces(list(range(4000)), [(2 * n, 2 * n + 1) for n in range(4000)])
    lengths = []
    for seed in range(60):
        chosen = random_spans(pieces, 200, random.Random(seed))
        starts = [n for n in chosen if n - 1 not in chosen]
        lengths.append(len(chosen) / len(starts))
    assert abs(sum(lengths) / len(lengths) - expected) < 0.2


@given(st.text(alphabet=ALPHABET, max_size=40), st.integers(0, 99), st.sampled_from(MASKING_KINDS[1:]))
def test_random_kinds_hide_fifteen_percent_and_can_be_undone(
    tokenizer: PieceTokenizer, text: str, seed: int, kind: str
) -> None:
    ids = tokenizer.ids_of(text)[:20]
    masked = mask_sentence(text, [], tokenizer, kind, random.Random(seed), 20, 3)  # type: ignore[arg-type]
    if isinstance(masked, Skip):
        assert masked.reason == ("only_unknown" if ids else "no_piece")
        return
    hidden = [n for n, (a, b) in enumerate(zip(masked.ids, ids, strict=True)) if a != b]
    budget = min(3, max(1, round(0.15 * len(ids))))
    assert len(hidden) <= budget if kind == "random_span" else len(hidden) == budget
    assert [id for n, id in enumerate(unmasked(masked)) if n in masked.positions or n not in hidden] == [
        id for n, id in enumerate(ids) if n in masked.positions or n not in hidden
    ]


@pytest.mark.parametrize("kind", MASKING_KINDS)
def test_same_seed_gives_the_same_mask(tokenizer: PieceTokenizer, kind: str) -> None:
    text = "bal cor den fel gur hol jas kel lom mir nor pel quin ras"
    spans = [span_of(text, word) for word in text.split()]
    first, second = (
        mask_sentence(text, spans, tokenizer, kind, random.Random(3), 94, 10)  # type: ignore[arg-type]
        for _ in range(2)
    )
    assert first == second


def test_sentence_without_spans_is_skipped(tokenizer: PieceTokenizer) -> None:
    assert mask_sentence("the old mill", [], tokenizer, "salient", random.Random(0), 94, 10) == Skip("no_span")


@pytest.mark.parametrize("settings", [{"kind": "names"}, {"max_pieces": 0}, {"max_masks": 0}])
def test_impossible_settings_are_refused(tokenizer: PieceTokenizer, settings: dict[str, object]) -> None:
    with pytest.raises(RecipeError, match=r"expected one of: salient|must be at least 1"):
        Masker(tokenizer, **settings)  # type: ignore[arg-type]
