"""What a killed run has embedded: no other job throws it away unless told to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from interrupted import cut_short
from tiny_model import digests, stories, write_jsonl

from realm.corpus.document_store import DocumentStore
from realm.errors import KnowledgeBaseError
from realm.openqa import indexing
from realm.openqa.indexing import index_sources, remove_documents
from realm.openqa.knowledge_base import KnowledgeBase
from realm.openqa.model_folder import ModelFolder
from realm.openqa.passages import import_passages
from realm.openqa.writer import KnowledgeBaseWriter


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "a b.jsonl", stories(6, seed=1)[3:])


@pytest.fixture
def kb(tmp_path: Path, source: Path, tiny: ModelFolder) -> Path:
    """Three documents, and three in the making."""
    index_sources(tmp_path / "kb", [write_jsonl(tmp_path / "old.jsonl", stories(3, seed=1))], tiny)
    cut_short(tmp_path / "kb", source, tiny)
    return tmp_path / "kb"


def passages(folder: Path) -> Path:
    path = folder / "psgs.tsv"
    path.write_text("id\ttext\ttitle\n1\tThe wolf.\tWolf\n", encoding="utf-8")
    return path


def test_every_other_job_is_refused_and_changes_nothing(
    kb: Path, source: Path, tmp_path: Path, tiny: ModelFolder
) -> None:
    before = digests(kb)
    table = passages(tmp_path)
    for work in (
        lambda: remove_documents(kb, ["story/1"]),
        lambda: index_sources(kb, [tmp_path / "old.jsonl"], tiny),
        lambda: import_passages(kb, table, tiny),
    ):
        with pytest.raises(KnowledgeBaseError) as caught:
            work()
        line = f"realm index '{source}' --kb {kb}"
        assert line in str(caught.value)
        assert "unfinished run of 5 blocks" in str(caught.value)
        assert "--discard-pending" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert digests(kb) == before
    report = index_sources(kb, [source], tiny)
    assert (report.resumed, report.unchanged, report.blocks) == (True, 3, 0)


@pytest.mark.parametrize("job", ["index", "remove", "import"])
def test_it_is_thrown_away_when_told_to(kb: Path, tmp_path: Path, tiny: ModelFolder, job: str) -> None:
    if job == "index":
        report = index_sources(kb, [tmp_path / "old.jsonl"], tiny, discard_pending=True)
        assert report.discarded_blocks > 2
    elif job == "remove":
        remove_documents(kb, ["story/1"], discard_pending=True)
    else:
        import_passages(kb, passages(tmp_path), tiny, discard_pending=True)
    base = KnowledgeBase.open(kb)
    base.verify()
    assert base.manifest.documents == {"index": 3, "remove": 2, "import": 4}[job]
    remove_documents(kb, ["story/0"])


def test_a_run_that_embedded_nothing_stands_in_nobodys_way(
    tmp_path: Path, source: Path, tiny: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    kb = tmp_path / "kb"
    index_sources(kb, [source], tiny)
    with monkeypatch.context() as patch:
        patch.setattr(KnowledgeBaseWriter, "publish", lambda writer: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            index_sources(kb, [source], tiny, search="exact")
    assert remove_documents(kb, ["story/4"])[0] == 1


def test_what_a_resumed_run_compares_with_stays_until_it_has_ended(
    tmp_path: Path, tiny: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    kb, source = tmp_path / "kb", write_jsonl(tmp_path / "stories.jsonl", stories(12, seed=1))
    cut_short(kb, source, tiny)
    write_jsonl(source, [*stories(12, seed=1), *(replace(one, id=f"more/{one.id}") for one in stories(12, seed=2))])
    monkeypatch.setattr("realm.corpus.lance_table.SMALL_FILES", 2)
    monkeypatch.setattr(indexing, "_BLOCKS_PER_STEP", 1)
    note_step, seen = KnowledgeBaseWriter._note_step, []

    def look_again(writer: KnowledgeBaseWriter) -> None:
        note_step(writer)
        known = DocumentStore.open(kb / "documents.lance", writer.known.version)
        seen.append(len(known.get([f"story/{number}" for number in range(12)])))

    monkeypatch.setattr(KnowledgeBaseWriter, "_note_step", look_again)
    report = index_sources(kb, [source], tiny)
    assert (report.resumed, report.added) == (True, 12)
    assert seen == [12] * len(seen)
    assert len(seen) > 6


def test_a_first_run_that_was_killed_is_named_with_what_goes_on_with_it(tmp_path: Path, tiny: ModelFolder) -> None:
    kb, source = tmp_path / "kb", write_jsonl(tmp_path / "stories.jsonl", stories(3, seed=1))
    cut_short(kb, source, tiny)
    message = rf"no complete version yet, but an unfinished run of \d+ blocks\. Finish it with: realm index {source} "
    with pytest.raises(KnowledgeBaseError, match=message):
        KnowledgeBase.open(kb)
