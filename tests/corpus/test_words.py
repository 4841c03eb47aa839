"""Words numbered by arrays, against a `dict` that is asked for each of them."""

from __future__ import annotations

import re
import string
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realm.corpus.words import WordNumbers

SIGNS = string.punctuation
LENGTHS = st.integers(1, 18) | st.sampled_from([99, 100, 101])
WORDS = st.builds(lambda sign, length: sign * length, st.sampled_from("a\0é東😀."), LENGTHS)
TEXTS = st.lists(WORDS | st.sampled_from(" \n\t\r\u00a0\u2028\x0b.-") | st.text(max_size=5), max_size=12).map("".join)
BATCHES = st.lists(st.lists(TEXTS, max_size=4), max_size=4)


def words_of(text: str, signs: str) -> list[str]:
    """The words of a text, by a regular expression."""
    if not signs:
        return re.findall(r"[^ \t\n\r]+", text)
    return re.findall(rf"[{re.escape(signs)}]|[^ \t\n\r{re.escape(signs)}]+", text)


def require_numbers_of_a_dict(numbers: WordNumbers, batches: list[list[str]], signs: str) -> None:
    met: list[str] = []
    for texts in batches:
        found = numbers.of_texts(texts)
        met += found.new
        assert list(found.borders) == list(np.cumsum([0, *(len(words_of(text, signs)) for text in texts)]))
        words = [word for text in texts for word in words_of(text, signs)]
        assert [met[number] for number in found.numbers] == words
        # What was kept is new only once, and words are new in the order they come in.
        kept = [word for word in met if len(word.encode()) <= 100]
        assert len(set(kept)) == len(kept)
        late = set(found.new)
        assert found.new == [word for word in dict.fromkeys(words) if word in late]
        assert len(numbers) == len(met)


@given(BATCHES, st.sampled_from(["", SIGNS]))
@settings(max_examples=150)
def test_numbers_are_those_of_a_dict(batches: list[list[str]], signs: str) -> None:
    require_numbers_of_a_dict(WordNumbers(signs.encode()), batches, signs)


@given(BATCHES)
def test_words_that_all_meet_in_one_slot_are_told_apart(batches: list[list[str]]) -> None:
    numbers = WordNumbers()
    numbers._factors = np.zeros_like(numbers._factors)
    require_numbers_of_a_dict(numbers, batches, "")


def test_numbers_stay_as_the_table_grows() -> None:
    texts = [
        " ".join(f"w{number * 7919 % 30_000}" for number in range(start, start + 3000))
        for start in range(0, 50_000, 3000)
    ]
    require_numbers_of_a_dict(WordNumbers(), [texts[:1], texts[1:9], texts[9:], texts], "")


def test_words_over_a_hundred_bytes_are_new_every_time() -> None:
    numbers = WordNumbers()
    texts = ["x" * 100 + " sea", "x" * 101, "東" * 34]
    assert len(numbers.of_texts(texts).new) == 4
    assert numbers.of_texts(texts).new == texts[1:]


@pytest.mark.parametrize("texts", [[], [""], ["", " \n"]])
def test_texts_without_words_have_none(texts: list[str]) -> None:
    found = WordNumbers().of_texts(texts)
    assert (len(found.numbers), list(found.borders), found.new) == (0, [0] * (len(texts) + 1), [])


def test_another_process_goes_on_with_the_same_numbers() -> None:
    numbers = WordNumbers()
    texts = ["the river flows to the sea", "supercalifragilisticexpialidocious rivers"]
    before = numbers.of_texts(texts)
    sent = ForkingPickler.loads(ForkingPickler.dumps(numbers))
    found = sent.of_texts(texts)
    assert found.new == []
    assert list(found.numbers) == list(before.numbers)
