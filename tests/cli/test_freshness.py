"""What `index --prune`, `compact` and `info` print, and how they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Run
from test_bad_input import assert_one_line
from tiny_model import digests, stories, write_jsonl

from realm.openqa.indexing import index_sources
from realm.openqa.knowledge_base import KnowledgeBase
from realm.openqa.model_folder import ModelFolder
from realm.openqa.writer import KnowledgeBaseWriter


def test_prune_compact_and_info_say_what_they_did(realm: Run, kb: Path, model: Path, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "stories.jsonl", [*stories(5), *stories(9)[8:]])
    said = realm("index", source, "--kb", kb, "--model", model, "--prune-all")
    assert said.code == 0
    assert "version 2, 1 documents added, 0 updated, 3 removed, 5 unchanged (5 of them moved); " in said.out
    found = json.loads(realm("info", "--kb", kb, "--json", "--verify").out)
    assert (found["versions"], found["verified"], found["search"]) == ([1, 2], True, "exact")
    dead = found["dead_blocks"]
    assert dead == KnowledgeBase.open(kb).manifest.blocks - found["blocks"] > 0
    said = realm("compact", "--kb", kb)
    assert said.code == 0
    assert f"{kb}: version 3, 1 old versions and {dead} old blocks dropped, " in said.out
    assert "versions  3\n" in realm("info", "--kb", kb, "--verify").out


def test_an_unfinished_run_is_shown_and_is_not_lost_unless_it_is_said(
    realm: Run, kb: Path, model: Path, tmp_path: Path
) -> None:
    source = write_jsonl(tmp_path / "more.jsonl", stories(9)[8:])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KnowledgeBaseWriter, "publish", lambda writer: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            index_sources(kb, [source], ModelFolder.open(str(model)))
    line = f"realm index {source} --kb {kb}"
    found = json.loads(realm("info", "--kb", kb, "--json").out)
    assert (found["pending_blocks"] > 0, found["pending_run"]) == (True, line)
    assert f"pending_run  {line}\n" in realm("info", "--kb", kb).out
    assert_one_line(realm("remove", "story/1", "--kb", kb), line, "--discard-pending")
    said = realm("remove", "story/1", "--kb", kb, "--discard-pending")
    assert (said.code, "removed 1 of 1 documents" in said.out) == (0, True)
    assert json.loads(realm("info", "--kb", kb, "--json").out)["pending_run"] is None


def test_folders_are_kept_apart_by_a_prefix_which_the_message_names(realm: Run, model: Path, tmp_path: Path) -> None:
    for name in "AB":
        (tmp_path / name).mkdir()
        (tmp_path / name / "README.md").write_text(f"# {name}\n\nThe wolf.\n")
    line = ("--kb", tmp_path / "kb", "--model", model)
    assert realm("index", tmp_path / "A", *line).code == 0
    assert_one_line(realm("index", tmp_path / "B", *line), 'the id "README.md"', "--id-prefix TEXT", "--prune-all")
    assert "1 documents added" in realm("index", tmp_path / "B", *line, "--id-prefix", "B/").out


def test_a_flipped_bit_anywhere_is_told_in_one_line(realm: Run, kb: Path) -> None:
    for path, remedy in (
        (next((kb / "blocks.lance" / "data").iterdir()), "realm index"),
        (kb / "vectors" / "000000.i8", f"realm compact --kb {kb} --rebuild"),
        (kb / "kb.json", f"cp {kb}/versions/000001.json {kb}/kb.json"),
    ):
        data = path.read_bytes()
        path.write_bytes(data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
        assert_one_line(realm("info", "--kb", kb, "--verify"), path.name, remedy)
        path.write_bytes(data)


def test_options_that_cannot_be_used_are_told_in_one_line(realm: Run, kb: Path, model: Path, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "stories.jsonl", stories(9))
    before = digests(kb)
    line = ("index", source, "--kb", kb, "--model", model)
    assert_one_line(realm(*line, "--max-ram", "lots"), "'lots' is no size in bytes", "2GB")
    assert_one_line(realm(*line, "--max-ram", "1MB"), "--max-ram 1.0 MB is too little", "Give --max-ram")
    assert_one_line(realm(*line, "--search", "quick"), "--search takes one of auto, exact, faiss", "'quick'")
    assert digests(kb) == before
