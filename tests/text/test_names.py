"""Where names stand: by hand for what the rules promise, by properties for what holds of every text."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.text.corpus_words import TitleSet
from realm.text.names import RuleTagger
from realm.text.salient import DATE
from realm.text.sentences import sentence_spans

WORDS = st.sampled_from(
    "The the In Ada Lovelace of van Gogh U.S. J. R. Tolkien and University for McDonald's O'Neil Jean-Paul 1999 II "
    "founding Founding . ! ? \" ' ( ) – 30 5th Monday President Bush İstanbul ß É 東京 Ὀ BBC it".split()
)
TEXTS = st.lists(WORDS | st.sampled_from(["\n", ", "]), max_size=30).map(" ".join) | st.text()


def names(text: str, tagger: RuleTagger | None = None) -> list[str]:
    spans = (tagger or RuleTagger()).spans([text])[0]
    return [text[span.start : span.end] for span in spans if span.kind != DATE]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Words that open a sentence are names unless they are of the language.
        ("The river is long. In Ely it ends. Ely is small.", ["Ely", "Ely"]),
        ("Mills stood here. The mills burnt.", []),
        ("Founding members left. Additionally, nobody came.", []),
        ("New York grew. United Nations soldiers saw it.", ["New York", "United Nations"]),
        # Particles, initials, abbreviations, hyphens.
        ("He saw Ludwig van Beethoven and van Gogh.", ["Ludwig van Beethoven", "van Gogh"]),
        ("It is the University of the Andes of old.", ["University of the Andes"]),
        ("Then J. R. R. Tolkien met C. S. Lewis.", ["J. R. R. Tolkien", "C. S. Lewis"]),
        ("He went to the U.S. Army with St. Paul and Acme Inc. to fight.", ["U.S. Army", "St. Paul", "Acme Inc."]),
        ("We saw Jean-Paul of Stratford-upon-Avon there.", ["Jean-Paul of Stratford-upon-Avon"]),
        ("A London-based and AT&T-owned firm of Scarlett O'Neil.", ["London", "AT&T", "Scarlett O'Neil"]),
        ("She met Sammy Davis, Jr. and Henri d'Orves there.", ["Sammy Davis, Jr.", "Henri d'Orves"]),
        # Possessives end a name, "and" joins only what an institution is for.
        ("They like Ely's mills and the Beatles' songs.", ["Ely", "Beatles"]),
        ("He met Ada and Bob.", ["Ada", "Bob"]),
        ("It is the Department of Trade and Industry.", ["Department of Trade and Industry"]),
        ("It is the Institute for Advanced Study.", ["Institute for Advanced Study"]),
        # Numbers inside and behind.
        (
            "They flew on Apollo 11, and fought in World War II or World War I.",
            ["Apollo 11", "World War II", "World War I"],
        ),
        ("In Ely 300 people died.", ["Ely"]),
        ("The 139th Pennsylvania Infantry marched.", ["139th Pennsylvania Infantry"]),
        # Ranks and courtesies stay outside, reigning ones inside.
        (
            "Then President Bush met Mr. Smith, General Lee and Queen Victoria.",
            ["Bush", "Smith", "Lee", "Queen Victoria"],
        ),
        ("They asked the President and the Duke of Wellington.", ["Duke of Wellington"]),
        # Dates are no names; neither is a headline in capitals.
        ("In May 1867 Napoleon left on Monday, and I stayed.", ["Napoleon"]),
        ("THE HISTORY OF THE TOWN\nIt is in Kent.", ["Kent"]),
        ("We saw Ægir, Øre, Ångström and Ђорђе.", ["Ægir", "Øre", "Ångström", "Ђорђе"]),
    ],
)
def test_names_are_what_a_reader_would_mark(text: str, expected: list[str]) -> None:
    assert names(text) == expected


def test_words_in_small_letters_of_the_corpus_open_no_name() -> None:
    assert names("Gravel lay there.") == ["Gravel"]
    assert names("Gravel lay there.", RuleTagger(lower_words=frozenset(["gravel"]))) == []


def test_titles_are_found_whole_whatever_joins_their_words() -> None:
    text = "He read Pride and Prejudice, and The Mill on the Floss of Ely."
    assert names(text) == ["Pride", "Prejudice", "The Mill", "Floss of Ely"]
    titles = TitleSet(["Pride and Prejudice", "The Mill on the Floss", "Ely"])
    assert names(text, RuleTagger(titles=titles)) == ["Pride and Prejudice", "The Mill on the Floss", "Ely"]


def test_digest_tells_taggers_apart() -> None:
    taggers = [RuleTagger(), RuleTagger(frozenset(["a"])), RuleTagger(titles=TitleSet(["A B"]))]
    assert len({tagger.digest for tagger in taggers}) == 3
    assert RuleTagger(frozenset("ba")).digest == RuleTagger(frozenset("ab")).digest


@given(TEXTS)
def test_spans_are_visible_in_order_apart_and_inside_one_sentence(text: str) -> None:
    spans = RuleTagger().spans([text])[0]
    assert all(text[s.start : s.end] == text[s.start : s.end].strip() != "" for s in spans)
    assert all(left.end <= right.start for left, right in pairwise(spans))
    sentences = sentence_spans(text)
    for span in spans:
        if span.kind != DATE:
            assert any(start <= span.start and span.end <= end for start, end in sentences)


@given(st.lists(TEXTS, max_size=4))
def test_a_text_has_the_same_names_whatever_stands_beside_it(texts: list[str]) -> None:
    assert RuleTagger().spans(texts) == [RuleTagger().spans([text])[0] for text in texts]


@pytest.mark.parametrize(
    "text",
    [
        "A" * 30_000,
        "Aa " * 10_000,
        "A." * 15_000,
        "A-a-" * 6_000,
        "A'" * 15_000,
        "Aa of " * 5_000,
        "Aa'b" * 6_000,
        "Aa " * 5_000 + "University " + "for Aa " * 5_000,
        "Aa for " * 5_000,
        "1st " * 7_000,
        "Aa & " * 6_000,
        "University " + "Aa and " * 5_000,
        "A.-" * 10_000,
        "Aa-bb-cc-" * 5_000,
        "van " * 6_000,
    ],
)
def test_odd_texts_take_linear_time(text: str) -> None:
    # In quadratic time these would take minutes; the limit is far above what a busy machine needs.
    started = time.process_time()
    RuleTagger(titles=TitleSet(["A A A A A"])).spans([text])
    assert time.process_time() - started < 5
