"""Blocks by their words: the best by BM25 written out, whatever is appended, forbidden or asked."""

from __future__ import annotations

import math
import random
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from realm.corpus import lexical
from realm.corpus.chunking import ChunkedDocument
from realm.corpus.lexical import LexicalIndex
from realm.errors import CorruptFileError, KnowledgeBaseError
from realm.records import Block, Document

WORDS = "amber birch cedar dove ember fern grove heron iris jade kelp lotus maple newt otter pearl quartz".split()


def texts(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Titles and texts of made-up blocks, of words that no analysis changes."""
    chance = random.Random(seed)
    return [
        (
            " ".join(chance.choices(WORDS, k=chance.randrange(3))),
            " ".join(chance.choices(WORDS, k=chance.randint(1, 9))),
        )
        for _ in range(count)
    ]


def chunked(parts: Sequence[tuple[str, str]]) -> list[ChunkedDocument]:
    """One document for each block."""
    return [
        ChunkedDocument(Document("d", title, text), "hash", (), (Block("b", "d", title, 0, len(text), text),))
        for title, text in parts
    ]


def bm25f(parts: Sequence[tuple[str, str]], question: str) -> dict[int, float]:
    """Scores of all blocks that share a word with the question, by the formula that Lance documents.

    Source: Lucene `CombinedFieldQuery`: of a word's document frequencies in the fields the greatest counts.
    """
    k1, b = 1.2, 0.75
    fields = list(zip(*((title.split(), text.split()) for title, text in parts), strict=True))
    average = sum(len(words) for field in fields for words in field) / len(parts)
    scores: dict[int, float] = {}
    for word in sorted(set(question.split())):
        frequency = max(sum(word in words for words in field) for field in fields)
        weight = math.log(1 + (len(parts) - frequency + 0.5) / (frequency + 0.5))
        for row, (title, text) in enumerate(zip(*fields, strict=True)):
            count = Counter(title)[word] + Counter(text)[word]
            if count:
                length = 1 - b + b * (len(title) + len(text)) / average
                scores[row] = scores.get(row, 0.0) + weight * (k1 + 1) * count / (count + k1 * length)
    return scores


def found(store: LexicalIndex, question: str, k: int = 1000, allowed: NDArray[np.bool_] | None = None) -> list[int]:
    (hits,) = store.search([question], k, allowed)
    assert len(hits.rows) == len(hits.scores) <= k
    assert (np.diff(hits.scores) <= 0).all()
    return list(hits.rows.tolist())


def assert_same(store: LexicalIndex, parts: Sequence[tuple[str, str]], question: str) -> None:
    expected = bm25f(parts, question)
    (hits,) = store.search([question], len(parts))
    assert dict(zip(hits.rows.tolist(), hits.scores.tolist(), strict=True)) == pytest.approx(expected, rel=1e-4)


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 blocks: 200 in the index in two parts, and the last 100 appended since."""
    store = LexicalIndex.create(tmp_path_factory.mktemp("lexical") / "blocks.lance")
    parts = texts(300)
    store.append(chunked(parts[:150]))
    store.complete()
    store.append(chunked(parts[150:170]))
    store.append(chunked(parts[170:200]))
    store.complete()
    store.append(chunked(parts[200:]))
    return store.path


@pytest.fixture
def store(tmp_path: Path, made_once: Path) -> LexicalIndex:
    return LexicalIndex.open(shutil.copytree(made_once, tmp_path / "blocks.lance"))


def test_scores_are_bm25_over_title_and_text_with_rows_in_and_out_of_the_index(store: LexicalIndex) -> None:
    parts = texts(300)
    assert store.unindexed_rows == 100
    for question in ("otter", "amber grove", "iris jade iris kelp", "heron quartz nothing"):
        assert_same(store, parts, question)
    store.complete()
    assert store.unindexed_rows == 0
    for question in ("otter", "amber grove", "iris jade iris kelp", "heron quartz nothing"):
        assert_same(store, parts, question)


def test_too_many_parts_become_one_that_finds_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lexical, "_MAX_PARTS", 3)
    store = LexicalIndex.create(tmp_path / "blocks.lance")
    parts = texts(60)
    seen = []
    for start in range(0, 60, 10):
        store.append(chunked(parts[start : start + 10]))
        store.complete()
        seen.append(len(store._description("text").segments))
        assert_same(store, parts[: start + 10], "dove maple")
    assert seen == [1, 2, 3, 1, 2, 3]


