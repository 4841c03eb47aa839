"""Where sentences end: by hand for what the rules promise, by properties for what holds of every text."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_sentences import slow_sentences

from realm.text.sentences import sentence_spans

TEXTS = st.text(alphabet=st.sampled_from("aB1 .!?…\n\r\t\u2028\u00a0\u000c\u001c\"')]([«»”’é東,-")) | st.text()


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


@given(TEXTS)
def test_spans_tile_everything_visible_and_nothing_else(text: str) -> None:
    spans = sentence_spans(text)
    covered = {place for start, end in spans for place in range(start, end)}
    assert all(place in covered for place, character in enumerate(text) if not character.isspace())
    assert sum(end - start for start, end in spans) == len(covered)
    assert spans == sorted(spans)
    for start, end in spans:
        assert text[start:end] == text[start:end].strip() != ""


WORDS = st.sampled_from(
    "Dr U.S e.g No pp Inc Messrs etc vol I J 1 12 xii He The said left Tolkien Sentences Washington 3.14 [7] p.m "
    "CORPORATION ß 東 École".split()
)
SIGNS = st.sampled_from(
    [".", ". ", ".  ", "! ", "?", ".\n", " ", " ", ", ", '." ', ".) ", ".[3] ", "… ", " (", ' "', "\u00a0"]
)


@given(st.lists(WORDS | SIGNS, max_size=40).map("".join) | TEXTS, st.booleans())
@settings(max_examples=150)
def test_sentences_are_those_of_the_slow_way(text: str, is_lower: bool) -> None:
    text = text.lower() if is_lower else text
    assert sentence_spans(text) == slow_sentences(text)


@given(TEXTS)
def test_line_breaks_never_stand_inside_a_sentence(text: str) -> None:
    for sentence in sentences(text):
        assert not set(sentence) & set("\n\r\u2028\u2029")


@given(TEXTS, TEXTS)
def test_lines_are_split_independently_of_each_other(first: str, second: str) -> None:
    # Whether a text has capitals is decided for the whole of it, so both halves get some here.
    first, second = f"X. {first} Y", f"X. {second} Y"
    assert sentences(f"{first}\n{second}") == sentences(first) + sentences(second)


# The sentences of a text, joined by the sign in front: the text is the join, the expectation the parts.
@pytest.mark.parametrize(
    ("separator", "expected"),
    [
        (" ", ["One ends here.", "Another begins."]),
        (" ", ["Is it so?", "It is!", "Really?!", "Yes…", "No..."]),
        ("\n", ["A heading", "Then a sentence.", "- an item", "- another item"]),
        (" ", ['He said "No."', "Then he left."]),
        (" ", ['"Why?" she asked.', "Nobody knew."]),
        (" ", ["(It rained.)", "The sun came out."]),
        (" ", ["It opened in 1905.[12]", "It closed in 1910.[3][4]", "Nobody came."]),
        (" ", ["Dr. Watson met Mr. Holmes of St. Ives.", "They spoke."]),
        (" ", ["J. R. R. Tolkien wrote it.", "C. S. Lewis read it."]),
        (" ", ["The U.S. Army and the U.S. Navy moved.", "They left the U.S.", "It was late."]),
        (" ", ["Use tools, e.g. Hammers, i.e. Heavy ones.", "Stop."]),
        (" ", ["Pi is 3.14 and e is 2.72.", "Both go on."]),
        (" ", ["See No. 5 and vol. 3, pp. 12 ff.", "On Jan. 5 it ended."]),
        (" ", ["Acme Inc. Chairman Ann Lee spoke.", "She owns Acme Inc.", "The rest is hers."]),
        (" ", ["Sammy Davis Jr. Band played.", "Meet Sammy Davis Jr.", "He sings."]),
        ("\n", ["1. Introduction", "2. What follows is short."]),
        (" ", ["It cost $5.", "Nobody paid."]),
        (" ", ["Roe v. Wade was decided.", "Brown vs. Board of Education came first."]),
        (" ", ["Smith et al. (2005) disagree with Jones et al.", "The end."]),
        (" ", ["It fell after World War I.", "The architect was I. M. Pei."]),
        (" ", ["So did Plan B.", "It failed."]),
        (" ", ["It was 5 p.m.", "The bell rang."]),
        (" ", ["Well... maybe not.", "Perhaps."]),
        (" ", ["Yahoo! is a company.", "So is Ask."]),
        (" ", ["They sang “Louder.”", "«Encore.»", "Fin."]),
        ("\u2028\t", ["A line.", "Another"]),
    ],
)
def test_rules_end_sentences_where_a_reader_would(separator: str, expected: list[str]) -> None:
    assert sentences(separator.join(expected)) == expected


def test_text_without_capitals_is_split_at_its_stops() -> None:
    assert sentences("hello there. how are you? dr. smith is in.") == [
        "hello there.",
        "how are you?",
        "dr. smith is in.",
    ]


def test_abbreviation_at_a_line_break_ends_its_line() -> None:
    assert sentences("written by Dr.\nWatson") == ["written by Dr.", "Watson"]


@pytest.mark.parametrize("text", ["", " ", "\n \t\u2028", "\u000c"])
def test_white_space_has_no_sentences(text: str) -> None:
    assert sentence_spans(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "." * 90_000,
        ".\t" * 45_000,
        "a.b" * 30_000,
        ". (" * 30_000,
        "\n" * 90_000,
        ' "' * 45_000,
        "a. " * 30_000,
    ],
)
def test_odd_texts_take_linear_time(text: str) -> None:
    # In quadratic time these would take minutes; the limit is far above what a busy machine needs.
    started = time.process_time()
    sentence_spans(text)
    assert time.process_time() - started < 5


def test_importing_it_loads_neither_torch_nor_transformers() -> None:
    heavy = "{'numpy', 'tokenizers', 'torch', 'transformers'}"
    code = f"import sys, realm.text.sentences; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
