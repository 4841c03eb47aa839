"""What `index --prune`, `compact` and `info` print, and how they refuse."""

from __future__ import annotations

import json
from pathlib import Path

from command_line import Run
from test_bad_input import assert_one_line
from tiny_model import digests, stories, write_jsonl

from realm.openqa.knowledge_base import KnowledgeBase


def test_prune_compact_and_info_say_what_they_did(realm: Run, kb: Path, model: Path, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "stories.jsonl", [*stories(5), *stories(9)[8:]])
    said = realm("index", source, "--kb", kb, "--model", model, "--prune")
    assert (said.code, "version 2, 1 documents added, 0 updated, 3 removed, 5 unchanged" in said.out) == (0, True)
    found = json.loads(realm("info", "--kb", kb, "--json", "--verify").out)
    assert (found["versions"], found["verified"], found["search"]) == ([1, 2], True, "exact")
    dead = found["dead_blocks"]
    assert dead == KnowledgeBase.open(kb).manifest.blocks - found["blocks"] > 0
    said = realm("compact", "--kb", kb)
    assert said.code == 0
    assert f"{kb}: version 3, 1 old versions and {dead} old blocks dropped, " in said.out
    assert "versions  3\n" in realm("info", "--kb", kb, "--verify").out


def test_a_flipped_bit_anywhere_is_told_in_one_line(realm: Run, kb: Path) -> None:
    for path, remedy in (
        (next((kb / "blocks.lance" / "data").iterdir()), "realm index"),
        (kb / "vectors" / "000000.i8", "realm compact --kb FOLDER --rebuild"),
        (kb / "kb.json", "realm index"),
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
