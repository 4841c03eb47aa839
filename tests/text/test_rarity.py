"""Rarity of word pieces: by their place among the words of a vocabulary."""

from __future__ import annotations

import math

import pytest

from realm.text.rarity import rarities


def test_pieces_are_rarer_the_later_they_come_after_special_pieces_and_characters() -> None:
    before = ["[PAD]", "[unused0]", "[CLS]", "!", "a", "é"]
    words = [f"word{number}" if number % 3 else f"##part{number}" for number in range(1, 1001)]
    found = rarities({piece: number for number, piece in enumerate([*before, *words])})
    assert len(found) == len(before) + len(words)
    assert not found[: len(before) + 100].any()
    for place in (101, 150, 200, 1000):
        assert found[len(before) + place - 1] == pytest.approx(math.log(place / 100), rel=1e-6)


@pytest.mark.parametrize("vocabulary", [{}, {"[PAD]": 0, "a": 1}, {"[PAD]": 0, "word": 1}])
def test_vocabularies_without_rare_words_have_none(vocabulary: dict[str, int]) -> None:
    assert rarities(vocabulary).tolist() == [0.0] * len(vocabulary)