def test_completing_what_is_complete_makes_no_version(store: LexicalIndex) -> None:
    store.complete()
    version = store.version
    store.complete()
    assert store.version == version


def test_version_from_before_the_index_finds_the_same(store: LexicalIndex) -> None:
    old = LexicalIndex.open(store.path, store.version)
    store.complete()
    assert_same(old, texts(300), "lotus newt")


def test_merged_files_find_the_same_and_can_be_appended_to(tmp_path: Path) -> None:
    store = LexicalIndex.create(tmp_path / "blocks.lance")
    parts = texts(60)
    for start in range(0, 60, 10):
        store.append(chunked(parts[start : start + 10]))
    store.complete()
    store.merge_files()
    assert_same(store, parts, "lotus newt")
    more = texts(20, seed=1)
    store.append(chunked(more))
    assert_same(store, parts + more, "lotus newt")
    store.complete()
    assert_same(store, parts + more, "lotus newt")


@pytest.mark.parametrize("sizes", [[10, 10, 80, 10, 10], [10, 10, 10, 10], [80, 10, 10, 10], [10, 80], [10]])
@pytest.mark.parametrize("publications", [{1, 2}, {0, 2, 3}, {2}, set(), {0, 1, 2, 3, 4}])
def test_merged_files_keep_the_order_of_rows(tmp_path: Path, sizes: list[int], publications: set[int]) -> None:
    store = LexicalIndex.create(tmp_path / "blocks.lance")
    parts = texts(sum(sizes))
    for at, rows in enumerate(sizes):
        store.append(chunked(parts[len(store) : len(store) + rows]))
        if at in publications:
            store.complete()
    for as_one in (False, True):
        if as_one:
            store.complete(as_one=True)
        store.merge_files(rows_per_file=50)
        assert [row for batch in store.batches(["row"]) for row in batch["row"].to_pylist()] == list(range(sum(sizes)))
        assert [stored.block.text for stored in store.take(range(len(parts)))] == [text for _, text in parts]
        if store.unindexed_rows < len(parts):
            assert_same(LexicalIndex.open(store.path, store.version), parts, "lotus newt")
    if 80 not in sizes[1:]:
        assert len(store._dataset.get_fragments()) == 1 + (sizes[0] == 80)


def test_few_candidates_leave_scores_as_they_are(made_once: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = bm25f(texts(300), "otter maple dove")
    for name, count in (("_LEAST_BY_TEXT", 40), ("_LEAST_BY_TITLE", 10)):
        monkeypatch.setattr(lexical, name, count)
    (hits,) = LexicalIndex.open(made_once).search(["otter maple dove"], 5)
    assert hits.scores.tolist() == pytest.approx([everything[row] for row in hits.rows.tolist()], rel=1e-4)
    assert hits.scores[0] == pytest.approx(max(everything.values()), rel=1e-4)
    assert len(hits.rows) == 5


def test_completing_an_older_version_drops_what_a_killed_writer_left(store: LexicalIndex) -> None:
    version = store.version
    LexicalIndex.open(store.path).append(chunked([("otter", "otter otter")] * 5))
    store = LexicalIndex.open(store.path, version)
    store.complete()
    assert_same(LexicalIndex.open(store.path), texts(300), "otter")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.4, 0.6, 0.99, 1.0])
