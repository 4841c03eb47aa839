"""Passages as DPR has them, indexed like any other documents."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_model import stories, write_jsonl, write_tiny_model

from realm.errors import KnowledgeBaseError, SourceError, UsageError
from realm.openqa import passages as importing_passages
from realm.openqa.estimate import Estimate
from realm.openqa.indexing import index_sources
from realm.openqa.knowledge_base import KnowledgeBase
from realm.openqa.model_folder import ModelFolder
from realm.openqa.passages import import_passages
from realm.openqa.search import HYBRID_WEIGHT
from realm.records import Document


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing_passages, "_PASSAGES_PER_STEP", 5)


def all_vectors(kb: KnowledgeBase) -> np.ndarray:
    return kb.vectors.take(np.arange(kb.vectors.rows))


def write_passages(path: Path, rows: list[tuple[str, str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerows([("id", "text", "title"), *rows])
    return path


def passages(count: int) -> list[tuple[str, str, str]]:
    return [
        (str(n + 1), story.text.replace("\n", " "), story.title) for n, story in enumerate(stories(count, sentences=1))
    ]


def test_passages_get_the_vectors_and_ids_that_indexing_them_gives(tmp_path: Path, tiny: ModelFolder) -> None:
    rows = passages(13)
    import_passages(tmp_path / "kb", write_passages(tmp_path / "p.tsv", rows), tiny)
    same = [Document(id=id, title=title, text=text) for id, text, title in rows]
    index_sources(tmp_path / "other", [write_jsonl(tmp_path / "p.jsonl", same)], tiny)
    ours, other = KnowledgeBase.open(tmp_path / "kb"), KnowledgeBase.open(tmp_path / "other")
    ours.verify()
    np.testing.assert_allclose(all_vectors(ours), all_vectors(other), atol=2e-3)
    count = ours.manifest.blocks
    assert [s.block for s in ours.take_blocks(range(count))] == [s.block for s in other.take_blocks(range(count))]


def test_the_same_passages_again_embed_nothing_and_changed_ones_only_themselves(
    tmp_path: Path, tiny: ModelFolder
) -> None:
    rows = passages(8)
    path = write_passages(tmp_path / "p.tsv", rows)
    kb = tmp_path / "kb"
    first = import_passages(kb, path, tiny)
    again = import_passages(kb, path, tiny)
    assert (again.blocks, again.documents, again.manifest.version) == (0, 8, first.manifest.version)
    rows[5] = ("6", "A new text of Paris.", "Paris")
    rows.append(("9", "One more.", ""))
    changed = import_passages(kb, write_passages(path, rows), tiny)
    assert (changed.blocks, changed.documents) == (2, 9)
    assert KnowledgeBase.open(kb).document("6").text == "A new text of Paris."


@pytest.mark.parametrize("place", [1, 7])
def test_an_id_that_comes_twice_is_refused_and_publishes_nothing(tmp_path: Path, tiny: ModelFolder, place: int) -> None:
    rows = passages(8)
    rows[place] = ("1", "Another text.", "")
    with pytest.raises(SourceError, match=rf":{place + 2}: the id \"1\" stands for an earlier record"):
        import_passages(tmp_path / "kb", write_passages(tmp_path / "p.tsv", rows), tiny)
    with pytest.raises(KnowledgeBaseError, match="No knowledge base"):
        KnowledgeBase.open(tmp_path / "kb")


def test_bad_lines_may_be_left_out(tmp_path: Path, tiny: ModelFolder) -> None:
    rows = passages(8)
    rows[3] = (rows[1][0], "Another text.", "")
    path = write_passages(tmp_path / "p.tsv", rows)
    path.write_text(path.read_text("utf-8") + "99\tonly two fields\n", "utf-8")
    report = import_passages(tmp_path / "kb", path, tiny, skip_bad=True)
    assert report.skipped.reasons == {"duplicate_id": 1, "other_fields": 1}
    assert report.documents == 7
    with pytest.raises(SourceError, match=r":5: the id \"2\" stands for an earlier record"):
        import_passages(tmp_path / "other", path, tiny)


def test_words_have_the_share_that_indexing_gives_them(tmp_path: Path, tiny: ModelFolder) -> None:
    report = import_passages(tmp_path / "kb", write_passages(tmp_path / "p.tsv", passages(3)), tiny)
    assert report.manifest.hybrid_weight == HYBRID_WEIGHT


def test_what_a_run_will_take_is_said_once_and_in_proportion(tmp_path: Path, tiny: ModelFolder) -> None:
    rows = [(str(n), "The king lost a castle in the rain. " * 40, "King") for n in range(300)]
    told: list[Estimate] = []
    import_passages(tmp_path / "kb", write_passages(tmp_path / "p.tsv", rows), tiny, announce=told.append)
    [estimate] = told
    assert 150 < estimate.documents < 450
    again: list[Estimate] = []
    import_passages(tmp_path / "kb", tmp_path / "p.tsv", tiny, announce=again.append)
    assert again == []


def test_a_limit_of_memory_is_kept_or_refused(tmp_path: Path, tiny: ModelFolder) -> None:
    path = write_passages(tmp_path / "p.tsv", passages(3))
    with pytest.raises(UsageError, match=r"--max-ram 1\.0 MB is too little"):
        import_passages(tmp_path / "kb", path, tiny, max_ram_bytes=1_000_000)
    assert not (tmp_path / "kb").exists()


def test_passages_of_another_model_are_refused(tmp_path: Path, shared_kb: Path) -> None:
    kb = shutil.copytree(shared_kb, tmp_path / "kb")
    other = ModelFolder.open(str(write_tiny_model(tmp_path / "other", seed=5)))
    with pytest.raises(KnowledgeBaseError, match="was made with the model"):
        import_passages(kb, write_passages(tmp_path / "p.tsv", passages(2)), other)
