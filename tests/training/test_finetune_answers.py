"""Which blocks answer a question and where: strings, expressions, marked passages; and what is remembered of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from memory_blocks import MemoryBlocks
from tiny_trunk import tokenizer_of

from realm.records import Question
from realm.training.block_source import TrainingBlock
from realm.training.finetune_answers import AnswerCache, AnswerFinder
from realm.training.finetune_questions import AskedQuestion, MarkedSentence

TEXTS = (
    "The mill of Balcor was built in 1234. It stands near the river Norvex.",
    "the MILL of balcor is old. The year is 1234, not 12345.",
    "People built it in Balcorum.",
    "Nothing is told here.",
)


class CountingBlocks(MemoryBlocks):
    """Notes what is asked for."""

    taken: list[int]

    def take(self, rows: Sequence[int]) -> list[TrainingBlock]:
        self.taken = [*getattr(self, "taken", []), *rows]
        return super().take(rows)


@pytest.fixture
def corpus(trunk: Path) -> CountingBlocks:
    return CountingBlocks(trunk, [("Page", text) for text in TEXTS])


def finder_of(trunk: Path, corpus: CountingBlocks, by_tokens: bool = False, width: int = 10) -> AnswerFinder:
    return AnswerFinder(corpus, tokenizer_of(trunk), by_tokens, width, 1_000_000)


def asked(trunk: Path, *answers: str, regex: bool = False, marked: Sequence[MarkedSentence] = ()) -> AskedQuestion:
    question = Question("q", "what?", answers, "regex" if regex else "string")
    ids = [] if regex else [tokenizer_of(trunk).ids_of(answer) for answer in answers]
    return AskedQuestion(0, question, [7], ids, list(marked))


def rows_with(finder: AnswerFinder, one: AskedQuestion) -> list[int]:
    return np.flatnonzero(finder.has_answer(one, np.arange(len(TEXTS)))).tolist()


@pytest.mark.parametrize(
    ("answers", "by_tokens", "rows"),
    [
        (("Balcor",), False, [0, 2]),
        (("Balcor",), True, [0, 1]),
        (("Norvex", "told here"), False, [0, 3]),
        (("1234",), False, [0, 1]),
        (("", "absent"), False, []),
        (("The  mill",), True, [0, 1]),
    ],
)
def test_string_is_looked_for_by_characters_or_by_tokens(
    trunk: Path, corpus: CountingBlocks, answers: tuple[str, ...], by_tokens: bool, rows: list[int]
) -> None:
    assert rows_with(finder_of(trunk, corpus, by_tokens), asked(trunk, *answers)) == rows


def test_blocks_are_looked_at_once_for_a_question(trunk: Path, corpus: CountingBlocks) -> None:
    finder = finder_of(trunk, corpus)
    one, other = asked(trunk, "Balcor"), asked(trunk, "told")._replace(number=1)
    assert finder.has_answer(one, np.array([2, 0])).tolist() == [True, True]
    assert finder.has_answer(one, np.array([0, 3, 1, 2])).tolist() == [True, False, False, True]
    assert corpus.taken == [2, 0, 3, 1]
    assert finder.has_answer(other, np.array([3, 0])).tolist() == [True, False]
    assert corpus.taken == [2, 0, 3, 1, 3, 0]


@pytest.mark.parametrize("answers", [("Balcor",), ("1234", "river Norvex"), ("the", "is"), ("absent",)])
def test_places_are_all_runs_of_the_answers_pieces(
    trunk: Path, corpus: CountingBlocks, answers: tuple[str, ...]
) -> None:
    one = asked(trunk, *answers)
    found = finder_of(trunk, corpus).places(one, corpus.blocks)
    for block, places in zip(corpus.blocks, found, strict=True):
        wanted = {
            (first, first + len(ids) - 1)
            for ids in one.answers
            for first in range(len(block.body_ids))
            if block.body_ids[first : first + len(ids)] == ids
        }
        assert places.spans == sorted(wanted)
        assert places.too_wide == 0


def test_wide_answers_are_no_target_and_counted(trunk: Path, corpus: CountingBlocks) -> None:
    one = asked(trunk, "Balcor", "mill of Balcor")
    widths = [len(ids) for ids in one.answers]
    assert widths[0] < widths[1]
    places = finder_of(trunk, corpus, width=widths[0]).places(one, corpus.blocks)[0]
    assert [last - first + 1 for first, last in places.spans] == [widths[0]]
    assert places.too_wide == 1


def test_expression_is_found_in_the_text_and_its_match_is_the_target(trunk: Path, corpus: CountingBlocks) -> None:
    finder, one = finder_of(trunk, corpus), asked(trunk, r"balcor\b|12\d4", r"(", r"x*", regex=True)
    assert rows_with(finder_of(trunk, corpus), asked(trunk, r"balcor\b|12\d4", r"(", regex=True)) == [0, 1]
    tokenizer = tokenizer_of(trunk)
    for block, places in zip(corpus.blocks, finder.places(one, corpus.blocks), strict=True):
        offsets = tokenizer.encode_batch([block.text])[0].offsets
        touched = {
            tuple(n for n, (start, end) in enumerate(offsets) if start < match.end() and match.start() < end)
            for match in re.finditer(r"balcor\b|12\d4|x", block.text, re.IGNORECASE)
        }
        assert places.spans == sorted((pieces[0], pieces[-1]) for pieces in touched)


def test_expression_that_takes_too_long_counts_as_absent(trunk: Path) -> None:
    blocks = CountingBlocks(trunk, [("", "a" * 60 + "!")])
    finder = AnswerFinder(blocks, tokenizer_of(trunk), False, 10, 1000)
    finder._matcher._seconds = 0.05
    one = asked(trunk, r"(a|aa)+$", regex=True)
    (places,) = finder.places(one, blocks.blocks)
    assert places.spans == []
    assert finder._matcher.given_up == {r"(a|aa)+$"}


def test_marked_sentence_decides_and_its_marked_pieces_are_the_target(trunk: Path, corpus: CountingBlocks) -> None:
    tokenizer = tokenizer_of(trunk)
    # Other white space and case are the same word pieces.
    sentence = tokenizer.ids_of("The mill of  balcor was\nbuilt in 1234.")
    year = tokenizer.ids_of("1234")
    first = next(n for n in range(len(sentence)) if sentence[n : n + len(year)] == year)
    one = asked(trunk, "1234", marked=[MarkedSentence(sentence, first, first + len(year) - 1)])
    finder = finder_of(trunk, corpus)
    assert rows_with(finder, one) == [0]
    found = finder.places(one, corpus.blocks)
    assert [places.spans for places in found] == [[(first, first + len(year) - 1)], [], [], []]


def test_cache_says_what_was_put_in_and_keeps_to_its_bytes() -> None:
    choice = np.random.default_rng(0)
    cache, truth = AnswerCache(4000), choice.random((40, 5000)) < 0.3
    for _ in range(300):
        question = int(choice.integers(40))
        rows = choice.choice(5000, size=50, replace=False).astype(np.int64)
        found, is_known = cache.look_up(question, rows)
        assert (found[is_known] == truth[question, rows[is_known]]).all()
        assert not found[~is_known].any()
        cache.add(question, rows, truth[question, rows])
        assert cache.look_up(question, rows)[1].all()
        assert cache.bytes <= 4000
        assert cache.bytes == sum(part.nbytes for entry in cache._entries.values() for part in entry)


def test_cache_keeps_one_question_whatever_its_size() -> None:
    cache, rows = AnswerCache(10), np.arange(100)
    cache.add(0, rows, rows % 2 == 0)
    found, is_known = cache.look_up(0, rows)
    assert is_known.all()
    assert (found == (rows % 2 == 0)).all()
    assert not cache.look_up(1, rows)[1].any()
