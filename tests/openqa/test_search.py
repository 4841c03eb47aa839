"""Retrieval by vectors, by words and by both: the order written out, and nothing that may not be found."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_model import stories, write_jsonl

from realm.corpus.conditions import Condition
from realm.corpus.lexical import LexicalIndex
from realm.errors import KnowledgeBaseError, UsageError
from realm.openqa import search as search_file
from realm.openqa.indexing import index_sources, remove_documents
from realm.openqa.knowledge_base import KnowledgeBase
from realm.openqa.manifest import PUBLISHED, read_manifest, write_manifest
from realm.openqa.model_folder import ModelFolder
from realm.openqa.search import CANDIDATES, HYBRID_WEIGHT, BlockSearch, Found, fusion_weight

QUESTIONS = ["Who wrote the opera?", "Which river crossed São Paulo in winter", "the of and", "Zürich Tokyo"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, tiny: ModelFolder) -> KnowledgeBase:
    """30 stories, of which some were replaced and some taken out; the full-text index is complete."""
    folder = tmp_path_factory.mktemp("search")
    index_sources(folder / "kb", [write_jsonl(folder / "a.jsonl", stories(30))], tiny)
    changed = [*stories(30)[:25], *stories(30, seed=5)[25:]]
    index_sources(folder / "kb", [write_jsonl(folder / "a.jsonl", changed)], tiny)
    remove_documents(folder / "kb", [f"story/{number}" for number in range(0, 30, 6)])
    index_words(folder / "kb")
    return KnowledgeBase.open(folder / "kb")


def index_words(folder: Path) -> None:
    """Complete the full-text index, as the writer does when it publishes."""
    manifest = read_manifest(folder, PUBLISHED)
    assert manifest is not None
    words = LexicalIndex.open(folder / "blocks.lance", manifest.blocks_version)
    words.complete()
    write_manifest(folder, dataclasses.replace(manifest, blocks_version=words.version), PUBLISHED)


@pytest.fixture(scope="module")
def vectors(tiny: ModelFolder) -> NDArray[np.float32]:
    ids = [tiny.tokenizer.ids_of(question) for question in QUESTIONS]
    return tiny.embed([tiny.inputs.question(pieces, 130) for pieces in ids])


def live_rows(base: KnowledgeBase) -> list[int]:
    return sorted(set(range(base.manifest.blocks)) - set(base.tombstones.tolist()))


def scores_of_all(base: KnowledgeBase, question: str, vector: NDArray[np.float32]) -> dict[int, tuple[float, float]]:
    """Inner product and BM25 of every live block."""
    rows = live_rows(base)
    (hits,) = base.blocks.search([question], base.manifest.blocks)
    words = dict(zip(hits.rows.tolist(), hits.scores.tolist(), strict=True))
    dense = base.vectors.take(np.array(rows)) @ vector
    return {row: (float(score), words.get(row, 0.0)) for row, score in zip(rows, dense, strict=True)}


def assert_best(found: Found, scores: dict[int, float], k: int) -> None:
    """`found` has the k best of `scores`, whichever of those that are equal but for rounding."""
    best = sorted(scores.values(), reverse=True)[:k]
    assert found.fused.tolist() == pytest.approx(best, rel=1e-4, abs=1e-5)
    assert [scores[row] for row in found.rows.tolist()] == pytest.approx(best, rel=1e-4, abs=1e-5)
    assert len(set(found.rows.tolist())) == len(found.rows)


@pytest.mark.parametrize("k", [1, 7, 1000])
def test_vectors_alone_give_the_largest_inner_products(
    base: KnowledgeBase, vectors: NDArray[np.float32], k: int
) -> None:
    retrieval = BlockSearch(base).search(QUESTIONS, vectors, k)
    assert retrieval.note == ""
    for question, vector, found in zip(QUESTIONS, vectors, retrieval.found, strict=True):
        scores = {row: dense for row, (dense, _) in scores_of_all(base, question, vector).items()}
        assert_best(found, scores, k)
        assert found.dense is found.fused
        assert not found.lexical.any()


@pytest.mark.parametrize("k", [1, 7, 1000])
def test_words_alone_give_the_greatest_bm25_with_inner_products_for_the_reader(
    base: KnowledgeBase, vectors: NDArray[np.float32], k: int
) -> None:
    retrieval = BlockSearch(base).search(QUESTIONS, vectors, k, weight=1.0)
    for question, vector, found in zip(QUESTIONS, vectors, retrieval.found, strict=True):
        scores = scores_of_all(base, question, vector)
        greatest = max(words for _, words in scores.values())
        assert_best(found, {row: words / greatest for row, (_, words) in scores.items() if words}, k)
        assert found.dense.tolist() == pytest.approx([scores[row][0] for row in found.rows.tolist()], rel=1e-4)
        assert found.lexical.tolist() == pytest.approx([scores[row][1] for row in found.rows.tolist()], rel=1e-4)


@pytest.mark.parametrize("weight", [0.1, 0.6, 0.95])
@pytest.mark.parametrize("candidates", [CANDIDATES, 4])
def test_both_give_the_weighted_mean_of_the_shares_of_both_scores(
    base: KnowledgeBase,
    vectors: NDArray[np.float32],
    weight: float,
    candidates: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search_file, "CANDIDATES", candidates)
    retrieval = BlockSearch(base).search(QUESTIONS, vectors, 3, weight=weight)
    dense_alone = BlockSearch(base).search(QUESTIONS, vectors, candidates).found
    words_alone = BlockSearch(base).search(QUESTIONS, vectors, candidates, weight=1.0).found
    for number, found in enumerate(retrieval.found):
        scores = scores_of_all(base, QUESTIONS[number], vectors[number])
        by_words = set(words_alone[number].rows.tolist())
        rows = by_words | set(dense_alone[number].rows.tolist())
        least, most = (of(scores[row][0] for row in rows) for of in (min, max))
        best = max((scores[row][1] for row in by_words), default=1.0)
        fused = {
            row: (1 - weight) * (scores[row][0] - least) / (most - least)
            + weight * (scores[row][1] / best if row in by_words else 0.0)
            for row in rows
        }
        assert_best(found, fused, 3)
        assert found.dense.tolist() == pytest.approx([scores[row][0] for row in found.rows.tolist()], rel=1e-4)
        expected = [scores[row][1] if row in by_words else 0.0 for row in found.rows.tolist()]
        assert found.lexical.tolist() == pytest.approx(expected, rel=1e-4)


def test_a_candidate_that_is_alone_is_the_best_by_vectors(base: KnowledgeBase, vectors: NDArray[np.float32]) -> None:
    rows = BlockSearch(base).search(QUESTIONS[:1], vectors[:1], 1000).found[0].rows.tolist()
    owners = [stored.block.document_id for stored in base.take_blocks(rows)]
    row, document = next((row, owner) for row, owner in zip(rows, owners, strict=True) if owners.count(owner) == 1)
    search = BlockSearch(base).search(QUESTIONS[:1], vectors[:1], 3, weight=0.25, where=f"id = '{document}'")
    found = search.found[0]
    assert found.rows.tolist() == [row]
    assert found.fused.tolist() == pytest.approx([0.75 + 0.25 * (found.lexical[0] > 0)])


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_only_blocks_of_documents_that_fit_the_condition_are_found(
    base: KnowledgeBase, vectors: NDArray[np.float32], weight: float
) -> None:
    where = "id IN ('story/4', 'story/6', 'story/7', 'story/26')"  # 6 was taken out, 26 replaced
    search = BlockSearch(base)
    everything = search.search(QUESTIONS, vectors, 1000, weight=weight).found
    for found, whole in zip(
        search.search(QUESTIONS, vectors, 1000, weight=weight, where=where).found, everything, strict=True
    ):
        ids = {stored.block.document_id for stored in base.take_blocks(found.rows.tolist())}
        assert ids <= {"story/4", "story/7", "story/26"}
        fitting = [
            row
            for row, stored in zip(whole.rows.tolist(), base.take_blocks(whole.rows.tolist()), strict=True)
            if stored.block.document_id in ids
        ]
        assert set(found.rows.tolist()) == set(fitting)


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("where", [None, "id <> 'story/8'"])
def test_rows_that_are_left_out_leave_no_trace(
    base: KnowledgeBase, vectors: NDArray[np.float32], weight: float, where: str | None
) -> None:
    search = BlockSearch(base)
    (best,) = search.search(QUESTIONS[:1], vectors[:1], 1, weight=weight).found
    owner = base.take_blocks(best.rows.tolist())[0].block.document_id
    everything = search.search(QUESTIONS[:1], vectors[:1], 1000).found[0].rows
    owners = np.array([stored.block.document_id for stored in base.take_blocks(everything.tolist())])
    expected = f"id <> '{owner}'" if where is None else f"id <> '{owner}' AND {where}"
    left = search.search(QUESTIONS, vectors, 9, weight=weight, where=where, without=everything[owners == owner]).found
    for found, other in zip(
        left, search.search(QUESTIONS, vectors, 9, weight=weight, where=expected).found, strict=True
    ):
        assert [part.tolist() for part in dataclasses.astuple(found)] == [
            part.tolist() for part in dataclasses.astuple(other)
        ]
        assert best.rows[0] not in found.rows


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_blocks_that_are_gone_are_never_found(base: KnowledgeBase, vectors: NDArray[np.float32], weight: float) -> None:
    assert len(base.tombstones)
    for where in (None, "id <> 'nothing'"):
        for found in BlockSearch(base).search(QUESTIONS, vectors, 1000, weight=weight, where=where).found:
            assert not set(found.rows.tolist()) & set(base.tombstones.tolist())


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_condition_that_fits_no_document_finds_nothing_and_says_so(
    base: KnowledgeBase, vectors: NDArray[np.float32], weight: float
) -> None:
    retrieval = BlockSearch(base).search(QUESTIONS, vectors, 5, weight=weight, where="source = 'nowhere'")
    assert [len(found.rows) for found in retrieval.found] == [0] * len(QUESTIONS)
    assert "source = 'nowhere'" in retrieval.note


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("where", [None, "id = 'story/4'"])
def test_a_knowledge_base_that_lost_its_last_document_says_so(
    tmp_path: Path, base: KnowledgeBase, vectors: NDArray[np.float32], weight: float, where: str | None
) -> None:
    folder = shutil.copytree(base.folder, tmp_path / "kb")
    remove_documents(folder, [f"story/{number}" for number in range(30)])
    retrieval = BlockSearch(KnowledgeBase.open(folder)).search(QUESTIONS, vectors, 5, weight=weight, where=where)
    assert [len(found.rows) for found in retrieval.found] == [0] * len(QUESTIONS)
    assert retrieval.note == "The knowledge base has no passages; add some with: realm index"


def test_conditions_follow_each_other_without_leaving_a_trace(
    base: KnowledgeBase, vectors: NDArray[np.float32]
) -> None:
    search = BlockSearch(base)
    for where in ("id = 'story/4'", "id = 'story/7'", "id = 'story/7'", None, "id = 'story/4'"):
        fresh = BlockSearch(base).search(QUESTIONS, vectors, 9, where=where)
        kept = search.search(QUESTIONS, vectors, 9, where=where)
        assert [found.rows.tolist() for found in kept.found] == [found.rows.tolist() for found in fresh.found]


def test_bad_conditions_and_weights_are_refused(base: KnowledgeBase, vectors: NDArray[np.float32]) -> None:
    search = BlockSearch(base)
    with pytest.raises(UsageError, match=r"'yeer'.*nearest is"):
        search.search(QUESTIONS, vectors, 5, where="yeer > 3")
    for weight in (-0.1, 1.1, float("nan")):
        with pytest.raises(UsageError, match="a share between 0"):
            search.search(QUESTIONS, vectors, 5, weight=weight)


def test_words_without_an_index_are_refused_and_vectors_do_without(
    tmp_path: Path, base: KnowledgeBase, vectors: NDArray[np.float32]
) -> None:
    folder = shutil.copytree(base.folder, tmp_path / "kb")
    words = LexicalIndex.open(folder / "blocks.lance")
    for column in ("title", "text"):
        words._dataset.drop_index(f"{column}_words")
    manifest = read_manifest(folder, PUBLISHED)
    assert manifest is not None
    write_manifest(folder, dataclasses.replace(manifest, blocks_version=words.version), PUBLISHED)
    search = BlockSearch(KnowledgeBase.open(folder))
    assert len(search.search(QUESTIONS, vectors, 5).found[0].rows) == 5
    with pytest.raises(KnowledgeBaseError, match="no full-text index"):
        search.search(QUESTIONS, vectors, 5, weight=0.5)


def test_weight_is_the_knowledge_bases_own_unless_something_is_said(base: KnowledgeBase) -> None:
    plain = dataclasses.replace(base.manifest, hybrid_weight=0.0)
    mixed = dataclasses.replace(base.manifest, hybrid_weight=0.3)
    assert (fusion_weight(plain), fusion_weight(mixed)) == (0.0, 0.3)
    assert (fusion_weight(plain, hybrid=True), fusion_weight(mixed, hybrid=True)) == (HYBRID_WEIGHT, 0.3)
    assert (fusion_weight(mixed, hybrid=False), fusion_weight(mixed, weight=0.0)) == (0.0, 0.0)
    assert fusion_weight(mixed, hybrid=True, weight=0.7) == 0.7
    with pytest.raises(UsageError, match=r"gives words no weight; found 0\.7"):
        fusion_weight(plain, hybrid=False, weight=0.7)
    with pytest.raises(UsageError, match="a share between 0"):
        fusion_weight(plain, weight=2.0)


def test_documents_are_looked_at_once_for_each_of_a_few_conditions(
    base: KnowledgeBase, vectors: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[str] = []
    block_rows = Condition.block_rows

    def counted(self: Condition, *others: Any) -> NDArray[np.bool_]:
        looked_at.append(self.text)
        return block_rows(self, *others)

    monkeypatch.setattr(Condition, "block_rows", counted)
    search = BlockSearch(base)
    conditions = [f"id <> 'story/{number}'" for number in range(1, 6)]

    def found(where: str) -> list[list[int]]:
        return [one.rows.tolist() for one in search.search(QUESTIONS, vectors, 9, where=where).found]

    expected = {where: found(where) for where in conditions[:2]}
    for _ in range(3):
        assert {where: found(where) for where in conditions[:2]} == expected
    assert looked_at == conditions[:2]
    for where in conditions[2:]:
        found(where)
    assert found(conditions[0]) == expected[conditions[0]]
    assert looked_at == [*conditions, conditions[0]]
