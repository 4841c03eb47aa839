"""Damaged and half-written knowledge bases on the command line."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Run, Said
from test_bad_input import assert_one_line
from tiny_model import digests, stories, write_jsonl

import realm as front_door
from realm.openqa import indexing, verification
from realm.openqa.writer import KnowledgeBaseWriter

RunAll = Callable[..., None]
COMMANDS: list[tuple[str, ...]] = [
    ("ask", "who wrote it?"),
    ("info",),
    ("info", "--verify", "--json"),
    ("remove", "story/1"),
    ("compact",),
    ("index",),
]


@pytest.fixture
def run_all(realm: Run, tmp_path: Path, model: Path) -> RunAll:
    """Run every command on a folder; each must say the same things in one line and change nothing."""
    source = write_jsonl(tmp_path / "more.jsonl", stories(2, seed=7))

    def run(kb: Path, *parts: str, commands: list[tuple[str, ...]] = COMMANDS) -> None:
        before = digests(tmp_path)
        for command, *rest in commands:
            extra = [source, "--model", model] if command == "index" else []
            assert_one_line(realm(command, *rest, *extra, "--kb", kb), *parts)
            assert digests(tmp_path) == before

    return run


def test_a_shortened_vector_file_stops_every_command(run_all: RunAll, kb: Path) -> None:
    path = kb / "vectors" / "000000.f16"
    path.write_bytes(path.read_bytes()[:-10])
    run_all(kb, "000000.f16", "bytes", "Rebuild")


def test_a_missing_vector_file_stops_every_command(run_all: RunAll, kb: Path) -> None:
    (kb / "vectors" / "000000.f16").unlink()
    run_all(kb, "000000.f16: missing", "Rebuild")


def test_a_changed_bit_is_found_by_verify_and_before_writing(run_all: RunAll, kb: Path, realm: Run) -> None:
    path = kb / "vectors" / "000000.f16"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    run_all(kb, "000000.f16", "SHA-256 differs", commands=[("info", "--verify"), ("remove", "story/1"), ("index",)])
    assert realm("info", "--kb", kb).code == 0


def damage(path: Path, kind: str) -> None:
    data = path.read_bytes()
    flipped = bytes([data[0] ^ 64]) + data[1:]
    path.write_bytes({"ones": b"\xff" * len(data), "zeros": bytes(len(data)), "a bit": flipped}[kind])


@pytest.mark.parametrize("kind", ["ones", "zeros", "a bit"])
@pytest.mark.parametrize("suffix", [".f16", ".i8", ".scale"])
def test_damaged_vectors_never_answer_a_question(run_all: RunAll, kb: Path, suffix: str, kind: str) -> None:
    name = f"000000{suffix}"
    damage(kb / "vectors" / name, kind)
    ask = ("ask", "who wrote it?")
    asking: list[tuple[str, ...]] = [ask, (*ask, "--json"), (*ask, "--dense"), (*ask, "--weight", "1")]
    writing: list[tuple[str, ...]] = [("info", "--verify"), ("remove", "story/1"), ("index",)]
    advice = "Rebuild" if suffix == ".f16" else "--rebuild"
    run_all(kb, name, "SHA-256 differs", advice, commands=[*asking, *writing])


@pytest.mark.parametrize(
    ("suffix", "said"), [(".scale", "SHA-256 differs"), (".f16", "NaN or infinite"), (".f16", "realm info --verify")]
)
def test_large_vector_files_that_hold_no_numbers_never_answer_a_question(
    run_all: RunAll, kb: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, said: str
) -> None:
    monkeypatch.setattr(verification, "_MOST_COMPARED_BYTES", 0)
    damage(kb / "vectors" / f"000000{suffix}", "ones")
    asking: list[tuple[str, ...]] = [("ask", "who wrote it?"), ("ask", "who wrote it?", "--weight", "1")]
    run_all(kb, f"000000{suffix}", said, commands=asking)


@pytest.mark.parametrize("part", ["blocks.lance", "documents.lance"])
@pytest.mark.parametrize("kind", ["ones", "a bit"])
def test_lance_never_sees_a_damaged_version(run_all: RunAll, kb: Path, part: str, kind: str) -> None:
    path = next((kb / part / "_versions").iterdir())
    damage(path, kind)
    commands: list[tuple[str, ...]] = [("ask", "who wrote it?"), ("info", "--verify"), ("remove", "story/1")]
    run_all(kb, path.name, "SHA-256 differs", "Rebuild", commands=[*commands, ("index",), ("compact",)])


@pytest.mark.parametrize("files", ["_indices/*/*", "_versions/*"])
def test_lance_says_nothing_of_its_own_about_damage(kb: Path, files: str) -> None:
    for path in (kb / "blocks.lance").glob(files):
        damage(path, "ones")
    command = [sys.executable, "-m", "realm", "ask", "who wrote it?", "--kb", str(kb)]
    env = {**os.environ, "PYTHONPATH": str(Path(front_door.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    found = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert_one_line(Said(found.returncode, found.stdout, found.stderr), "blocks.lance", "Rebuild")


@pytest.mark.parametrize("text", ["", '{"format": 1, "version"', '{"format": 1}', "[]", '{"format": 99}'])
def test_a_damaged_manifest_stops_every_command(run_all: RunAll, kb: Path, text: str) -> None:
    (kb / "kb.json").write_text(text, encoding="utf-8")
    run_all(kb, "kb.json")


def test_a_manifest_cut_off_stops_every_command_and_the_remedy_is_named(run_all: RunAll, kb: Path, realm: Run) -> None:
    data = (kb / "kb.json").read_bytes()
    (kb / "kb.json").write_bytes(data[: len(data) // 2])
    command = f"cp {kb}/versions/000001.json {kb}/kb.json"
    run_all(kb, "kb.json is not readable as a manifest", command)
    subprocess.run(shlex.split(command), check=True)
    assert realm("info", "--kb", kb, "--verify").code == 0


@pytest.mark.parametrize("part", ["blocks.lance", "documents.lance"])
def test_a_store_that_is_gone_is_named(run_all: RunAll, kb: Path, part: str) -> None:
    (kb / part).rename(kb / "elsewhere")
    run_all(kb, part, commands=[("ask", "who wrote it?"), ("info", "--verify"), ("remove", "story/1"), ("index",)])


def test_a_store_whose_data_is_gone_is_named(run_all: RunAll, kb: Path) -> None:
    for path in (kb / "blocks.lance" / "data").iterdir():
        path.unlink()
    run_all(kb, "blocks.lance", commands=[("ask", "who wrote it?")])


def test_a_first_run_that_was_killed_is_no_knowledge_base_and_can_be_gone_on_with(
    realm: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kb, source = tmp_path / "new", write_jsonl(tmp_path / "stories.jsonl", stories(9))
    monkeypatch.setattr(indexing, "_BLOCKS_PER_STEP", 1)
    with monkeypatch.context() as patch:
        patch.setattr(KnowledgeBaseWriter, "publish", lambda writer: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            realm("index", source, "--kb", kb, "--model", model)
    for command in (["ask", "who?"], ["info"], ["remove", "story/1"], ["compact"]):
        before = digests(kb)
        assert_one_line(realm(*command, "--kb", kb), "no complete version yet", "Finish it with: realm index")
        assert digests(kb) == before
    said = realm("index", source, "--kb", kb, "--model", model)
    assert said.code == 0
    assert "version 1, 0 documents added, 0 updated, 9 unchanged" in said.out
    assert realm("ask", "who wrote it?", "--kb", kb).code == 0


def test_a_folder_of_other_files_is_neither_read_nor_written(run_all: RunAll, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "sea.jpg").write_bytes(b"sea")
    reading = [command for command in COMMANDS if command[0] != "index"]
    run_all(folder, "No knowledge base at", "photos", commands=reading)
    run_all(folder, "photos is not empty and not a knowledge base", "another --kb", commands=[("index",)])
    run_all(folder / "sea.jpg", "No knowledge base at", "sea.jpg", commands=reading)
    run_all(folder / "sea.jpg", "sea.jpg is a file", commands=[("index",)])
    run_all(folder / "sea.jpg" / "kb", "cannot be written", commands=[("index",)])


def test_an_empty_folder_is_no_knowledge_base(run_all: RunAll, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    run_all(tmp_path / "new", "No knowledge base at", commands=[c for c in COMMANDS if c[0] != "index"])
    assert list((tmp_path / "new").iterdir()) == []
