"""Knowledge bases as readers see them: search, versions, damage."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_model import digests, stories, write_jsonl

from realm.errors import CorruptFileError, KnowledgeBaseError
from realm.openqa.indexing import index_sources, remove_documents
from realm.openqa.knowledge_base import KnowledgeBase
from realm.openqa.model_folder import ModelFolder


@pytest.fixture
def kb(tmp_path: Path, shared_kb: Path) -> Path:
    """A copy to write to."""
    return shutil.copytree(shared_kb, tmp_path / "kb")


def questions(count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(3).standard_normal((count, 16)).astype(np.float32)


@pytest.mark.parametrize(("times", "expected"), [(2, "cuda"), (1.9, "cpu"), (None, "cpu")])
def test_vectors_are_searched_on_a_graphics_card_where_they_fit_half_of_its_free_memory(
    shared_kb: Path, monkeypatch: pytest.MonkeyPatch, times: float | None, expected: str
) -> None:
    base = KnowledgeBase.open(shared_kb)
    needed = base.manifest.blocks * base.manifest.dim * 2
    monkeypatch.setattr(torch.cuda, "is_available", lambda: times is not None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (int((times or 0) * needed), 1 << 40))
    asked = []
    monkeypatch.setattr("realm.index.exact.ExactIndex", lambda *_, device: asked.append(device))
    _ = base.index
    assert asked == [torch.device(expected)]


def test_search_is_the_inner_product_over_all_live_blocks(kb: Path) -> None:
    remove_documents(kb, ["story/4", "story/9"])
    base = KnowledgeBase.open(kb)
    vectors = base.vectors.take(np.arange(base.manifest.blocks)).astype(np.float64)
    live = [row for row in range(base.manifest.blocks) if row not in set(base.tombstones.tolist())]
    hits = base.search(questions(5), 7)
    for query, rows, scores in zip(questions(5).astype(np.float64), hits.rows, hits.scores, strict=True):
        expected = sorted(live, key=lambda row: -float(vectors[row] @ query))[:7]
        assert rows.tolist() == expected
        np.testing.assert_allclose(scores, vectors[expected] @ query, rtol=1e-5)


def test_blocks_of_removed_and_replaced_documents_never_come_back(kb: Path, tmp_path: Path, tiny: ModelFolder) -> None:
    remove_documents(kb, ["story/4"])
    index_sources(kb, [write_jsonl(tmp_path / "new.jsonl", stories(2, seed=9))], tiny)
    base = KnowledgeBase.open(kb)
    hits = base.search(questions(20), base.manifest.blocks)
    assert hits.rows.shape == (20, base.live_blocks)
    assert not set(hits.rows.flatten().tolist()) & set(base.tombstones.tolist())
    texts = {document.id: document.text for document in [*stories(12), *stories(2, seed=9)]}
    for stored in base.take_blocks(hits.rows[0].tolist()):
        assert stored.block.document_id != "story/4"
        assert stored.block.text in texts[stored.block.document_id]


def test_a_reader_keeps_its_version_while_writers_go_on(kb: Path, tmp_path: Path, tiny: ModelFolder) -> None:
    early = KnowledgeBase.open(kb)
    late_parts = KnowledgeBase.open(kb)  # opens blocks and documents only after the writing
    hits = early.search(questions(3), 9)
    blocks = early.take_blocks(hits.rows[0].tolist())
    index_sources(kb, [write_jsonl(tmp_path / "new.jsonl", stories(5, seed=9))], tiny)
    remove_documents(kb, ["story/7"])
    for reader in (early, late_parts):
        again = reader.search(questions(3), 9)
        assert np.array_equal(again.rows, hits.rows)
        assert np.array_equal(again.scores, hits.scores)
        assert reader.take_blocks(hits.rows[0].tolist()) == blocks
        assert reader.document("story/7").text == stories(12)[7].text
        assert reader.document("story/1").text == stories(12)[1].text
        assert reader.manifest.version == 1
    now = KnowledgeBase.open(kb)
    assert now.manifest.version == 3
    assert now.document("story/1").text == stories(5, seed=9)[1].text
    with pytest.raises(KnowledgeBaseError, match="No document 'story/7'"):
        now.document("story/7")


def test_every_published_version_can_be_opened_and_is_as_it_was(kb: Path, tmp_path: Path, tiny: ModelFolder) -> None:
    changed = {number: stories(12, seed=number)[number] for number in (1, 2)}
    for document in changed.values():
        index_sources(kb, [write_jsonl(tmp_path / "new.jsonl", [document])], tiny)
    remove_documents(kb, ["story/1"])
    assert KnowledgeBase.versions(kb) == [1, 2, 3, 4]
    for version in (1, 2, 3, 4):
        base = KnowledgeBase.open(kb, version)
        base.verify()
        for number in range(12):
            is_new = number in changed and version > number
            expected = changed[number].text if is_new else stories(12)[number].text
            if (version, number) != (4, 1):
                assert base.document(f"story/{number}").text == expected
    for version in (0, 5, -1):
        with pytest.raises(KnowledgeBaseError, match=rf"no version {version}: .*The newest versions are 1, 2, 3, 4"):
            KnowledgeBase.open(kb, version)


def test_an_offset_of_yesterday_still_resolves(kb: Path, tmp_path: Path, tiny: ModelFolder) -> None:
    base = KnowledgeBase.open(kb)
    stored = base.take_blocks([7])[0].block
    version = base.document_versions([stored.document_id])[stored.document_id]
    number = int(stored.document_id.removeprefix("story/"))
    other = dataclasses.replace(stories(12)[number], text="The wolf wrote. " + stories(12)[number].text)
    index_sources(kb, [write_jsonl(tmp_path / "new.jsonl", [other])], tiny)
    now = KnowledgeBase.open(kb)
    assert now.document(other.id).text[stored.start : stored.end] != stored.text
    for document in (
        KnowledgeBase.open(kb, version).document(other.id),
        now.document(other.id, version),
        base.document(other.id, version),
    ):
        assert document.text[stored.start : stored.end] == stored.text
    remove_documents(kb, [other.id])
    assert KnowledgeBase.open(kb).document(other.id, version).text[stored.start : stored.end] == stored.text
    assert base.document(other.id, 2).text == other.text


def test_a_knowledge_base_can_lose_its_last_document(kb: Path) -> None:
    remove_documents(kb, [f"story/{number}" for number in range(12)])
    base = KnowledgeBase.open(kb)
    assert (base.live_blocks, base.manifest.documents) == (0, 0)
    assert base.search(questions(2), 5).rows.shape == (2, 0)
    base.verify()


def test_reading_changes_nothing_on_disk(shared_kb: Path) -> None:
    before = digests(shared_kb)
    base = KnowledgeBase.open(shared_kb)
    base.take_blocks(base.search(questions(1), 3).rows[0].tolist())
    base.verify()
    assert digests(shared_kb) == before


def test_opening_names_what_is_missing(tmp_path: Path, kb: Path) -> None:
    with pytest.raises(KnowledgeBaseError, match=r"No knowledge base at .*nowhere.*realm index"):
        KnowledgeBase.open(tmp_path / "nowhere")
    with pytest.raises(KnowledgeBaseError, match="No knowledge base"):
        KnowledgeBase.open(tmp_path)
    with pytest.raises(KnowledgeBaseError, match="No knowledge base"):
        KnowledgeBase.open(kb / "kb.json")


def test_a_shortened_vector_file_is_found_on_opening(kb: Path) -> None:
    path = kb / "vectors" / "000000.f16"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(CorruptFileError, match=r"000000\.f16.*bytes"):
        KnowledgeBase.open(kb)


def test_a_changed_bit_in_the_vectors_is_found_by_verify(kb: Path) -> None:
    path = kb / "vectors" / "000000.f16"
    data = bytearray(path.read_bytes())
    data[37] ^= 4
    path.write_bytes(data)
    with pytest.raises(CorruptFileError, match=r"000000\.f16"):
        KnowledgeBase.open(kb).verify()


def test_changed_tombstones_are_found_on_use(kb: Path) -> None:
    remove_documents(kb, ["story/1"])
    path = next((kb / "vectors").glob("tombstones-*"))
    path.write_bytes(bytes(len(path.read_bytes())))
    with pytest.raises(CorruptFileError, match="tombstones"):
        KnowledgeBase.open(kb).search(questions(1), 3)


@pytest.mark.parametrize("part", ["blocks", "documents"])
def test_verify_counts_documents_and_blocks(kb: Path, part: str) -> None:
    base = KnowledgeBase.open(kb)
    wrong = dataclasses.replace(base.manifest, **{part: getattr(base.manifest, part) + 1})
    with pytest.raises(KnowledgeBaseError, match=f"{part}, the manifest names"):
        KnowledgeBase(kb, wrong).verify()


def test_verify_finds_tombstones_of_another_version(kb: Path) -> None:
    remove_documents(kb, ["story/1"])
    base = KnowledgeBase.open(kb)
    base.verify()
    with pytest.raises(KnowledgeBaseError, match="0 blocks are marked as gone, 1 belong to no document"):
        KnowledgeBase(kb, dataclasses.replace(base.manifest, tombstones=None)).verify()


@pytest.mark.parametrize("part", ["blocks.lance", "documents.lance"])
def test_a_missing_part_is_an_error_of_the_knowledge_base(kb: Path, part: str) -> None:
    shutil.rmtree(kb / part)
    with pytest.raises(KnowledgeBaseError, match=part):
        KnowledgeBase.open(kb).verify()
