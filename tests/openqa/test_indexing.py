"""Indexing: what is added, replaced, left alone and taken out, and where every block stands in its document."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_model import digests, stories, write_jsonl, write_tiny_model

from realm.errors import SourceError
from realm.openqa import indexing
from realm.openqa.indexing import index_sources, remove_documents
from realm.openqa.knowledge_base import KnowledgeBase
from realm.openqa.model_folder import ModelFolder
from realm.records import Document


@pytest.fixture
def six() -> list[Document]:
    return stories(6, seed=1)


@pytest.fixture
def source(tmp_path: Path, six: list[Document]) -> Path:
    return write_jsonl(tmp_path / "stories.jsonl", six)


def live_rows(base: KnowledgeBase) -> list[int]:
    gone = set(base.tombstones.tolist())
    return [row for row in range(base.manifest.blocks) if row not in gone]


def blocks_of(base: KnowledgeBase) -> Counter[str]:
    return Counter(stored.block.document_id for stored in base.take_blocks(live_rows(base)))


def test_indexing_adds_every_document_and_says_so(
    tmp_path: Path, source: Path, six: list[Document], tiny: ModelFolder
) -> None:
    seen: list[tuple[int, int]] = []
    report = index_sources(
        tmp_path / "kb", [source], tiny, progress=lambda r: seen.append((r.characters_seen, r.characters))
    )
    base = KnowledgeBase.open(tmp_path / "kb")
    assert (report.added, report.updated, report.unchanged) == (6, 0, 0)
    assert report.blocks == base.live_blocks == blocks_of(base).total() > 6
    assert set(blocks_of(base)) == {document.id for document in six}
    total = sum(len(document.text) for document in six)
    assert seen[-1] == (total, total)
    assert report.manifest == base.manifest
    for document in six:
        assert base.document(document.id).text == document.text


def test_every_block_is_the_slice_of_its_document_that_its_offsets_name(shared_kb: Path, tiny: ModelFolder) -> None:
    base = KnowledgeBase.open(shared_kb)
    texts = {document.id: base.document(document.id).text for document in stories(12)}
    covered = {key: set[int]() for key in texts}
    for stored in base.take_blocks(live_rows(base)):
        block = stored.block
        assert block.text == texts[block.document_id][block.start : block.end]
        assert list(block.token_ids) == tiny.tokenizer.ids_of(block.text)
        covered[block.document_id].update(range(block.start, block.end))
    for key, text in texts.items():
        assert all(text[place].isspace() for place in set(range(len(text))) - covered[key])


def test_vector_r_is_that_of_block_r(shared_kb: Path, tiny: ModelFolder) -> None:
    base = KnowledgeBase.open(shared_kb)
    rows = live_rows(base)
    stored = base.vectors.take(np.array(rows))
    for row, vector in zip(rows, stored, strict=True):
        found = base.take_blocks([row])[0]
        fresh = tiny.embed([tiny.inputs.block(found.title_ids, found.block.token_ids, 288)])[0]
        np.testing.assert_allclose(vector, fresh, rtol=2**-10, atol=1e-4)


def test_a_changed_document_alone_is_embedded_again(
    tmp_path: Path, six: list[Document], source: Path, tiny: ModelFolder
) -> None:
    kb = tmp_path / "kb"
    index_sources(kb, [source], tiny)
    before = blocks_of(KnowledgeBase.open(kb))
    changed = replace(six[4], text="The queen wrote music in Zürich. " + six[4].text)
    report = index_sources(kb, [write_jsonl(source, [*six[:4], changed, *six[5:]])], tiny)
    base = KnowledgeBase.open(kb)
    after = blocks_of(base)
    assert (report.added, report.updated, report.unchanged) == (0, 1, 5)
    assert report.blocks == after[changed.id] > 1
    assert {key: count for key, count in after.items() if key != changed.id} == {
        key: count for key, count in before.items() if key != changed.id
    }
    assert base.document(changed.id).text == changed.text
    versions = base.document_versions([document.id for document in six])
    assert versions == {document.id: 2 if document.id == changed.id else 1 for document in six}
    base.verify()


def test_a_new_title_is_a_change_too(tmp_path: Path, six: list[Document], source: Path, tiny: ModelFolder) -> None:
    index_sources(tmp_path / "kb", [source], tiny)
    renamed = [replace(six[0], title="Wolf"), *six[1:]]
    report = index_sources(tmp_path / "kb", [write_jsonl(source, renamed)], tiny)
    assert (report.updated, report.unchanged) == (1, 5)
    assert KnowledgeBase.open(tmp_path / "kb").document(renamed[0].id).title == "Wolf"


def test_indexing_the_same_again_changes_nothing_on_disk(tmp_path: Path, source: Path, tiny: ModelFolder) -> None:
    kb = tmp_path / "kb"
    first = index_sources(kb, [source], tiny)
    before = digests(kb)
    again = index_sources(kb, [source], tiny)
    assert (again.added, again.updated, again.unchanged, again.blocks) == (0, 0, 6, 0)
    assert again.manifest == first.manifest
    assert digests(kb) == before


def test_documents_that_a_source_no_longer_has_stay(
    tmp_path: Path, six: list[Document], source: Path, tiny: ModelFolder
) -> None:
    index_sources(tmp_path / "kb", [source], tiny)
    more = stories(8, seed=1)[6:]
    report = index_sources(tmp_path / "kb", [write_jsonl(tmp_path / "more.jsonl", more)], tiny)
    assert report.added == 2
    assert set(blocks_of(KnowledgeBase.open(tmp_path / "kb"))) == {document.id for document in [*six, *more]}


def test_removed_documents_are_gone_and_come_back_when_indexed_again(
    tmp_path: Path, six: list[Document], source: Path, tiny: ModelFolder
) -> None:
    kb = tmp_path / "kb"
    index_sources(kb, [source], tiny)
    removed, manifest = remove_documents(kb, ["story/1", "story/4", "story/4", "no such story"])
    base = KnowledgeBase.open(kb)
    assert (removed, manifest.version, manifest.documents) == (2, 2, 4)
    assert set(blocks_of(base)) == {document.id for document in six} - {"story/1", "story/4"}
    assert base.live_blocks == len(live_rows(base))
    base.verify()
    report = index_sources(kb, [source], tiny)
    assert (report.added, report.unchanged) == (2, 4)
    assert set(blocks_of(KnowledgeBase.open(kb))) == {document.id for document in six}


def test_removing_what_is_not_there_makes_no_version(tmp_path: Path, source: Path, tiny: ModelFolder) -> None:
    kb = tmp_path / "kb"
    index_sources(kb, [source], tiny)
    before = digests(kb)
    removed, manifest = remove_documents(kb, ["no such story"])
    assert (removed, manifest.version) == (0, 1)
    assert digests(kb) == before


def test_many_small_steps_make_the_same_knowledge_base_as_one(
    tmp_path: Path, source: Path, tiny: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_sources(tmp_path / "one", [source], tiny)
    monkeypatch.setattr(indexing, "_BLOCKS_PER_STEP", 1)
    index_sources(tmp_path / "many", [source], tiny)
    one, many = (KnowledgeBase.open(tmp_path / name) for name in ("one", "many"))
    rows = live_rows(one)
    assert rows == live_rows(many)
    assert one.take_blocks(rows) == many.take_blocks(rows)
    np.testing.assert_allclose(
        one.vectors.take(np.array(rows)), many.vectors.take(np.array(rows)), rtol=2**-9, atol=1e-4
    )


def test_bad_input_is_found_before_anything_is_written(tmp_path: Path, source: Path, tiny: ModelFolder) -> None:
    with source.open("a", encoding="utf-8") as file:
        file.write('{"text": \n')
    with pytest.raises(SourceError, match=r"stories\.jsonl:7: broken JSON"):
        index_sources(tmp_path / "kb", [source], tiny)
    assert not (tmp_path / "kb").exists()
    report = index_sources(tmp_path / "kb", [source], tiny, skip_bad=True)
    assert report.added == 6
    assert report.skipped is not None
    assert dict(report.skipped.reasons) == {"broken_json": 1}


def test_blocks_fit_a_model_of_fewer_positions_than_usual(tmp_path: Path, source: Path) -> None:
    small = ModelFolder.open(str(write_tiny_model(tmp_path / "small", max_position_embeddings=48)))
    index_sources(tmp_path / "kb", [source], small)
    base = KnowledgeBase.open(tmp_path / "kb")
    found = base.take_blocks(live_rows(base))
    assert base.manifest.max_block_pieces == 48
    assert max(len(stored.title_ids) + len(stored.block.token_ids) + 3 for stored in found) <= 48
