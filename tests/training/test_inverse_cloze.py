"""Inverse cloze: sentences of blocks as questions, and how often the block keeps them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tiny_trunk import documents, tokenizer_of, write_lines

from realm.training.inverse_cloze import SentenceBlock, sentence_and_rest, sentence_blocks

BLOCK = SentenceBlock([1], list(range(10, 40)), [(0, 8), (8, 20), (22, 30)])


def test_sentence_is_taken_out_of_its_block_nine_times_in_ten() -> None:
    choice = random.Random(0)
    kept = 0
    chosen = set()
    for _ in range(2000):
        sentence, (title, body) = sentence_and_rest(BLOCK, 0.1, choice)
        assert title == BLOCK.title_ids
        place = (sentence[0] - 10, sentence[-1] - 9)
        assert place in BLOCK.sentences
        chosen.add(place)
        if body == BLOCK.body_ids:
            kept += 1
        else:
            assert body == [piece for piece in BLOCK.body_ids if piece not in sentence]
    assert chosen == set(BLOCK.sentences)
    assert 0.07 < kept / 2000 < 0.13


@pytest.mark.parametrize(("share", "pieces"), [(0.0, {18, 22}), (1.0, {30})])
def test_keep_share_of_zero_and_one_are_never_and_always(share: float, pieces: set[int]) -> None:
    choice = random.Random(0)
    assert {len(sentence_and_rest(BLOCK, share, choice)[1][1]) for _ in range(100)} == pieces


def test_sentences_of_a_block_are_those_of_the_text(trunk: Path, tmp_path: Path) -> None:
    tokenizer = tokenizer_of(trunk)
    records = documents(4)
    records.append({"id": "short", "title": "S", "text": "It is. The old town of the river lies on it."})
    path = write_lines(tmp_path / "d.jsonl", records)
    found = list(sentence_blocks([path], 100, tokenizer))
    # The last document has one sentence of six pieces only, and so no question and rest.
    assert len(found) == 4
    for block, record in zip(found, records, strict=False):
        assert block.title_ids == tokenizer.ids_of(record["title"])
        assert block.body_ids == tokenizer.ids_of(record["text"])
        sentences = [part if part.endswith(".") else f"{part}." for part in record["text"].split(". ")]
        cut = [block.body_ids[first:last] for first, last in block.sentences]
        assert cut == [tokenizer.ids_of(sentence) for sentence in sentences]


def test_only_so_many_documents_of_each_file_are_used(trunk: Path, tmp_path: Path) -> None:
    paths = [write_lines(tmp_path / f"{n}.jsonl", documents(4, seed=n)) for n in range(2)]
    assert len(list(sentence_blocks(paths, 3, tokenizer_of(trunk)))) == 6
