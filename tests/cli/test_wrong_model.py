"""Models on the command line that are none, are damaged, or are not those a knowledge base was made with."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from command_line import Run
from test_bad_input import assert_one_line
from tiny_model import digests, stories, write_jsonl, write_tiny_model


def test_a_model_that_is_none_is_told_in_one_line(realm: Run, kb: Path, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "good.jsonl", stories(2, seed=7))
    before = digests(kb)
    said = realm("index", source, "--kb", kb, "--model", tmp_path / "nowhere")
    assert_one_line(said, "No model at", "nowhere", "config.json", "Give a model folder")
    assert digests(kb) == before


def test_a_model_that_cannot_be_used_with_a_knowledge_base_is_better_left_out(
    realm: Run, kb: Path, model: Path, tmp_path: Path
) -> None:
    other = write_tiny_model(tmp_path / "other", seed=1)
    said = realm("ask", "who?", "--kb", kb, "--model", other)
    assert_one_line(said, "was made with the model", f"not with {other}", "Leave --model out", f"--model {other} --kb")
    assert "has changed" not in said.err


@pytest.mark.parametrize("file", ["tokenizer.json", "config.json"])
@pytest.mark.parametrize("text", ["", "[]", '{"version": "1.0", ', "garbage"])
def test_a_damaged_model_is_not_taken_for_another_one(
    realm: Run, model: Path, tmp_path: Path, file: str, text: str
) -> None:
    mine = shutil.copytree(model, tmp_path / "mine")
    source = write_jsonl(tmp_path / "good.jsonl", stories(2))
    realm("index", source, "--kb", tmp_path / "own", "--model", mine)
    (mine / file).write_text(text, encoding="utf-8")
    for command in ("ask", "index"):
        extra = ["--model", mine] if command == "index" else []
        argument = source if command == "index" else "who?"
        said = realm(command, argument, "--kb", tmp_path / "own", *extra)
        assert_one_line(said, str(mine), "cannot be read as a", "Give another model folder")


def test_a_knowledge_base_of_another_model_is_told_in_one_line(
    realm: Run, kb: Path, model: Path, tmp_path: Path
) -> None:
    source = write_jsonl(tmp_path / "good.jsonl", stories(2, seed=7))
    other = write_tiny_model(tmp_path / "other", seed=1)
    before = digests(kb)
    assert_one_line(
        realm("index", source, "--kb", kb, "--model", other), "was made with the model", str(model), str(other)
    )
    assert digests(kb) == before
    # The model of a knowledge base is trained on, in its place.
    mine = shutil.copytree(model, tmp_path / "mine")
    realm("index", source, "--kb", tmp_path / "own", "--model", mine)
    write_tiny_model(mine, seed=1)
    before = digests(tmp_path / "own")
    said = realm("ask", "who?", "--kb", tmp_path / "own")
    assert_one_line(said, "was made with the model", "which has changed since", "Put the old one back", "realm index")
    assert digests(tmp_path / "own") == before
