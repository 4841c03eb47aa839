"""Annotated files as blocks: the same texts and spans, made once for a state of the files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from realm.corpus.skips import SkipReport
from realm.errors import SourceError
from realm.training.annotated import read_annotated
from realm.training.annotated_blocks import annotated_files, annotated_names, annotated_texts
from realm.training.candidates import content_digest
from realm.training.salient_store import SalientBlocks
from realm.training.token_store import TokenStore


def write(path: Path, count: int, entity: str = "Bal", marked: str = "Bal") -> Path:
    records = [
        {"doc_id": n, "sent_text": f"The mill {n} of {entity} is old.", "linguistic_ent": [[marked, "GPE", 90, 93]]}
        for n in range(count)
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def opened(files: list[Path], cache: Path, report: SkipReport | None = None) -> tuple[TokenStore, SalientBlocks]:
    texts = annotated_texts(files, "of a tokenizer", cache)
    return texts, annotated_names(files, texts, cache, report or SkipReport())


def test_blocks_and_salient_sentences_are_those_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "s.jsonl", 700)
    blocks, salient = opened([path], tmp_path / "cache")
    texts = list(read_annotated(path))
    assert len(blocks) == len(salient) == len(texts) == 700
    for row, block in enumerate(blocks.take(range(700))):
        assert (block.id, block.title, block.text) == (texts[row].id, "", texts[row].text)
        assert salient.sentences(row) == texts[row].sentences
        assert int(salient.digests[row]) == content_digest(block.title, block.text)


def test_file_is_read_once_and_again_when_it_changes(tmp_path: Path) -> None:
    path, cache = write(tmp_path / "s.jsonl", 3), tmp_path / "cache"
    first, _ = opened([path], cache)
    again, _ = opened([path], cache)
    assert again.folder == first.folder
    write(path, 5)
    changed, names = opened([path], cache)
    assert len(changed) == len(names) == 5


def test_the_same_texts_with_other_names_are_other_names(tmp_path: Path) -> None:
    path, cache = write(tmp_path / "s.jsonl", 3), tmp_path / "cache"
    texts, names = opened([path], cache)
    write(path, 3, marked="mill")
    texts_again, names_again = opened([path], cache)
    assert texts_again.digest == texts.digest
    assert names_again.digest != names.digest
    assert names_again.sentences(0) != names.sentences(0)


def test_files_of_a_folder_are_chained_in_the_order_of_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    write(folder / "b.jsonl", 2, "Bal")
    write(folder / "a.jsonl", 3, "Bal of Ely")
    write(folder / "empty.jsonl", 0)
    (folder / "README.txt").write_text("What this is.")
    files = annotated_files(folder)
    assert [file.name for file in files] == ["a.jsonl", "b.jsonl", "empty.jsonl"]
    blocks, names = opened(files, tmp_path / "cache")
    found = [block.text for block in blocks.take(range(5))]
    assert found == [text.text for file in files for text in read_annotated(file)]
    assert len(names) == 5


def test_sources_of_other_kinds_are_not_annotated(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"title": "", "text": "The mill is old."}\n')
    assert annotated_files(tmp_path / "d.jsonl") == annotated_files(tmp_path) == []
    assert annotated_files(tmp_path / "none.jsonl") == []


def test_file_without_spans_or_texts_is_said(tmp_path: Path) -> None:
    cache, report = tmp_path / "cache", SkipReport()
    with pytest.raises(SourceError, match="has a name or a date"):
        opened([write(tmp_path / "s.jsonl", 3, "Cor")], cache, report)
    assert report.reasons == {"misplaced_span": 3}
    with pytest.raises(SourceError, match="no blocks found"):
        opened([write(tmp_path / "s.jsonl", 0)], cache)
