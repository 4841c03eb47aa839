"""`realm import` and `realm export` from the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import typer
from command_line import Run, Said

import realm.cli.main
from realm.cli import exchange
from realm.openqa.ask import OpenQA


@pytest.fixture(autouse=True)
def commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line with this group, wherever it is hooked in."""
    if not any(group.name == "import" for group in realm.cli.main.app.registered_groups):
        app = typer.Typer()
        app.registered_commands = list(realm.cli.main.app.registered_commands)
        app.registered_groups = list(realm.cli.main.app.registered_groups)
        exchange.add_to(app)
        monkeypatch.setattr(realm.cli.main, "app", app)


def assert_refused(said: Said, *words: str) -> None:
    """Exit code 2, one line on standard error, nothing on standard output."""
    assert (said.code, said.out) == (2, "")
    lines = said.err.strip().splitlines()
    assert len(lines) == 1, said.err
    assert lines[0].startswith("realm: ")
    for word in words:
        assert word in lines[0]


def info(realm: Run, kb: Path) -> dict[str, object]:
    said = realm("info", "--kb", kb, "--json")
    assert said.code == 0, said.err
    found: dict[str, object] = json.loads(said.out)
    return found


def test_out_to_transformers_and_in_again(realm: Run, kb: Path, tmp_path: Path) -> None:
    said = realm("export", "huggingface", tmp_path / "hf", "--kb", kb)
    assert said.code == 0, said.err
    blocks = info(realm, kb)["blocks"]
    assert f"{blocks} blocks of version 1" in said.out
    assert "exporting" in said.err
    assert "100%" in said.err
    said = realm("import", "huggingface", tmp_path / "hf", "--kb", tmp_path / "new")
    assert said.code == 0, said.err
    assert f"{blocks} documents; {blocks} blocks imported" in said.out
    assert str(tmp_path / "new-model") in said.out
    assert info(realm, tmp_path / "new")["blocks"] == blocks
    assert len(OpenQA.load(tmp_path / "new").ask("who built the castle?").evidence) == 5


def test_blocks_and_vectors_go_together(realm: Run, kb: Path, tmp_path: Path) -> None:
    assert realm("export", "blocks", tmp_path / "b.jsonl", "--kb", kb, "--token-ids").code == 0
    assert realm("export", "vectors", tmp_path / "v.npy", "--kb", kb).code == 0
    lines = (tmp_path / "b.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(np.load(tmp_path / "v.npy")) == len(lines) == info(realm, kb)["blocks"]
    assert json.loads(lines[0])["token_ids"]


def test_passages_of_dpr_are_indexed(realm: Run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "p.tsv").write_text("id\ttext\ttitle\n1\tThe king lost a castle.\tKing\n2\tA boat sold.\tBoat\n")
    with (tmp_path / "p.tsv").open("a") as file:
        file.write("3\tno title\n")
    line = ("import", "dpr", tmp_path / "p.tsv", "--kb", tmp_path / "kb", "--model", model)
    assert_refused(realm(*line), ":4: 2 fields")
    said = realm(*line, "--skip-bad", "--max-ram", "64GB")
    assert said.code == 0, said.err
    assert "2 documents; 2 blocks imported" in said.out
    assert "skipped 1: other_fields 1" in said.err
    assert info(realm, tmp_path / "kb")["hybrid_weight"] == 0.5
    evidence = OpenQA.load(tmp_path / "kb").ask("who lost a castle?").evidence
    assert {one.document_id for one in evidence} == {"1", "2"}


def test_what_is_there_is_kept_unless_forced(realm: Run, kb: Path, tmp_path: Path) -> None:
    assert realm("export", "huggingface", tmp_path / "hf", "--kb", kb).code == 0
    assert_refused(realm("export", "huggingface", tmp_path / "hf", "--kb", kb), "hf is there already", "--force")
    assert realm("export", "huggingface", tmp_path / "hf", "--kb", kb, "--force").code == 0
    (tmp_path / "v.npy").write_text("mine")
    assert_refused(realm("export", "vectors", tmp_path / "v.npy", "--kb", kb), "v.npy is there already")
    assert (tmp_path / "v.npy").read_text() == "mine"
    assert_refused(realm("import", "huggingface", tmp_path / "hf", "--kb", kb), "kb is there already")


def test_every_command_refuses_what_is_missing_in_one_line(realm: Run, tmp_path: Path, model: Path) -> None:
    none = tmp_path / "none"
    assert_refused(realm("import", "huggingface", none, "--kb", tmp_path / "kb"), "No config.json in")
    assert_refused(realm("import", "google", none, "--kb", tmp_path / "kb"), "No folder")
    assert_refused(realm("import", "dpr", none, "--kb", tmp_path / "kb", "--model", model), "cannot be read")
    for kind, out in (("huggingface", "hf"), ("blocks", "b.parquet"), ("vectors", "v.npy")):
        assert_refused(realm("export", kind, tmp_path / out, "--kb", none), "No knowledge base at")
    assert not list(tmp_path.iterdir())


def test_damaged_input_is_refused_in_one_line_and_leaves_nothing(realm: Run, kb: Path, tmp_path: Path) -> None:
    assert realm("export", "huggingface", tmp_path / "hf", "--kb", kb).code == 0
    records = tmp_path / "hf" / "block_records.npy"
    records.write_bytes(records.read_bytes()[:-200])
    there = sorted(tmp_path.iterdir())
    assert_refused(realm("import", "huggingface", tmp_path / "hf", "--kb", tmp_path / "new"), "block_records.npy")
    shutil.copy(records, tmp_path / "hf" / "model.safetensors")
    assert_refused(realm("import", "huggingface", tmp_path / "hf", "--kb", tmp_path / "new"), "cannot be read")
    assert sorted(tmp_path.iterdir()) == there