def test_only_allowed_rows_are_returned_and_all_that_match(store: LexicalIndex, share: float) -> None:
    allowed = np.random.default_rng(0).random(300) < share
    everything = found(store, "otter maple dove fern")
    expected = [row for row in everything if allowed[row]]
    assert found(store, "otter maple dove fern", allowed=allowed) == expected
    if len(expected) > 7:
        assert len(found(store, "otter maple dove fern", k=7, allowed=allowed)) == 7


@pytest.mark.parametrize(
    "question",
    [
        "", "  \n", "the of and", "?!...", "\x00", "\udcff", "😀 👩‍👩‍👧", "'; DROP TABLE blocks --",
        "zzz " * 5000, "東京",
    ],
)  # fmt: skip
def test_question_without_a_word_that_counts_finds_nothing(store: LexicalIndex, question: str) -> None:
    assert found(store, question) == []


@pytest.mark.parametrize(
    "question",
    [
        '"otter', 'otter"', "otter AND", "NOT otter", "+otter -otter", "title:otter", "otter~2", "otter^9",
        "(otter", "otter*", "{otter}", "otter\x00", "OTTER", "ótter 😀", '{"match": {"query": "otter"}}', "otter OR (",
        "otters", "otter " * 5000,
    ],
)  # fmt: skip
def test_question_is_text_and_never_a_query_language(store: LexicalIndex, question: str) -> None:
    assert found(store, question) == found(store, "otter") != []


def test_long_question_of_different_words_is_answered(store: LexicalIndex) -> None:
    assert found(store, "otter " + " ".join(f"w{number}" for number in range(5000))) == found(store, "otter")


@settings(max_examples=20)
@given(st.text(max_size=60))
def test_any_text_may_be_asked(made_once: Path, question: str) -> None:
    assert len(found(LexicalIndex.open(made_once), question, 3)) <= 3


def test_words_are_found_in_other_forms_and_without_accents(tmp_path: Path) -> None:
    store = LexicalIndex.create(tmp_path / "blocks.lance")
    store.append(chunked([("Zürich", "Rivers flowed."), ("", "The river flows in São Paulo."), ("", "A castle")]))
    store.complete()
    assert set(found(store, "flowing river")) == {0, 1}
    assert found(store, "Zurich") == [0]
    assert found(store, "sao paulo") == [1]


def test_several_questions_find_what_each_finds_alone(store: LexicalIndex) -> None:
    questions = ["otter", "", "fern grove"]
    assert [hits.rows.tolist() for hits in store.search(questions, 9)] == [found(store, q, 9) for q in questions]
    assert store.search([], 9) == []


def test_store_without_blocks_finds_nothing_and_one_without_index_says_how_to_make_it(tmp_path: Path) -> None:
    store = LexicalIndex.create(tmp_path / "blocks.lance")
    store.complete()
    assert found(store, "otter") == []
    store.append(chunked(texts(3)))
    with pytest.raises(KnowledgeBaseError, match=r"no full-text index.*realm index"):
        store.search(["otter"], 1)


def test_wrong_masks_and_counts_are_refused(store: LexicalIndex) -> None:
    with pytest.raises(ValueError, match="one flag for each of 300 rows"):
        store.search(["otter"], 1, np.ones(299, dtype=bool))
    with pytest.raises(ValueError, match="k is 0"):
        store.search(["otter"], 0)


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_damaged_index_is_told_in_one_line(store: LexicalIndex, damage: str) -> None:
    store.complete()
    for file in (store.path / "_indices").rglob("*.lance"):
        file.write_bytes(file.read_bytes()[:50])
        if damage == "gone":
            file.unlink()
    with pytest.raises(CorruptFileError, match=r"blocks\.lance: version \d+ cannot be read\. Rebuild") as caught:
        LexicalIndex.open(store.path).search(["otter"], 3)
    assert "\n" not in str(caught.value)
