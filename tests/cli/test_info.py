"""What is said of how a knowledge base is searched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Run
from tiny_model import stories, write_jsonl


def test_few_blocks_are_searched_exactly_and_that_is_said(realm: Run, kb: Path, model: Path, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "stories.jsonl", stories(9)[8:])
    said = realm("index", source, "--kb", kb, "--model", model, "--search", "faiss")
    assert said.code == 0
    assert "search is exact: FAISS was asked for, and begins at 1,000 blocks\n" in said.err
    found = json.loads(realm("info", "--kb", kb, "--json").out)
    assert (found["search"], found["search_setting"], found["target_reached"]) == ("exact", "faiss", None)


@pytest.mark.parametrize("target", [0.5, 2.0])
def test_recall_its_target_and_whether_that_is_reached_are_shown(
    realm: Run, kb: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: float
) -> None:
    from realm.index import faiss_build

    assert faiss_build.build_faiss.__kwdefaults__
    monkeypatch.setattr(faiss_build, "MIN_VECTORS", 30)
    monkeypatch.setitem(faiss_build.build_faiss.__kwdefaults__, "target", target)
    source = write_jsonl(tmp_path / "stories.jsonl", stories(40))
    said = realm("index", source, "--kb", kb, "--model", model, "--search", "faiss")
    assert said.code == 0
    is_reached = target < 1
    assert ("FAISS finds " in said.err and "less than the 200% wanted" in said.err) == (not is_reached)
    found = json.loads(realm("info", "--kb", kb, "--json").out)
    assert (found["search"], found["search_setting"], found["measured_with"]) == ("faiss", "faiss", "blocks")
    assert (found["recall_target"], found["target_reached"]) == (target, is_reached)
    assert f"target_reached  {is_reached}\n" in realm("info", "--kb", kb).out
