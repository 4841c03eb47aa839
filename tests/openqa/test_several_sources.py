"""Several sources in one knowledge base: none takes away what came from another, or reads what is no document."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_model import stories, write_jsonl, write_tiny_model

from realm.corpus.document_columns import shown_source
from realm.errors import BusyError, SourceError
from realm.openqa import indexing
from realm.openqa.indexing import index_sources
from realm.openqa.knowledge_base import KnowledgeBase
from realm.openqa.model_folder import ModelFolder
from realm.openqa.survey import bytes_of
from realm.openqa.writer import KnowledgeBaseWriter
from realm.records import Document
from realm.serving.writing import put_documents


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def contents(kb: Path) -> dict[str, tuple[str, str]]:
    """Text and source of every document; the knowledge base is read through on the way."""
    base = KnowledgeBase.open(kb)
    base.verify()
    ids = [id for batch in base.documents.ids() for id, _ in batch]
    return {id: (one.document.text, one.document.source) for id, one in base.documents.get(ids).items()}


def texts(kb: Path) -> dict[str, str]:
    return {id: text for id, (text, _) in contents(kb).items()}


def test_a_knowledge_base_among_the_sources_is_not_read_and_this_is_said(tmp_path: Path, tiny: ModelFolder) -> None:
    write(tmp_path / "a.txt", "The wolf crossed the alps.")
    kb = tmp_path / "kb"
    index_sources(kb, [tmp_path], tiny)
    write(tmp_path / "a.txt", "The wolf crossed the river.")
    index_sources(kb, [tmp_path], tiny)
    for prune in (False, True):
        report = index_sources(kb, [tmp_path], tiny, prune=prune)
        assert (report.unchanged, report.added, report.removed) == (1, 0, 0)
        assert report.skipped is not None
        assert dict(report.skipped.reasons) == {"knowledge_base": 1}
        assert report.skipped.examples["knowledge_base"].startswith(f"{kb}: a knowledge base")
    assert texts(kb) == {"a.txt": "The wolf crossed the river."}


def test_a_knowledge_base_in_the_making_is_not_read(tmp_path: Path, tiny: ModelFolder) -> None:
    write(tmp_path / "a.txt", "The wolf crossed the alps.")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KnowledgeBaseWriter, "publish", lambda writer: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            index_sources(tmp_path / "kb", [tmp_path], tiny)
    report = index_sources(tmp_path / "kb", [tmp_path], tiny)
    assert (report.resumed, report.unchanged) == (True, 1)
    assert texts(tmp_path / "kb") == {"a.txt": "The wolf crossed the alps."}


def test_a_model_among_the_sources_is_not_read(tmp_path: Path, tiny: ModelFolder) -> None:
    write(tmp_path / "a.txt", "The wolf crossed the alps.")
    write(write_tiny_model(tmp_path / "model") / "README.md", "# A model")
    report = index_sources(tmp_path / "kb", [tmp_path], tiny)
    assert report.skipped is not None
    assert (report.added, dict(report.skipped.reasons)) == (1, {"model_folder": 1})


def test_only_files_that_are_read_count_in_what_is_reckoned(tmp_path: Path, tiny: ModelFolder) -> None:
    source = tmp_path / "source"
    write(source / "a.txt", "x" * 10)
    for name in ("film.mp4", ".git/packed.txt", ".hidden.txt"):
        write(source / name, "x" * 1000)
    index_sources(source / "kb", [source], tiny)
    assert bytes_of([source]) == 10
    assert bytes_of([source / "a.txt", source / "missing"]) == 10


def test_a_document_of_another_file_that_is_still_there_is_not_overwritten(tmp_path: Path, tiny: ModelFolder) -> None:
    kb = tmp_path / "kb"
    one, other = (write(tmp_path / name / "README.md", f"# {name}\n\nThe wolf.") for name in "AB")
    index_sources(kb, [one.parent], tiny)
    before = contents(kb)
    with pytest.raises(SourceError) as caught:
        index_sources(kb, [other.parent], tiny)
    assert str(caught.value).startswith(f'{other}: the id "README.md" is already that of {one}, ')
    assert "--id-prefix" in str(caught.value)
    assert contents(kb) == before
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indexing, "MAX_BYTES", 1)
        with pytest.raises(SourceError, match="--id-prefix"):
            index_sources(kb, [other.parent], tiny)
    assert contents(kb) == before
    report = index_sources(kb, [other.parent], tiny, id_prefix="B/")
    assert (report.added, report.updated) == (1, 0)
    assert {id: source for id, (_, source) in contents(kb).items()} == {
        "README.md": str(one),
        "B/README.md": str(other),
    }


def test_ids_with_a_prefix_are_kept_apart_like_those_without(tmp_path: Path, tiny: ModelFolder) -> None:
    for name in "AB":
        write(tmp_path / name / "t.csv", f"text\nThe wolf of {name}.\n")
    index_sources(tmp_path / "kb", [tmp_path / "A"], tiny, id_prefix="x:")
    with pytest.raises(SourceError, match=r'the id "x:t\.csv:2" is already that of .*/A/t\.csv:2, '):
        index_sources(tmp_path / "kb", [tmp_path / "B"], tiny, id_prefix="x:")


def test_a_document_whose_old_file_is_gone_or_that_brings_its_own_id_is_updated(
    tmp_path: Path, tiny: ModelFolder
) -> None:
    kb = tmp_path / "kb"
    moved = write(tmp_path / "A" / "a.txt", "The wolf.")
    given = write_jsonl(tmp_path / "all.jsonl", stories(2))
    index_sources(kb, [moved, given], tiny)
    moved.unlink()
    write(tmp_path / "B" / "a.txt", "The queen.")
    report = index_sources(kb, [tmp_path / "B", write_jsonl(tmp_path / "some.jsonl", stories(1, seed=5))], tiny)
    assert (report.added, report.updated) == (0, 2)
    assert contents(kb)["a.txt"] == ("The queen.", str(tmp_path / "B" / "a.txt"))


def test_pruning_leaves_what_came_from_other_sources(tmp_path: Path, tiny: ModelFolder) -> None:
    kb = tmp_path / "kb"
    for name in ("A/a.txt", "A/b.txt", "Ab/c.txt", "d.txt"):
        write(tmp_path / name, f"The wolf of {name}.")
    records = write_jsonl(tmp_path / "stories.jsonl", stories(3))
    index_sources(kb, [tmp_path / "A", tmp_path / "Ab", tmp_path / "d.txt", records], tiny)
    (tmp_path / "A" / "b.txt").unlink()
    report = index_sources(kb, [tmp_path / "A" / ".." / "A"], tiny, prune=True)
    assert report.removed == 1
    assert set(texts(kb)) == {"a.txt", "c.txt", "d.txt", "story/0", "story/1", "story/2"}
    report = index_sources(kb, [write_jsonl(records, stories(1))], tiny, prune=True)
    assert report.removed == 2
    assert set(texts(kb)) == {"a.txt", "c.txt", "d.txt", "story/0"}


def test_pruning_all_leaves_what_the_sources_have_and_lets_it_replace_other_files(
    tmp_path: Path, tiny: ModelFolder
) -> None:
    kb = tmp_path / "kb"
    for name in ("A/a.txt", "A/b.txt", "B/a.txt"):
        write(tmp_path / name, f"The wolf of {name}.")
    index_sources(kb, [tmp_path / "A"], tiny)
    report = index_sources(kb, [tmp_path / "B"], tiny, prune_all=True)
    assert (report.updated, report.removed) == (1, 1)
    assert texts(kb) == {"a.txt": "The wolf of B/a.txt."}


def test_pruning_after_a_run_that_was_cut_short_leaves_what_came_from_other_sources(
    tmp_path: Path, tiny: ModelFolder
) -> None:
    kb, old, new = tmp_path / "kb", tmp_path / "old.jsonl", tmp_path / "new.jsonl"
    first = stories(3, seed=1)
    index_sources(kb, [write_jsonl(old, first)], tiny)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indexing, "_BLOCKS_PER_STEP", 1)
        patch.setattr(KnowledgeBaseWriter, "publish", lambda writer: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            index_sources(kb, [write_jsonl(new, stories(5, seed=2))], tiny, prune=True)
    report = index_sources(kb, [write_jsonl(new, stories(1, seed=2))], tiny, prune=True)
    assert (report.resumed, report.removed) == (True, 0)
    assert texts(kb) == {one.id: one.text for one in [*stories(1, seed=2), *first[1:]]}


def test_an_unchanged_document_that_was_moved_has_its_new_source_and_its_old_vectors(
    tmp_path: Path, tiny: ModelFolder
) -> None:
    kb, old, new = tmp_path / "kb", tmp_path / "A", tmp_path / "B"
    for name in ("a.txt", "b.txt"):
        write(old / name, f"The wolf of {name}.")
    index_sources(kb, [old], tiny)
    before = KnowledgeBase.open(kb)
    shutil.move(old, new)
    report = index_sources(kb, [new], tiny)
    after = KnowledgeBase.open(kb)
    assert (report.unchanged, report.moved, report.updated, report.blocks) == (2, 2, 0, 0)
    assert contents(kb) == {name: (f"The wolf of {name}.", str(new / name)) for name in ("a.txt", "b.txt")}
    assert after.manifest.blocks == before.manifest.blocks
    assert after.live_blocks == before.live_blocks
    assert after.document_versions(["a.txt", "b.txt"]) == {"a.txt": 1, "b.txt": 1}
    for stored in after.take_blocks(range(after.manifest.blocks)):
        fresh = tiny.embed([tiny.inputs.block(stored.title_ids, stored.block.token_ids, 288)])[0]
        np.testing.assert_allclose(after.vectors.take(np.array([stored.row]))[0], fresh, rtol=2**-10, atol=1e-4)
    assert index_sources(kb, [new], tiny).manifest == after.manifest


def test_a_second_writer_is_refused_before_it_reads_anything(
    tmp_path: Path, tiny: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "a.txt", "The wolf.")
    index_sources(tmp_path / "kb", [source], tiny)
    monkeypatch.setattr(indexing, "read_documents", lambda *arguments, **options: 1 / 0)
    with KnowledgeBaseWriter(tmp_path / "kb", tiny.reference, 16, 288), pytest.raises(BusyError):
        index_sources(tmp_path / "kb", [source], tiny)


def test_relative_sources_of_several_folders_are_kept_apart(
    tmp_path: Path, tiny: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for team in ("sales", "legal"):
        (tmp_path / team / "notes").mkdir(parents=True)
        (tmp_path / team / "notes" / f"{team}.txt").write_text(f"The {team} notes.")
        (tmp_path / team / "notes" / "readme.txt").write_text(f"Of {team}.")
    kb = tmp_path / "kb"
    monkeypatch.chdir(tmp_path / "sales")
    index_sources(kb, [Path("notes")], tiny)
    monkeypatch.chdir(tmp_path / "legal")
    with pytest.raises(SourceError, match=r'"readme\.txt" is already that of sales/notes/readme\.txt'):
        index_sources(kb, [Path("notes")], tiny, prune=True)
    (tmp_path / "legal" / "notes" / "readme.txt").unlink()
    assert index_sources(kb, [Path("notes")], tiny, prune=True).removed == 0
    base = KnowledgeBase.open(kb)
    assert base.document("sales.txt").source == "sales/notes/sales.txt"
    assert base.document("legal.txt").source == "legal/notes/legal.txt"


def test_a_relative_and_an_absolute_path_are_one_source(
    tmp_path: Path, tiny: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes").mkdir()
    for name in ("a", "b"):
        (tmp_path / "notes" / f"{name}.txt").write_text(f"Note {name}.")
    monkeypatch.chdir(tmp_path)
    index_sources(Path("kb"), [Path("notes")], tiny)
    assert KnowledgeBase.open("kb").document("a.txt").source == "notes/a.txt"
    (tmp_path / "notes" / "b.txt").unlink()
    monkeypatch.chdir("/")
    assert index_sources(tmp_path / "kb", [tmp_path / "notes"], tiny, prune=True).removed == 1


def test_what_a_server_was_given_is_no_file_that_is_gone(tmp_path: Path, tiny: ModelFolder) -> None:
    kb, folder = tmp_path / "kb", tmp_path / "wiki"
    write(folder / "a.txt", "The wolf.")
    index_sources(kb, [folder], tiny)
    put = Document("rope", "Rope", "The rope is red.", f"{folder}/rope.txt")
    put_documents(kb, [put], tiny, tiny.embed)
    assert index_sources(kb, [folder], tiny, prune=True).removed == 0
    base = KnowledgeBase.open(kb)
    assert base.document("rope").source == f"put:{folder}/rope.txt"
    assert shown_source(base.document("rope").source) == "rope.txt"
    assert shown_source("put:of my own") == "of my own"
