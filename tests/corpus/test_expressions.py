"""Regular expressions as references, against Python's `re` and against the test of passages."""

from __future__ import annotations

import re
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.corpus.answers import contains_answer
from realm.corpus.expressions import ExpressionMatcher

PIECES = [
    "a",
    "B",
    ".",
    "é",
    "e\u0301",
    "\\d",
    "\\s?",
    "(a|b)",
    "x*",
    "[ab]",
    "^",
    "$",
    "1",
    "(",
    "*",
    "[[a]",
    "\n",
    " ",
]
EXPRESSIONS = st.lists(st.sampled_from(PIECES), max_size=5).map("".join)
TEXTS = st.text(alphabet="abBxX1 \né\u0301(*[", max_size=12)


def python_match(expression: str, text: str) -> bool:
    try:
        return re.compile(expression, re.IGNORECASE | re.UNICODE | re.MULTILINE).match(text) is not None
    except re.error:
        return False


def python_search(expression: str, text: str) -> bool:
    text, expression = unicodedata.normalize("NFD", text), unicodedata.normalize("NFD", expression)
    try:
        return re.compile(expression, re.IGNORECASE | re.UNICODE | re.MULTILINE).search(text) is not None
    except re.error:
        return False


@pytest.mark.filterwarnings("ignore::FutureWarning")
@given(TEXTS, st.lists(EXPRESSIONS, max_size=3))
def test_match_at_the_start_is_that_of_re(text: str, expressions: list[str]) -> None:
    assert ExpressionMatcher().at_start(text, expressions) == any(python_match(e, text) for e in expressions)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@given(TEXTS, st.lists(EXPRESSIONS, max_size=3))
def test_search_anywhere_is_that_of_re_on_decomposed_text(text: str, expressions: list[str]) -> None:
    expected = any(python_search(e, text) for e in expressions)
    assert ExpressionMatcher().anywhere(text, expressions) == expected
    assert contains_answer(text, expressions, "regex") == expected


@given(TEXTS, st.lists(EXPRESSIONS, max_size=3))
def test_what_matches_at_the_start_is_found_anywhere(text: str, expressions: list[str]) -> None:
    text, expressions = unicodedata.normalize("NFD", text), [unicodedata.normalize("NFD", e) for e in expressions]
    matcher = ExpressionMatcher()
    assert matcher.at_start(text, expressions) <= matcher.anywhere(text, expressions)


@pytest.mark.parametrize(
    ("text", "expression", "at_start", "anywhere"),
    [
        ("September 9", "Sept?(ember)?", True, True),
        ("in September", "Sept?(ember)?", False, True),
        ("  1492", "1492", False, True),  # the text is not normalised
        ("The 1492", "1492", False, True),
        ("line\n1492", "^1492", False, True),
        ("Mu\u0308nchen", "M\u00fcnchen", False, True),
        ("anything", "((", False, False),
    ],
)
def test_the_two_readings_differ(text: str, expression: str, at_start: bool, anywhere: bool) -> None:
    matcher = ExpressionMatcher()
    assert (matcher.at_start(text, [expression]), matcher.anywhere(text, [expression])) == (at_start, anywhere)


def test_catastrophic_expression_is_given_up_once_and_counts_as_no_match() -> None:
    matcher = ExpressionMatcher(seconds=0.05)
    text, expression = "a" * 60 + "!", "(a|aa)+$"
    begin = time.monotonic()
    for _ in range(200):
        assert not matcher.at_start(text, [expression])
        assert not matcher.anywhere(text, [expression])
    assert time.monotonic() - begin < 5
    assert matcher.given_up == {expression}
    assert matcher.at_start(text, [expression, "aa"])
