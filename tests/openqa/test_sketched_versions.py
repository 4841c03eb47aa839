"""Sketches of full vector files come and go with the versions of a knowledge base."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_model import stories, write_jsonl

import realm.index.exact
import realm.index.sketches
from realm.errors import CorruptFileError
from realm.index.exact import ExactIndex
from realm.index.sketches import build_sketches
from realm.index.vectors import VectorWriter
from realm.openqa.compaction import compact
from realm.openqa.indexing import index_sources, remove_documents
from realm.openqa.knowledge_base import KnowledgeBase
from realm.openqa.model_folder import ModelFolder
from realm.openqa.verification import verify_folder

ROWS = 4


@pytest.fixture(autouse=True)
def _small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    for function in (VectorWriter.__init__, build_sketches):
        assert function.__kwdefaults__
        monkeypatch.setitem(function.__kwdefaults__, "rows_per_segment", ROWS)
    monkeypatch.setattr(realm.index.sketches, "_MIN_DIM", 1)
    monkeypatch.setattr(realm.index.exact, "_FEW", 1 << 40)


@pytest.fixture
def kb(tmp_path: Path, tiny: ModelFolder) -> Path:
    kb = tmp_path / "kb"
    index_sources(kb, [write_jsonl(tmp_path / "first.jsonl", stories(7))], tiny)
    return kb


def check(kb: Path) -> KnowledgeBase:
    base = KnowledgeBase.open(kb)
    full = base.manifest.blocks // ROWS
    assert [segment.name for segment in base.manifest.sketches] == [f"{place:06d}.sketch" for place in range(full)]
    verify_folder(kb)
    queries = np.random.default_rng(0).standard_normal((3, base.manifest.dim)).astype(np.float32)
    found, expected = base.index.search(queries, 3), ExactIndex(base.vectors, base.tombstones).search(queries, 3)
    assert found.rows.tolist() == expected.rows.tolist()
    assert found.scores.tolist() == expected.scores.tolist()
    return base


def test_updates_and_compaction_keep_sketches_of_all_full_files(kb: Path, tmp_path: Path, tiny: ModelFolder) -> None:
    first = check(kb).manifest.sketches
    assert first
    index_sources(kb, [write_jsonl(tmp_path / "second.jsonl", stories(9, seed=9))], tiny)
    second = check(kb).manifest.sketches
    assert second[: len(first)] == first
    assert len(second) > len(first)
    remove_documents(kb, ["story/1"])
    assert check(kb).manifest.sketches == second
    compact(kb)
    check(kb)
    names = {path.name for path in kb.glob("vectors*/*.sketch")}
    assert names == {segment.name for segment in KnowledgeBase.open(kb).manifest.sketches}


def test_damaged_sketches_are_found_and_made_anew(kb: Path) -> None:
    path = next(kb.glob("vectors*/000000.sketch"))
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    with pytest.raises(CorruptFileError, match=rf"000000\.sketch: .*realm compact --kb {kb} --rebuild"):
        verify_folder(kb)
    compact(kb, rebuild=True)
    check(kb)
