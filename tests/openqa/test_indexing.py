"""Indexing: what is added, replaced, left alone and taken out, and where every block stands in its document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from interrupted import cut_short
from tiny_model import digests, stories, write_jsonl, write_tiny_model

from realm.corpus.lexical import LexicalIndex
from realm.corpus.readers import read_documents
from realm.errors import SourceError
from realm.index.exact import ExactIndex
from realm.openqa import indexing
from realm.openqa.compaction import compact
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


def texts_of(kb: Path) -> dict[str, str]:
    base = KnowledgeBase.open(kb)
    base.verify()
    found = {id: base.document(id).text for batch in base.documents.ids() for id, _ in batch}
    assert set(blocks_of(base)) == {id for id, text in found.items() if text.strip()}
    return found


def texts(documents: Iterable[Document]) -> dict[str, str]:
    return {document.id: document.text for document in documents}


def test_pruning_removes_what_the_sources_do_not_have(
    tmp_path: Path, six: list[Document], source: Path, tiny: ModelFolder
) -> None:
    kb = tmp_path / "kb"
    index_sources(kb, [source], tiny)
    fresh = [six[0], replace(six[1], text="The wolf crossed the alps."), *stories(8, seed=1)[6:]]
    report = index_sources(kb, [write_jsonl(source, fresh)], tiny, prune=True)
    assert (report.added, report.updated, report.unchanged, report.removed) == (2, 1, 1, 4)
    assert texts_of(kb) == texts(fresh)
    before = digests(kb)
    assert index_sources(kb, [source], tiny, prune=True).removed == 0
    assert digests(kb) == before


def test_pruning_never_removes_what_could_not_be_read(tmp_path: Path, source: Path, tiny: ModelFolder) -> None:
    kb = tmp_path / "kb"
    index_sources(kb, [source], tiny)
    with source.open("a", encoding="utf-8") as file:
        file.write('{"text": \n')
    before = digests(kb)
    with pytest.raises(SourceError, match=r"1 records were left out, and --prune would remove .*stories\.jsonl:7"):
        index_sources(kb, [source], tiny, prune=True, skip_bad=True)
    assert digests(kb) == before


def test_the_same_job_goes_on_where_it_was_cut_short(
    tmp_path: Path, six: list[Document], source: Path, tiny: ModelFolder
) -> None:
    kb = tmp_path / "kb"
    cut_short(kb, source, tiny)
    report = index_sources(kb, [source], tiny)
    assert (report.resumed, report.unchanged, report.blocks, report.discarded_blocks) == (True, 6, 0, 0)
    assert texts_of(kb) == texts(six)


@pytest.mark.parametrize("job", ["other sources", "remove"])
def test_another_job_publishes_nothing_of_one_that_was_cut_short(
    tmp_path: Path, six: list[Document], source: Path, tiny: ModelFolder, job: str
) -> None:
    kb = tmp_path / "kb"
    index_sources(kb, [source], tiny)
    changed = [replace(six[0], text="The wolf crossed the alps."), *stories(9, seed=1)[6:]]
    cut_short(kb, write_jsonl(tmp_path / "more.jsonl", changed), tiny)
    assert (kb / "pending.json").exists()
    if job == "remove":
        remove_documents(kb, ["story/5"], discard_pending=True)
        assert texts_of(kb) == texts(six[:5])
    else:
        other = [replace(one, id=f"other/{one.id}") for one in six[:2]]
        report = index_sources(kb, [write_jsonl(tmp_path / "other.jsonl", other)], tiny, discard_pending=True)
        assert (report.resumed, report.discarded_blocks >= 4) == (False, True)
        assert texts_of(kb) == texts([*six, *other])
    assert not (kb / "pending.json").exists()


def test_sources_that_changed_since_they_were_cut_short_count_as_they_are_now(
    tmp_path: Path, six: list[Document], tiny: ModelFolder
) -> None:
    kb, source = tmp_path / "kb", write_jsonl(tmp_path / "stories.jsonl", six[:4])
    index_sources(kb, [source], tiny)
    changed = [replace(one, text=f"{one.text} The wolf.") for one in six]
    cut_short(kb, write_jsonl(source, changed), tiny)
    # Two of four updates and one of two new documents are taken back.
    report = index_sources(kb, [write_jsonl(source, [*changed[:2], changed[4]])], tiny)
    assert (report.resumed, report.unchanged, report.blocks) == (True, 3, 0)
    assert texts_of(kb) == texts([*changed[:2], *six[2:4], changed[4]])
    assert KnowledgeBase.open(kb).document_versions(["story/1", "story/2"]) == {"story/1": 2, "story/2": 1}


def test_damaged_work_of_a_run_that_was_cut_short_is_done_again(
    tmp_path: Path, six: list[Document], source: Path, tiny: ModelFolder
) -> None:
    kb = tmp_path / "kb"
    cut_short(kb, source, tiny)
    path = max((kb / "documents.lance" / "data").iterdir(), key=lambda path: path.stat().st_size)
    path.write_bytes(path.read_bytes()[:-5])
    report = index_sources(kb, [source], tiny)
    assert (report.resumed, report.added) == (False, 6)
    assert texts_of(kb) == texts(six)


def test_large_sources_are_read_once_and_bad_input_leaves_the_published_version(
    tmp_path: Path, six: list[Document], source: Path, tiny: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    kb = tmp_path / "kb"
    index_sources(kb, [source], tiny)
    reads: list[object] = []

    def reading(*arguments: object, **options: object) -> Iterator[Document]:
        found = read_documents(*arguments, **options)  # type: ignore[arg-type]
        first = next(found)
        reads.append(first)
        yield first
        yield from found

    monkeypatch.setattr(indexing, "read_documents", reading)
    monkeypatch.setattr(indexing, "MAX_BYTES", 100)
    monkeypatch.setattr(indexing, "_BLOCKS_PER_STEP", 64)
    more = stories(400, seed=1, sentences=1)[6:]
    write_jsonl(source, [*six, *more])
    good = source.read_bytes()
    source.write_bytes(good + b'{"text": \n')
    with pytest.raises(SourceError, match="broken JSON"):
        index_sources(kb, [source], tiny)
    assert texts_of(kb) == texts(six)
    source.write_bytes(good)
    report = index_sources(kb, [source], tiny)
    assert report.resumed
    assert len(reads) == 2
    assert report.unchanged > 6
    assert texts_of(kb) == texts([*six, *more])


def test_the_estimate_is_what_the_run_then_takes(
    tmp_path: Path, tiny: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing, "_BLOCKS_PER_STEP", 20)
    kb, old, new = tmp_path / "kb", stories(20, seed=1), stories(120, seed=1)
    index_sources(kb, [write_jsonl(tmp_path / "stories.jsonl", old)], tiny)
    report = index_sources(kb, [write_jsonl(tmp_path / "stories.jsonl", new)], tiny)
    assert report.estimate is not None
    assert report.estimate.documents == 100
    assert report.estimate.characters == sum(len(one.text) for one in new[20:])
    assert report.estimate.blocks == pytest.approx(report.blocks, rel=0.3)


@pytest.mark.parametrize("search", ["exact", "faiss"])
def test_the_way_of_searching_is_kept_until_another_is_asked_for(
    tmp_path: Path, tiny: ModelFolder, monkeypatch: pytest.MonkeyPatch, search: str
) -> None:
    monkeypatch.setattr("realm.index.faiss_build.MIN_VECTORS", 300)
    kb, documents = tmp_path / "kb", stories(320, seed=1, sentences=1)
    source = write_jsonl(tmp_path / "stories.jsonl", documents)
    index_sources(kb, [source], tiny, search=search)
    remove_documents(kb, ["story/1"])
    base = KnowledgeBase.open(kb)
    base.verify()
    assert (base.manifest.search, base.manifest.faiss is not None) == (search, search == "faiss")
    query = np.random.default_rng(3).standard_normal((4, 16)).astype(np.float32)
    exact = ExactIndex(base.vectors, base.tombstones).search(query, 10)
    found = base.search(query, 10)
    shared = [len(set(one) & set(two)) for one, two in zip(exact.rows.tolist(), found.rows.tolist(), strict=True)]
    assert np.mean(shared) > 8
    compact(kb)
    assert (KnowledgeBase.open(kb).manifest.faiss is not None) == (search == "faiss")
    index_sources(kb, [source], tiny, search="auto")
    assert KnowledgeBase.open(kb).manifest.faiss is None


def test_blocks_can_be_found_by_their_words(shared_kb: Path, tiny: ModelFolder) -> None:
    base = KnowledgeBase.open(shared_kb)
    words = LexicalIndex.open(shared_kb / "blocks.lance", base.manifest.blocks_version)
    assert words.unindexed_rows == 0
    hits = words.search(["Reykjavík"], 50)[0]
    assert len(hits.rows)
    assert all("Reykjavík" in stored.block.text for stored in base.take_blocks(hits.rows.tolist()))
