"""A small knowledge base with its tiny model, served in this process."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "openqa"))  # the tiny model is that room's

import torch
from tiny_model import stories, write_jsonl, write_tiny_model
from waiting import QUICK

from realm.openqa import model_folder
from realm.openqa.ask import OpenQA
from realm.openqa.indexing import index_sources
from realm.openqa.model_folder import ModelFolder
from realm.serving.service import Service


@pytest.fixture(scope="session", autouse=True)
def same_numbers_in_any_batch() -> Iterator[None]:
    """Half-precision arithmetic, where a processor has it, rounds by the shape of the batch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_folder, "fastest_dtype", lambda device: torch.float32)
        yield


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    """The tiny model."""
    return ModelFolder.open(str(write_tiny_model(tmp_path_factory.mktemp("serving") / "tiny")))


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory, model: ModelFolder) -> Path:
    """A knowledge base of eight stories, to read from."""
    folder = tmp_path_factory.mktemp("kb")
    index_sources(folder / "kb", [write_jsonl(folder / "stories.jsonl", stories(8))], model)
    return folder / "kb"


@pytest.fixture
def kb(tmp_path: Path, made_once: Path) -> Path:
    """A knowledge base of eight stories, to write to."""
    return shutil.copytree(made_once, tmp_path / "kb")


@pytest.fixture(scope="session")
def reference(made_once: Path) -> OpenQA:
    """The same knowledge base without a server, for askers elsewhere."""
    found = OpenQA.load(made_once)
    return OpenQA(found.knowledge_base, found.model, hides_folders=True)


@pytest.fixture(scope="session")
def shared(made_once: Path) -> Iterator[Service]:
    """A service that only reads."""
    with Service(made_once, limits=QUICK) as service:
        yield service


@pytest.fixture
def writable(kb: Path) -> Iterator[Service]:
    """A service whose documents may be changed."""
    with Service(kb, limits=QUICK, is_writable=True) as service:
        yield service
