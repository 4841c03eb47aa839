"""Annotated files as blocks: the same texts, pieces and spans, made once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_trunk import tokenizer_of

from realm.corpus.skips import SkipReport
from realm.errors import SourceError
from realm.training.annotated import read_annotated
from realm.training.annotated_blocks import open_annotated
from realm.training.candidates import content_digest


def write(path: Path, count: int, entity: str = "Bal") -> Path:
    records = [
        {"doc_id": n, "sent_text": f"The mill {n} of {entity} is old.", "linguistic_ent": [["Bal", "GPE", 90, 93]]}
        for n in range(count)
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def test_blocks_and_salient_sentences_are_those_of_the_file(trunk: Path, tmp_path: Path) -> None:
    tokenizer = tokenizer_of(trunk)
    path = write(tmp_path / "s.jsonl", 700)
    blocks, salient = open_annotated(path, tokenizer, tmp_path / "cache")
    texts = list(read_annotated(path))
    assert len(blocks) == len(salient) == len(texts) == 700
    for row, block in enumerate(blocks.take(range(700))):
        assert (block.id, block.title, block.text) == (texts[row].id, "", texts[row].text)
        assert block.body_ids == tokenizer.ids_of(block.text)
        assert salient.sentences(row) == texts[row].sentences
        assert int(salient.digests[row]) == content_digest(block.title, block.text)


def test_file_is_read_once_and_again_when_it_changes(trunk: Path, tmp_path: Path) -> None:
    path, cache, tokenizer = tmp_path / "s.jsonl", tmp_path / "cache", tokenizer_of(trunk)
    seen: list[int] = []
    for count, made in ((3, [3]), (3, [3]), (5, [3, 5])):
        if count != 3 or not seen:
            write(path, count)
        blocks, _ = open_annotated(path, tokenizer, cache, progress=seen.append)
        assert len(blocks) == count
        assert seen == made


def test_file_without_spans_or_texts_leaves_nothing(trunk: Path, tmp_path: Path) -> None:
    cache, tokenizer = tmp_path / "cache", tokenizer_of(trunk)
    report = SkipReport()
    with pytest.raises(SourceError, match="has a name or a date"):
        open_annotated(write(tmp_path / "s.jsonl", 3, "Cor"), tokenizer, cache, report)
    assert report.reasons == {"misplaced_span": 3}
    with pytest.raises(SourceError, match="no texts"):
        open_annotated(write(tmp_path / "s.jsonl", 0), tokenizer, cache)
    with pytest.raises(SourceError, match="cannot be read"):
        open_annotated(tmp_path / "none.jsonl", tokenizer, cache)
    assert list(cache.iterdir()) == []
