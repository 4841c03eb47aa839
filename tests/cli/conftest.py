"""The command line in this process, and a small knowledge base with its tiny model."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "openqa"))  # the tiny model is that room's

import torch
from command_line import Run, Said
from tiny_model import stories, write_jsonl, write_tiny_model
from transformers.utils import logging

from realm.cli.main import main
from realm.openqa import model_folder


@pytest.fixture(scope="session", autouse=True)
def same_numbers_in_any_batch() -> Iterator[None]:
    """Half-precision arithmetic, where a processor has it, rounds by the shape of the batch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_folder, "fastest_dtype", lambda device: torch.float32)
        yield


@pytest.fixture
def realm(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line with these arguments."""
    # `main` sets these for the libraries, which have read them already.
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "error")
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    logging.disable_progress_bar()

    def run(*arguments: object) -> Said:
        monkeypatch.setattr("sys.argv", ["realm", *map(str, arguments)])
        capsys.readouterr()
        code = main()
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny model."""
    return write_tiny_model(tmp_path_factory.mktemp("cli") / "tiny")


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """A knowledge base of eight stories, for `kb` to copy."""
    from realm.openqa.indexing import index_sources
    from realm.openqa.model_folder import ModelFolder

    folder = tmp_path_factory.mktemp("kb")
    source = write_jsonl(folder / "stories.jsonl", stories(8))
    index_sources(folder / "kb", [source], ModelFolder.open(str(model)))
    return folder / "kb"


@pytest.fixture
def kb(tmp_path: Path, made_once: Path) -> Path:
    """A knowledge base of eight stories."""
    return shutil.copytree(made_once, tmp_path / "kb")
