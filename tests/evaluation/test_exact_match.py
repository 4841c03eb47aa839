"""Exact match and F1 against written-out cases and a brute-force F1."""

from __future__ import annotations

import re
import string
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.evaluation.exact_match import compare, exact_match, normalize_answer, squad_exact_match, token_f1


@pytest.mark.parametrize(
    ("text", "normalized"),
    [
        ("The  Beatles!", "beatles"),
        ("  A\tnew\nday ", "new day"),
        ("AN apple, the pear & a fig", "apple pear fig"),
        ("theatre another and", "theatre another and"),  # articles are whole words
        ("U.S.A.", "usa"),
        ("rock-and-roll", "rockandroll"),  # punctuation is deleted, not replaced by a space
        ("the-end", "theend"),  # and before articles are looked for
        ("$1,200.50 (c. 1900)", "120050 c 1900"),
        ("“smart” quotes – dashes", "“smart” quotes – dashes"),  # only ASCII punctuation goes
        ("ÉCOLE", "e\u0301cole"),  # the accent stays, as a combining character
        ("Zürich", "zu\u0308rich"),
        ("½ ﬁne", "½ ﬁne"),  # NFD, not NFKD
        ("à la carte", "\u0300 la carte"),  # a letter under an accent that stands alone is an article
        ("東京 the", "東京"),
        ("the", ""),
        ("", ""),
        (string.punctuation, ""),
    ],
)
def test_answer_is_normalised_as_orqa_does(text: str, normalized: str) -> None:
    assert normalize_answer(text) == normalized


@given(st.text())
def test_composed_and_decomposed_texts_are_the_same_answer(text: str) -> None:
    assert normalize_answer(unicodedata.normalize("NFC", text)) == normalize_answer(unicodedata.normalize("NFD", text))


@given(st.text())
def test_normalised_answer_has_single_spaces_and_no_ascii_punctuation(text: str) -> None:
    normalized = normalize_answer(text)
    assert normalized == " ".join(normalized.split())
    assert not set(normalized) & set(string.punctuation)
    assert not set(normalized.split()) & {"a", "an", "the"}


@pytest.mark.parametrize(
    ("prediction", "references", "right"),
    [
        ("The  Beatles!", ["beatles"], True),
        ("Beatles", ["the rolling stones", "The Beatles"], True),
        ("Beatles", ["Beatle", "Beatles band"], False),
        ("Montréal", ["Montreal"], False),
        ("Montre\u0301al", ["Montréal"], True),
        ("", ["x"], False),
        ("anything", [], False),
        ("the", [""], True),
    ],
)
def test_exact_match_needs_one_equal_reference(prediction: str, references: list[str], right: bool) -> None:
    assert exact_match(prediction, references) is right


@pytest.mark.parametrize(
    ("prediction", "references", "expected"),
    [
        ("Denver Broncos", ["the Denver Broncos"], 1.0),
        ("Broncos", ["Denver Broncos"], 2 / 3),
        ("the big big dog", ["big dog"], 2 * (2 / 3) * 1 / (2 / 3 + 1)),  # a word counts as often as both have it
        ("red green", ["blue", "green yellow black"], 2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3)),
        ("cat", ["dog"], 0.0),
        ("cat", [], 0.0),
        ("", ["dog"], 0.0),
    ],
)
def test_f1_of_written_out_cases(prediction: str, references: list[str], expected: float) -> None:
    assert token_f1(prediction, references) == pytest.approx(expected)


def f1_by_pairing(prediction: str, reference: str) -> float:
    """Pair off equal words one by one; twice the pairs over all words."""
    ours, theirs = normalize_answer(prediction).split(), normalize_answer(reference).split()
    left, pairs = list(theirs), 0
    for word in ours:
        if word in left:
            left.remove(word)
            pairs += 1
    return 2 * pairs / (len(ours) + len(theirs)) if ours or theirs else 1.0


PHRASES = st.lists(st.sampled_from(["the", "red", "Red", "fox", "fox.", "ox", "é", "a"]), max_size=6).map(" ".join)


@given(PHRASES, st.lists(PHRASES, min_size=1, max_size=3))
def test_f1_is_the_best_over_references_of_paired_words(prediction: str, references: list[str]) -> None:
    expected = max(f1_by_pairing(prediction, reference) for reference in references)
    assert token_f1(prediction, references) == pytest.approx(expected)
    assert (token_f1(prediction, references) == 1.0) >= exact_match(prediction, references)


def official_squad(prediction: str, reference: str) -> tuple[bool, float]:
    """Equality and F1 as SQuAD's paper defines them, letter by letter and word by word."""

    def words(text: str) -> list[str]:
        kept = "".join(letter for letter in text.lower() if letter not in set(string.punctuation))
        split = re.split(r"(\w+)", kept)
        return "".join(" " if part in ("a", "an", "the") else part for part in split).split()

    ours, theirs = words(prediction), words(reference)
    shared = sum(min(ours.count(word), theirs.count(word)) for word in set(ours))
    f1 = 2 * shared / (len(ours) + len(theirs)) if ours or theirs else 1.0
    return ours == theirs, f1


TEXTS = st.one_of(PHRASES, st.text(alphabet="aAnthe é\u0300.,-_$1 \t東", max_size=12))


@given(TEXTS, st.lists(TEXTS, max_size=3))
def test_squad_scores_are_those_of_its_definition(prediction: str, references: list[str]) -> None:
    expected = [official_squad(prediction, reference) for reference in references]
    assert squad_exact_match(prediction, references) == any(same for same, _ in expected)
    assert token_f1(prediction, references) == pytest.approx(max((f1 for _, f1 in expected), default=0.0))


@given(TEXTS, st.lists(TEXTS, max_size=3))
def test_comparison_is_each_score_alone_and_exact_match_is_never_above_f1(
    prediction: str, references: list[str]
) -> None:
    found = compare(prediction, references)
    assert found.exact == exact_match(prediction, references)
    assert found.squad_exact <= found.f1 <= 1


def test_orqa_tells_composed_and_decomposed_letters_the_same_and_squad_does_not() -> None:
    assert compare("Montre\u0301al", ["Montréal"]) == (True, False, 0.0)
    assert compare("Montréal", ["Montréal"]) == (True, True, 1.0)
