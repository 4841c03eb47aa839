"""`realm refresh`, and blocks for training out of a knowledge base and its export."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
import typer
from command_line import Run, Said
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))  # the tiny trainer's parts are that room's

from realm.cli.refresh import add_to
from realm.errors import RecipeError, UsageError
from realm.openqa.model_folder import ModelFolder
from realm.training.block_source import open_blocks
from realm.training.exports import Export, RefreshPlan, export_embedder, write_plan
from realm.training.heartbeat import claimed
from realm.training.snapshots import Snapshot, snapshot_folders


def run_refresh(*arguments: object) -> Said:
    """The command by itself; errors are raised as they are."""
    app = typer.Typer()
    app.command("other")(lambda: None)
    add_to(app)
    done = CliRunner().invoke(app, ["refresh", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Said(done.exit_code, done.stdout, done.stderr)


@pytest.fixture
def run(tmp_path: Path, kb: Path, model: Path) -> Path:
    """A run that has exported its embedder once."""
    folder = tmp_path / "run"
    folder.mkdir()
    write_plan(folder, RefreshPlan(str(kb)), model / "tokenizer.json")
    export_embedder(folder, 0, ModelFolder.open(str(model)).networks.embedder)
    return folder


def test_once_embeds_the_newest_export_and_ends(run: Path, kb: Path, model: Path) -> None:
    said = run_refresh(run, "--once")
    assert (said.code, said.out) == (0, f"{run}: 1 snapshots published\n")
    opened = ModelFolder.open(str(model))
    blocks = open_blocks(kb, opened.tokenizer, run / "cache")
    snapshot = Snapshot.open(snapshot_folders(run)[0], blocks, opened.networks.config)
    rows = [opened.inputs.block(block.title_ids, block.body_ids, 288) for block in blocks.take(range(len(blocks)))]
    found = snapshot.vectors.vectors.take(torch.arange(len(blocks)).numpy())
    torch.testing.assert_close(torch.from_numpy(found), torch.from_numpy(opened.embed(rows)), rtol=2e-3, atol=2e-3)
    assert run_refresh(run, "--once").out == f"{run}: 0 snapshots published\n"


def test_it_ends_when_training_is_finished(run: Path) -> None:
    (run / "finished.json").write_text("{}")
    assert run_refresh(run).out == f"{run}: 0 snapshots published\n"
    assert not snapshot_folders(run)


def test_it_may_be_started_before_the_training(run: Path, tmp_path: Path) -> None:
    later = tmp_path / "later"

    def train() -> None:
        time.sleep(0.3)
        shutil.copytree(run / "exports", later / "exports")
        shutil.copytree(run / "refresh", later / "refresh")
        while not snapshot_folders(later):
            time.sleep(0.05)
        (later / "finished.json").write_text("{}")

    trainer = threading.Thread(target=train)
    trainer.start()
    said = run_refresh(later, "--poll-seconds", "0.05")
    trainer.join(60)
    assert said.out == f"{later}: 1 snapshots published\n"
    assert said.err.count("waiting for a training with refresh") == 1


def test_blocks_may_be_elsewhere(run: Path, kb: Path, realm: Run, tmp_path: Path) -> None:
    exported = tmp_path / "blocks.parquet"
    assert realm("export", "blocks", exported, "--kb", kb).code == 0
    write_plan(run, RefreshPlan("/nowhere/on/this/machine"), run / "refresh" / "tokenizer.json")
    with pytest.raises(UsageError, match="no such file or folder"):
        run_refresh(run, "--once")
    assert run_refresh(run, "--once", "--blocks", exported).out == f"{run}: 1 snapshots published\n"


def test_a_folder_that_is_no_such_run_and_a_run_without_exports_are_said(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="is no run whose index another process refreshes"):
        run_refresh(tmp_path / "gone", "--once")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "finished.json").write_text("{}")
    with pytest.raises(RecipeError, match="is no run whose index another process refreshes"):
        run_refresh(tmp_path / "other")
    (tmp_path / "new").mkdir()
    (run / "refresh").rename(tmp_path / "new" / "refresh")
    with pytest.raises(RecipeError, match="has no export yet"):
        run_refresh(tmp_path / "new", "--once")
    assert not (tmp_path / "new" / "refresher").exists()


def test_a_second_refresher_is_refused(run: Path) -> None:
    with claimed(run, 0.05), pytest.raises(UsageError, match="is being refreshed already"):
        run_refresh(run, "--once")
    assert Export.read(run / "exports" / "step-00000000") is not None


@pytest.mark.parametrize("name", ["blocks.parquet", "blocks.jsonl", "blocks.jsonl.gz"])
@pytest.mark.parametrize("pieces", [(), ("--token-ids",)])
def test_a_knowledge_base_and_its_exports_are_the_same_blocks(
    realm: Run, kb: Path, model: Path, tmp_path: Path, name: str, pieces: tuple[str, ...]
) -> None:
    assert realm("remove", "--kb", kb, "story/2").code == 0
    assert realm("export", "blocks", tmp_path / name, "--kb", kb, *pieces).code == 0
    tokenizer = ModelFolder.open(str(model)).tokenizer
    of_base, of_file = (open_blocks(path, tokenizer, tmp_path / "cache") for path in (kb, tmp_path / name))
    assert of_base.folder != of_file.folder
    assert of_base.digest == of_file.digest
    rows = range(len(of_base))
    assert of_base.take(rows) == of_file.take(rows)
