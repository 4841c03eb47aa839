"""Whether a passage holds an answer, against the token comparison that DPR publishes, written out."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.corpus.answers import _BECOME_ASCII, contains_answer, which_contain_answer

ALPHABET = "ab AB1kK\u212aé\u0301ç.,-_'’“$ \n\t\u00a0\u200b東½"
TEXTS = st.text(alphabet=ALPHABET, max_size=40)


def tokens(text: str) -> list[str]:
    """Runs of letters, digits and marks; any other visible sign by itself."""
    found: list[str] = []
    inside = False
    for character in unicodedata.normalize("NFD", text):
        kind = unicodedata.category(character)[0]
        if kind in "LNM":
            found[-1:] = [found[-1] + character] if inside else [*found[-1:], character]
        elif kind not in "ZC":
            found.append(character)
        inside = kind in "LNM"
    return [token.lower() for token in found]


def holds(text: str, answer: str) -> bool:
    """Every window of the text's tokens, compared with the answer's."""
    wanted, found = tokens(answer), tokens(text)
    windows = (found[start : start + len(wanted)] for start in range(len(found)))
    return bool(wanted) and wanted in windows


@given(TEXTS, st.lists(TEXTS, max_size=3))
def test_string_answers_are_found_exactly_where_their_tokens_stand_in_a_row(text: str, answers: list[str]) -> None:
    assert contains_answer(text, answers) == any(holds(text, answer) for answer in answers)


@given(st.lists(TEXTS, max_size=4), st.lists(TEXTS, max_size=3))
def test_many_texts_in_utf8_are_tested_as_each_by_itself(texts: list[str], answers: list[str]) -> None:
    found = which_contain_answer([text.encode() for text in texts], answers)
    assert found == [contains_answer(text, answers) for text in texts]


def test_no_other_characters_become_ascii_words() -> None:
    become = set()
    for code in set(range(0x80, 0x110000)) - set(range(0xD800, 0xE000)):
        text = unicodedata.normalize("NFD", chr(code)).lower()
        kinds = [unicodedata.category(character)[0] for character in text]
        if any(c.isascii() and after != "M" for c, after in zip(text, [*kinds[1:], ""], strict=True)):
            become.add(chr(code).encode())
    assert become == set(_BECOME_ASCII)


@given(TEXTS, st.integers(0, 40), st.integers(0, 8))
def test_answer_cut_out_at_token_borders_is_found(text: str, start: int, count: int) -> None:
    words = tokens(text)[start : start + count]
    assert contains_answer(text, [" ".join(words)]) == bool(words)


@pytest.mark.parametrize(
    ("text", "answer", "found"),
    [
        ("It was written by George  Eliot, in 1871.", "george eliot", True),
        ("the Georges Eliot", "George", False),
        ("Café Müller", "cafe\u0301 MU\u0308LLER", True),
        ("Cafe", "Café", False),
        ("He paid $5.00 then", "$5.00", True),
        ("He paid $5.005 then", "$5.00", False),
        ("the U.S. team", "U. S.", True),
        ("anything", "", False),
        ("anything", "\u200b", False),
        ("a (b) [c] \\d+", "\\d+", True),
        ("a 5", "\\d+", False),
    ],
)
def test_string_answers(text: str, answer: str, found: bool) -> None:
    assert contains_answer(text, [answer]) is found
    assert contains_answer(text, ["no such thing", answer]) is found
    assert which_contain_answer([text.encode(), b"", text.encode()], [answer]) == [found, False, found]


@pytest.mark.parametrize(
    ("text", "pattern", "found"),
    [
        ("Fashion week is in September.", "Sept?(ember)?|Feb(ruary)?", True),
        ("in FEBRUARY", "feb", True),
        ("first line\nsecond line", "^second", True),
        ("Düsseldorf", "d\u00fcssel", True),
        ("Du\u0308sseldorf", "D\u00fcssel", True),
        ("in 1871", "18\\d\\d$", True),
        ("in 1871, or so", "18\\d\\d$", False),
        ("a[b", "x[[a]b", False),
        ("ax[b", "x[[a]b", True),
        ("((", "((", False),
        ("anything", "*", False),
    ],
)
def test_regex_answers_are_searched_for_and_invalid_ones_are_not_found(text: str, pattern: str, found: bool) -> None:
    assert contains_answer(text, [pattern], "regex") is found
    assert contains_answer(text, ["(", pattern, "no such thing"], "regex") is found
    assert which_contain_answer([text.encode()], [pattern], "regex") == [found]


def test_no_answers_are_never_found() -> None:
    assert not contains_answer("anything", [])
    assert not contains_answer("anything", [], "regex")


def test_an_expression_that_would_search_for_ever_is_given_up() -> None:
    began = time.monotonic()
    assert not contains_answer("a" * 60 + "!", ["(a|aa)+$"], "regex")
    assert not contains_answer("a" * 61 + "!", ["(a|aa)+$"], "regex")
    assert time.monotonic() - began < 20
