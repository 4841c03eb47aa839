"""Compaction: the same documents, nothing of what only older versions need, and no reader that is misled."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_model import digests, stories, write_jsonl

from realm.errors import CorruptFileError, KnowledgeBaseError
from realm.openqa import indexing
from realm.openqa.compaction import compact
from realm.openqa.indexing import index_sources, remove_documents
from realm.openqa.knowledge_base import KnowledgeBase
from realm.openqa.model_folder import ModelFolder
from realm.openqa.writer import KnowledgeBaseWriter
from realm.records import Block


@pytest.fixture
def kb(tmp_path: Path, shared_kb: Path, tiny: ModelFolder) -> Path:
    """A knowledge base of three versions with rows that are gone."""
    kb = shutil.copytree(shared_kb, tmp_path / "kb")
    index_sources(kb, [write_jsonl(tmp_path / "new.jsonl", stories(5, seed=9))], tiny)
    remove_documents(kb, ["story/7"])
    return kb


def live(base: KnowledgeBase) -> list[tuple[Block, list[float]]]:
    """Blocks in their order, with their vectors."""
    rows = np.setdiff1d(np.arange(base.manifest.blocks), base.tombstones)
    blocks = [stored.block for stored in base.take_blocks(rows.tolist())]
    return list(zip(blocks, base.vectors.take(rows).tolist(), strict=True))


def test_compaction_keeps_documents_blocks_and_vectors_and_drops_the_rest(kb: Path) -> None:
    before = KnowledgeBase.open(kb)
    expected, gone = live(before), len(before.tombstones)
    ids = [f"story/{number}" for number in range(12) if number != 7]
    documents, versions = [before.document(id) for id in ids], before.document_versions(ids)
    size = sum(path.stat().st_size for path in kb.rglob("*") if path.is_file())
    report = compact(kb)
    after = KnowledgeBase.open(kb)
    after.verify()
    assert live(after) == expected
    assert [after.document(id) for id in ids] == documents
    assert after.document_versions(ids) == versions
    assert after.manifest.blocks == after.live_blocks == len(expected) == before.manifest.blocks - gone
    assert (report.dropped_versions, report.dropped_blocks, report.manifest) == (2, gone, after.manifest)
    assert KnowledgeBase.versions(kb) == [after.manifest.version] == [4]
    now = sum(path.stat().st_size for path in kb.rglob("*") if path.is_file())
    assert abs(report.freed_bytes - (size - now)) < 200  # the published manifest lies beside what is counted
    assert len(list((kb / "blocks.lance" / "data").iterdir())) == 1
    assert not list(kb.rglob("tombstones-*"))


def test_compacting_again_changes_nothing(kb: Path) -> None:
    compact(kb)
    before = digests(kb)
    report = compact(kb)
    assert (report.dropped_versions, report.dropped_blocks, report.freed_bytes) == (0, 0, 0)
    assert digests(kb) == before


def test_a_compacted_knowledge_base_is_updated_like_any_other(kb: Path, tmp_path: Path, tiny: ModelFolder) -> None:
    compact(kb)
    source = write_jsonl(tmp_path / "all.jsonl", stories(14, seed=9))
    report = index_sources(kb, [source], tiny)
    assert (report.added, report.updated, report.unchanged) == (3, 6, 5)
    base = KnowledgeBase.open(kb)
    base.verify()
    index_sources(tmp_path / "clean", [source], tiny)
    clean = {block.id: vector for block, vector in live(KnowledgeBase.open(tmp_path / "clean"))}
    found = {block.id: vector for block, vector in live(base)}
    assert found.keys() == clean.keys()
    np.testing.assert_allclose([found[id] for id in clean], list(clean.values()), rtol=2**-9, atol=1e-4)


def test_without_dead_rows_vectors_stay_where_they_are(shared_kb: Path, tmp_path: Path, tiny: ModelFolder) -> None:
    kb = shutil.copytree(shared_kb, tmp_path / "kb")
    more = [dataclasses.replace(one, id=f"more/{one.id}") for one in stories(3, seed=2)]
    index_sources(kb, [write_jsonl(tmp_path / "new.jsonl", more)], tiny)
    expected = live(KnowledgeBase.open(kb))
    path = kb / "vectors" / "000000.f16"
    before = path.stat()
    compact(kb)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert live(KnowledgeBase.open(kb)) == expected
    assert KnowledgeBase.versions(kb) == [3]


def test_a_reader_of_an_old_version_gets_right_data_or_a_clear_error(kb: Path) -> None:
    query = np.random.default_rng(3).standard_normal((3, 16)).astype(np.float32)
    warm, cold, old = KnowledgeBase.open(kb), KnowledgeBase.open(kb), KnowledgeBase.open(kb, 1)
    hits = warm.search(query, 5)
    compact(kb)
    assert np.array_equal(warm.search(query, 5).rows, hits.rows)
    dropped = r"dropped by realm compact.*Open the knowledge base again"
    for base in (warm, cold, old):
        with pytest.raises(KnowledgeBaseError, match=dropped):
            base.take_blocks([0])
        with pytest.raises(KnowledgeBaseError, match=dropped):
            base.document("story/1")
    with pytest.raises(KnowledgeBaseError, match=dropped):
        cold.search(query, 5)  # its tombstones were not read before
    for version in (1, 2, 3):
        with pytest.raises(KnowledgeBaseError, match=f"no version {version}: .*dropped"):
            KnowledgeBase.open(kb, version)


def test_an_offset_of_a_dropped_version_resolves_where_the_document_is_still_the_same(kb: Path) -> None:
    compact(kb)
    base = KnowledgeBase.open(kb)
    assert base.document("story/10", version=1).text == stories(12)[10].text
    assert base.document("story/1", version=2).text == stories(5, seed=9)[1].text
    with pytest.raises(KnowledgeBaseError, match="no version 1"):
        base.document("story/1", version=1)


def test_compaction_drops_what_an_unfinished_run_left_if_told_to_and_says_so(
    kb: Path, tmp_path: Path, tiny: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = live(KnowledgeBase.open(kb))
    source = write_jsonl(tmp_path / "more.jsonl", stories(20, seed=5)[12:])
    with monkeypatch.context() as patch:
        patch.setattr(indexing, "_BLOCKS_PER_STEP", 1)
        patch.setattr(KnowledgeBaseWriter, "publish", lambda writer: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            index_sources(kb, [source], tiny)
    assert (kb / "pending.json").exists()
    before = digests(kb)
    with pytest.raises(KnowledgeBaseError, match=r"holds an unfinished run.*--discard-pending"):
        compact(kb)
    assert digests(kb) == before
    assert compact(kb, discard_pending=True).discarded_blocks > 8
    assert not (kb / "pending.json").exists()
    assert live(KnowledgeBase.open(kb)) == expected
    KnowledgeBase.open(kb).verify()


def test_only_a_knowledge_base_that_nobody_writes_is_compacted(kb: Path, tmp_path: Path, tiny: ModelFolder) -> None:
    with pytest.raises(KnowledgeBaseError, match="No knowledge base at"):
        compact(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    with KnowledgeBaseWriter(kb, tiny.reference, 16, 288):
        before = digests(kb)
        with pytest.raises(KnowledgeBaseError, match="being written by another process"):
            compact(kb)
        assert digests(kb) == before


def test_a_knowledge_base_that_lost_all_documents_can_be_compacted(kb: Path) -> None:
    remove_documents(kb, [f"story/{number}" for number in range(12)])
    compact(kb)
    base = KnowledgeBase.open(kb)
    base.verify()
    assert (base.manifest.blocks, base.manifest.documents, base.manifest.segments) == (0, 0, ())


def test_rebuilding_mends_a_damaged_copy_of_the_vectors(kb: Path) -> None:
    compact(kb)
    expected = live(KnowledgeBase.open(kb))
    flip_a_bit(next(kb.glob("vectors*/000000.i8")))
    with pytest.raises(CorruptFileError, match=r"000000\.i8"):
        KnowledgeBase.open(kb).verify()
    compact(kb, rebuild=True)
    after = KnowledgeBase.open(kb)
    after.verify()
    assert live(after) == expected


def test_rebuilding_from_damaged_vectors_is_refused_and_changes_nothing(kb: Path) -> None:
    compact(kb)
    flip_a_bit(next(kb.glob("vectors*/000000.f16")))
    published = (kb / "kb.json").read_bytes()
    with pytest.raises(CorruptFileError, match=r"000000\.f16"):
        compact(kb, rebuild=True)
    assert (kb / "kb.json").read_bytes() == published


def flip_a_bit(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
