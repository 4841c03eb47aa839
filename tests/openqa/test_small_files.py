"""Many small updates: files of blocks stay few, and what is found, and where it stands, stays as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_model import stories

from realm.corpus.chunking import ChunkedDocument, chunk_documents
from realm.corpus.lance_table import SMALL_FILES
from realm.corpus.lexical import LexicalIndex
from realm.openqa import writer
from realm.openqa.file_digests import all_files
from realm.openqa.knowledge_base import KnowledgeBase
from realm.openqa.manifest import BLOCKS, ModelReference
from realm.openqa.model_folder import ModelFolder
from realm.openqa.versions import versions_files
from realm.openqa.writer import KnowledgeBaseWriter

MODEL = ModelReference("tiny", "a" * 64)
QUESTIONS = ["queen river castle", "who wrote the opera", "wolf"]
MOST_PARTS = 16


def open_writer(kb: Path) -> KnowledgeBaseWriter:
    return KnowledgeBaseWriter(kb, MODEL, 16, 288)


def put(into: KnowledgeBaseWriter, cut: ChunkedDocument) -> None:
    into.put([cut], np.ones((len(cut.blocks), 16), dtype=np.float32))


def update(kb: Path, cut: ChunkedDocument) -> None:
    with open_writer(kb) as one:
        put(one, cut)
        one.publish()


def small_files(kb: Path) -> int:
    return KnowledgeBase.open(kb).blocks.small_files()


def assert_words_are_those_of(kb: Path, cuts: list[ChunkedDocument], folder: Path) -> None:
    """Rows and scores are those of a store made in one go, of the same blocks."""
    base = KnowledgeBase.open(kb)
    blocks = [block for cut in cuts for block in cut.blocks]
    assert [found.block for found in base.blocks.take(range(len(blocks)))] == blocks
    clean = LexicalIndex.create(folder / f"{len(blocks)}.lance")
    clean.append(cuts)
    clean.complete()
    for found, expected in zip(base.blocks.search(QUESTIONS, 200), clean.search(QUESTIONS, 200), strict=True):
        assert found.rows.tolist() == expected.rows.tolist()
        assert found.scores.tolist() == pytest.approx(expected.scores.tolist(), rel=1e-5)


@pytest.fixture
def cuts(tiny: ModelFolder) -> list[ChunkedDocument]:
    """Documents of one or a few blocks."""
    return list(chunk_documents(stories(100), tiny.tokenizer))


@pytest.mark.slow
def test_small_files_of_blocks_stay_few_in_many_updates(
    tmp_path: Path, cuts: list[ChunkedDocument], monkeypatch: pytest.MonkeyPatch
) -> None:
    merges: list[int] = []
    merge = LexicalIndex.merge_files
    monkeypatch.setattr(
        LexicalIndex, "merge_files", lambda *args, **options: merges.append(1) or merge(*args, **options)
    )
    kb = tmp_path / "kb"
    seen = []
    for cut in cuts:
        update(kb, cut)
        seen.append(small_files(kb))
    assert max(seen) <= SMALL_FILES + MOST_PARTS + 1
    assert seen[-1] < len(cuts) // 2
    assert len(merges) == 1
    assert_words_are_those_of(kb, cuts, tmp_path)
    for version in (1, 60, len(cuts)):
        old = KnowledgeBase.open(kb, version)
        old.verify()
        assert len(old.blocks.search(QUESTIONS, 5)) == len(QUESTIONS)


def test_files_of_one_run_become_one_before_they_are_indexed(tmp_path: Path, cuts: list[ChunkedDocument]) -> None:
    kb = tmp_path / "kb"
    update(kb, cuts[0])
    with open_writer(kb) as one:
        for cut in cuts[1:12]:
            put(one, cut)
        one.publish()
    assert small_files(kb) == 2
    assert_words_are_those_of(kb, cuts[:12], tmp_path)


@pytest.mark.parametrize("moment", ["merge", "complete", "merged"])
def test_a_run_killed_while_it_merges_is_gone_on_with(
    tmp_path: Path, cuts: list[ChunkedDocument], monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    kb = tmp_path / "kb"
    update(kb, cuts[0])
    one = open_writer(kb)
    for cut in cuts[1:9]:
        put(one, cut)
    with monkeypatch.context() as patch:
        if moment == "merged":
            patch.setattr(writer, "publish_manifest", lambda folder, manifest: 1 / 0)
        elif moment == "complete":
            patch.setattr(LexicalIndex, "complete", lambda store, **options: 1 / 0)
        else:
            patch.setattr("lance.optimize.Compaction.commit", lambda *tasks: 1 / 0)
        with pytest.raises(ZeroDivisionError), one:
            one.publish()
    KnowledgeBase.open(kb).verify()
    assert_words_are_those_of(kb, cuts[:1], tmp_path)
    with open_writer(kb) as again:
        assert again.resumed
        put(again, cuts[9])
        again.publish()
    KnowledgeBase.open(kb).verify()
    assert_words_are_those_of(kb, cuts[:10], tmp_path)
    assert all_files(kb, [BLOCKS]) <= versions_files(kb)
