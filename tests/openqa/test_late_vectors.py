"""Words first, vectors later: what is found till then, and that it ends where embedding at once would have."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_model import digests, stories, write_jsonl

from realm.errors import KnowledgeBaseError, UsageError
from realm.openqa import indexing, late_vectors
from realm.openqa.ask import OpenQA, Searching
from realm.openqa.compaction import compact
from realm.openqa.exporting import export_huggingface, export_vectors
from realm.openqa.index_report import IndexReport
from realm.openqa.indexing import index_sources, remove_documents
from realm.openqa.knowledge_base import KnowledgeBase
from realm.openqa.late_vectors import embed_blocks
from realm.openqa.model_folder import ModelFolder
from realm.openqa.passages import import_passages
from realm.openqa.verification import verify_folder
from realm.openqa.writer import KnowledgeBaseWriter

QUESTIONS = ["Who wrote the opera?", "Which river crossed São Paulo in winter?", "Zürich Tokyo"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "stories.jsonl", stories(9, seed=2))


@pytest.fixture
def kb(tmp_path: Path, source: Path, tiny: ModelFolder) -> Path:
    """Nine stories without vectors."""
    index_sources(tmp_path / "kb", [source], tiny, words_only=True)
    return tmp_path / "kb"


def vectors_of(base: KnowledgeBase) -> dict[str, NDArray[np.float16]]:
    """By block id, of all blocks that can be found."""
    gone = set(base.tombstones.tolist())
    rows = np.array([row for row in range(base.manifest.blocks) if row not in gone])
    blocks = base.take_blocks(rows.tolist())
    return {one.block.id: vector for one, vector in zip(blocks, base.vectors.take(rows), strict=True)}


def require_same_vectors(found: KnowledgeBase, expected: KnowledgeBase) -> None:
    ours, theirs = vectors_of(found), vectors_of(expected)
    assert ours.keys() == theirs.keys()
    for block, vector in ours.items():
        np.testing.assert_allclose(vector, theirs[block], rtol=2**-9, atol=1e-4)


def cut_short(patch: pytest.MonkeyPatch) -> None:
    """Let runs end before they publish, after small steps."""
    patch.setattr(indexing, "_BLOCKS_PER_STEP", 2)
    patch.setattr(late_vectors, "_BLOCKS_PER_STEP", 2)
    patch.setattr(KnowledgeBaseWriter, "publish", lambda writer: 1 / 0)


def test_embedding_later_ends_where_embedding_at_once_does(
    kb: Path, source: Path, tmp_path: Path, tiny: ModelFolder
) -> None:
    index_sources(tmp_path / "at once", [source], tiny)
    told: list[IndexReport] = []
    report = embed_blocks(kb, progress=lambda one: told.append(dataclasses.replace(one)))
    base, expected = KnowledgeBase.open(kb), KnowledgeBase.open(tmp_path / "at once")
    assert base.manifest.is_embedded
    assert (report.late, report.embedded) == (base.manifest.blocks, base.manifest.blocks)
    assert report.manifest == base.manifest
    assert told[-1].embedded == report.late
    assert told[0].estimate is not None
    assert told[0].estimate.summary().startswith(f"to do: {report.late} blocks; about ")
    require_same_vectors(base, expected)
    assert verify_folder(kb) == [1, 2]
    ours, theirs = OpenQA(base, tiny).ask_many(QUESTIONS), OpenQA(expected, tiny).ask_many(QUESTIONS)
    for found, wanted in zip(ours, theirs, strict=True):
        assert (found.text, [one.block_id for one in found.evidence]) == (
            wanted.text, [one.block_id for one in wanted.evidence]
        )  # fmt: skip
    before = digests(kb)
    assert embed_blocks(kb).embedded == 0
    assert digests(kb) == before


def test_till_then_it_is_searched_as_by_words_alone(kb: Path, source: Path, tmp_path: Path, tiny: ModelFolder) -> None:
    index_sources(tmp_path / "at once", [source], tiny)
    ours, theirs = OpenQA.load(kb), OpenQA.load(tmp_path / "at once")
    by_words = Searching(weight=1.0)
    for searching in (None, by_words):
        found, wanted = ours.ask_many(QUESTIONS, searching=searching), theirs.ask_many(QUESTIONS, searching=by_words)
        for one, other in zip(found, wanted, strict=True):
            assert one.text == other.text
            assert one.confidence == pytest.approx(other.confidence, abs=1e-3)
            assert [each.block_id for each in one.evidence] == [each.block_id for each in other.evidence]
            np.testing.assert_allclose(
                [(each.score, each.lexical_score, each.fused_score, each.probability) for each in one.evidence],
                [(each.score, each.lexical_score, each.fused_score, each.probability) for each in other.evidence],
                atol=2e-2,
            )
    [[first, *_]] = ours.retrieve(QUESTIONS[:1], 3)
    assert first.fused_score == 1.0
    where = f"id = '{first.document_id}'"
    assert {one.document_id for one in ours.ask(QUESTIONS[0], searching=Searching(where)).evidence} == {
        first.document_id
    }


@pytest.mark.parametrize("searching", [Searching(hybrid=True), Searching(hybrid=False), Searching(weight=0.9)])
def test_vectors_that_are_not_there_are_not_searched(kb: Path, searching: Searching) -> None:
    qa = OpenQA.load(kb)
    blocks = qa.knowledge_base.manifest.blocks
    with pytest.raises(KnowledgeBaseError) as caught:
        qa.ask(QUESTIONS[0], searching=searching)
    assert str(caught.value) == (
        f"{kb}: {blocks} of {blocks} blocks have no vectors yet and are found by words alone. "
        f"Embed them with: realm embed --kb {kb}"
    )


def test_nothing_is_exported_that_needs_vectors(kb: Path, tmp_path: Path) -> None:
    for export, out in ((export_vectors, tmp_path / "vectors.npy"), (export_huggingface, tmp_path / "model")):
        with pytest.raises(KnowledgeBaseError, match="blocks have no vectors yet"):
            export(kb, out)
        assert not out.exists()


def test_changes_before_vectors_come(kb: Path, tmp_path: Path, tiny: ModelFolder) -> None:
    changed = [*stories(6, seed=2), *stories(9, seed=3)[6:]]
    source = write_jsonl(tmp_path / "stories.jsonl", changed)
    report = index_sources(kb, [source], tiny, words_only=True)
    assert (report.updated, report.embedded) == (3, 0)
    assert report.blocks > 2
    remove_documents(kb, ["story/0"])
    assert KnowledgeBase.open(kb).manifest.embedded == 0
    verify_folder(kb)
    compact(kb)
    verify_folder(kb)
    base = KnowledgeBase.open(kb)
    assert (base.manifest.embedded, len(base.tombstones)) == (0, 0)
    embed_blocks(kb, model=tiny)
    index_sources(tmp_path / "at once", [write_jsonl(tmp_path / "left.jsonl", changed[1:])], tiny)
    require_same_vectors(KnowledgeBase.open(kb), KnowledgeBase.open(tmp_path / "at once"))


def test_some_with_vectors_and_some_without(kb: Path, tmp_path: Path, tiny: ModelFolder) -> None:
    embed_blocks(kb)
    embedded = KnowledgeBase.open(kb).manifest.blocks
    more = write_jsonl(tmp_path / "more.jsonl", [dataclasses.replace(one, id=f"more/{one.id}") for one in stories(4)])
    index_sources(kb, [more], tiny, words_only=True)
    manifest = KnowledgeBase.open(kb).manifest
    assert manifest.embedded == embedded < manifest.blocks
    remove_documents(kb, ["story/0", "more/story/1"])
    compact(kb)
    verify_folder(kb)
    qa = OpenQA.load(kb)
    scores = [one.score for one in qa.retrieve(QUESTIONS[:1], 20)[0]]
    assert np.isfinite(scores).all()
    table = tmp_path / "psgs.tsv"
    table.write_text("id\ttext\ttitle\n1\tThe wolf.\tWolf\n", encoding="utf-8")
    import_passages(kb, table, tiny)
    missing = KnowledgeBase.open(kb).manifest
    assert missing.blocks - missing.embedded > 1
    last = write_jsonl(tmp_path / "last.jsonl", [dataclasses.replace(stories(1)[0], id="last")])
    report = index_sources(kb, [last], tiny)
    assert (report.late, report.embedded) == (missing.blocks - missing.embedded + report.blocks,) * 2
    base = KnowledgeBase.open(kb)
    assert base.manifest.is_embedded
    for found in base.take_blocks(range(base.manifest.blocks)):
        [expected] = tiny.embed_blocks([found], 288)
        np.testing.assert_allclose(vectors_of(base)[found.block.id], expected, rtol=2**-9, atol=1e-4)
    verify_folder(kb)


def test_vectors_cannot_come_before_those_that_are_missing(kb: Path, tiny: ModelFolder) -> None:
    manifest = KnowledgeBase.open(kb).manifest
    with (
        KnowledgeBaseWriter(kb, tiny.reference, manifest.dim, manifest.max_block_pieces) as writer,
        pytest.raises(ValueError, match=f"{manifest.blocks} blocks before these have no vectors"),
    ):
        writer.put([], np.zeros((0, manifest.dim), np.float32))


def test_a_killed_run_is_gone_on_with(kb: Path, source: Path, tmp_path: Path, tiny: ModelFolder) -> None:
    total = KnowledgeBase.open(kb).manifest.blocks
    with pytest.MonkeyPatch.context() as patch:
        cut_short(patch)
        embed = ModelFolder.embed
        left = iter(range(2))
        patch.setattr(ModelFolder, "embed", lambda *a, **k: embed(*a, **k) if next(left, None) is not None else 1 / 0)
        with pytest.raises(ZeroDivisionError):
            embed_blocks(kb, model=tiny)
    assert KnowledgeBase.open(kb).manifest.embedded == 0
    with pytest.raises(KnowledgeBaseError, match=f"unfinished run of 4 blocks.*realm embed --kb {kb} "):
        remove_documents(kb, ["story/0"])
    report = embed_blocks(kb, model=tiny)
    assert (report.resumed, report.embedded) == (True, total - 4)
    index_sources(tmp_path / "at once", [source], tiny)
    require_same_vectors(KnowledgeBase.open(kb), KnowledgeBase.open(tmp_path / "at once"))


def test_what_a_killed_run_replaced_has_its_vectors_when_it_is_set_back(
    kb: Path, source: Path, tmp_path: Path, tiny: ModelFolder
) -> None:
    before = source.read_text(encoding="utf-8")
    write_jsonl(source, stories(9, seed=4))
    with pytest.MonkeyPatch.context() as patch:
        cut_short(patch)
        with pytest.raises(ZeroDivisionError):
            index_sources(kb, [source], tiny)
    source.write_text(before.splitlines(keepends=True)[0], encoding="utf-8")
    report = index_sources(kb, [source], tiny)
    assert report.resumed
    source.write_text(before, encoding="utf-8")
    index_sources(tmp_path / "at once", [source], tiny)
    require_same_vectors(KnowledgeBase.open(kb), KnowledgeBase.open(tmp_path / "at once"))


def test_old_versions_stay_what_they_were(kb: Path) -> None:
    embed_blocks(kb)
    old = KnowledgeBase.open(kb, 1)
    assert old.manifest.embedded == 0
    assert OpenQA(old, ModelFolder.open(old.manifest.model.name)).ask(QUESTIONS[0]).evidence
    with pytest.raises(KnowledgeBaseError, match="no vectors yet"):
        old.search(np.zeros((1, old.manifest.dim), np.float32), 1)


def test_faiss_waits_for_the_vectors(tmp_path: Path, tiny: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realm.index.faiss_build.MIN_VECTORS", 300)
    kb, source = tmp_path / "kb", write_jsonl(tmp_path / "many.jsonl", stories(350, sentences=1))
    index_sources(kb, [source], tiny, search="faiss", words_only=True)
    assert KnowledgeBase.open(kb).manifest.faiss is None
    embed_blocks(kb)
    assert KnowledgeBase.open(kb).manifest.faiss is not None


def test_limits_hold(kb: Path, tmp_path: Path, tiny: ModelFolder) -> None:
    before = digests(kb)
    with pytest.raises(UsageError, match=r"--max-ram 1\.0 MB is too little"):
        embed_blocks(kb, max_ram_bytes=1_000_000)
    assert digests(kb) == before
    with pytest.raises(KnowledgeBaseError, match="No knowledge base"):
        embed_blocks(tmp_path / "none")
