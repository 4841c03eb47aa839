"""The one writer: who may write where, what is gone on with, and what a failed run leaves."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_model import digests, stories, write_jsonl, write_tiny_model

from realm.corpus.chunking import chunk_documents
from realm.errors import KnowledgeBaseError, ModelError
from realm.openqa.indexing import index_sources
from realm.openqa.knowledge_base import KnowledgeBase
from realm.openqa.manifest import ModelReference
from realm.openqa.model_folder import ModelFolder
from realm.openqa.writer import KnowledgeBaseWriter
from realm.records import Document

MODEL = ModelReference("tiny", "a" * 64)


def open_writer(folder: Path, model: ModelReference = MODEL) -> KnowledgeBaseWriter:
    return KnowledgeBaseWriter(folder, model, 16, 288)


def put(writer: KnowledgeBaseWriter, model: ModelFolder, documents: list[Document], value: float = 1.0) -> None:
    cuts = list(chunk_documents(documents, model.tokenizer))
    writer.put(cuts, np.full((sum(len(cut.blocks) for cut in cuts), 16), value, dtype=np.float32))


def test_nothing_is_seen_until_it_is_published(tmp_path: Path, tiny: ModelFolder) -> None:
    with open_writer(tmp_path) as writer:
        put(writer, tiny, stories(2))
        with pytest.raises(KnowledgeBaseError, match="no complete version yet, but an unfinished run"):
            KnowledgeBase.open(tmp_path)
        manifest = writer.publish()
    assert KnowledgeBase.open(tmp_path).manifest == manifest
    assert not (tmp_path / "pending.json").exists()


def test_there_is_one_writer_at_a_time(tmp_path: Path, tiny: ModelFolder) -> None:
    with open_writer(tmp_path) as writer:
        before = digests(tmp_path)
        with pytest.raises(KnowledgeBaseError, match="being written by another process"):
            open_writer(tmp_path)
        assert digests(tmp_path) == before
        put(writer, tiny, stories(2))
        writer.publish()
    with open_writer(tmp_path) as writer:
        assert (writer.version, writer.resumed) == (2, False)


def test_a_writer_that_could_not_begin_lets_the_next_one(tmp_path: Path, tiny: ModelFolder) -> None:
    with open_writer(tmp_path) as writer:
        put(writer, tiny, stories(2))
        writer.publish()
    with pytest.raises(KnowledgeBaseError, match=r"made with the model tiny \(aaaaaaaaaaaa\.\.\.\), not with other"):
        open_writer(tmp_path, ModelReference("other", "b" * 64))
    with open_writer(tmp_path) as writer:
        assert writer.version == 2


def test_what_was_put_before_a_failure_is_gone_on_with(tmp_path: Path, tiny: ModelFolder) -> None:
    with open_writer(tmp_path) as writer:
        put(writer, tiny, stories(3), 1.0)
        with pytest.raises(ModelError, match="NaN"):
            put(writer, tiny, stories(5)[3:], float("nan"))
    with open_writer(tmp_path) as writer:
        assert writer.resumed
        assert set(writer.documents.get([document.id for document in stories(5)])) == {"story/0", "story/1", "story/2"}
        put(writer, tiny, stories(5)[3:], 2.0)
        writer.publish()
    base = KnowledgeBase.open(tmp_path)
    base.verify()
    for row in range(base.manifest.blocks):
        is_late = base.take_blocks([row])[0].block.document_id in ("story/3", "story/4")
        assert base.vectors.take(np.array([row])).tolist() == [[2.0 if is_late else 1.0] * 16]


def test_an_update_that_is_not_published_leaves_the_version_before_it(tmp_path: Path, tiny: ModelFolder) -> None:
    with open_writer(tmp_path) as writer:
        put(writer, tiny, stories(3), 1.0)
        published = writer.publish()
    with open_writer(tmp_path) as writer:
        put(writer, tiny, stories(2, seed=1), 2.0)
        writer.remove(["story/2"])
    base = KnowledgeBase.open(tmp_path)
    assert base.manifest == published
    assert [base.document(document.id).text for document in stories(3)] == [document.text for document in stories(3)]
    assert base.live_blocks == published.blocks


@pytest.mark.parametrize("text", ["", "{", '{"format": 1}'])
def test_a_damaged_version_in_the_making_is_begun_anew(tmp_path: Path, tiny: ModelFolder, text: str) -> None:
    with open_writer(tmp_path) as writer:
        put(writer, tiny, stories(3), 1.0)
        writer.publish()
    with open_writer(tmp_path) as writer:
        put(writer, tiny, stories(5)[3:], 2.0)
    (tmp_path / "pending.json").write_text(text, encoding="utf-8")
    with open_writer(tmp_path) as writer:
        assert not writer.resumed
        put(writer, tiny, stories(4)[3:], 3.0)
        writer.publish()
    base = KnowledgeBase.open(tmp_path)
    base.verify()
    assert base.manifest.documents == 4


def test_a_first_run_that_left_no_manifest_is_begun_anew(tmp_path: Path, tiny: ModelFolder) -> None:
    with open_writer(tmp_path) as writer:
        put(writer, tiny, stories(3), 1.0)
    (tmp_path / "pending.json").unlink()
    with open_writer(tmp_path) as writer:
        assert not writer.resumed
        put(writer, tiny, stories(1), 2.0)
        writer.publish()
    base = KnowledgeBase.open(tmp_path)
    base.verify()
    assert base.manifest.documents == base.manifest.blocks == 1


def test_the_model_is_known_by_its_newest_name(tmp_path: Path, tiny_folder: Path, shared_kb: Path) -> None:
    kb = shutil.copytree(shared_kb, tmp_path / "kb")
    moved = ModelFolder.open(str(shutil.copytree(tiny_folder, tmp_path / "moved")))
    source = write_jsonl(tmp_path / "stories.jsonl", stories(12))
    report = index_sources(kb, [source], moved)
    assert (report.unchanged, report.blocks) == (12, 0)
    assert KnowledgeBase.open(kb).manifest.model.name == str(tmp_path / "moved")


def test_a_knowledge_base_takes_no_vectors_of_another_model(tmp_path: Path, shared_kb: Path) -> None:
    kb = shutil.copytree(shared_kb, tmp_path / "kb")
    before = digests(kb)
    other = ModelFolder.open(str(write_tiny_model(tmp_path / "other", seed=1)))
    with pytest.raises(KnowledgeBaseError, match=r"Use that model, or make a new .*NEW_FOLDER"):
        index_sources(kb, [write_jsonl(tmp_path / "new.jsonl", stories(2, seed=5))], other)
    assert digests(kb) == before


def test_other_peoples_folders_and_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "sea.jpg").write_bytes(b"sea")
    (tmp_path / "photos" / "vectors").mkdir()
    before = digests(tmp_path)
    with pytest.raises(KnowledgeBaseError, match=r"photos is not empty and not a knowledge base \(it holds sea\.jpg\)"):
        open_writer(tmp_path / "photos")
    with pytest.raises(KnowledgeBaseError, match=r"sea\.jpg is a file; --kb takes a folder"):
        open_writer(tmp_path / "photos" / "sea.jpg")
    with pytest.raises(KnowledgeBaseError, match=r"sea\.jpg.kb cannot be written.*Give another --kb folder"):
        open_writer(tmp_path / "photos" / "sea.jpg" / "kb")
    assert digests(tmp_path) == before
