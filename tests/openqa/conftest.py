"""One tiny model and one small knowledge base for all tests of this room; nobody may change them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny_model import stories, write_jsonl, write_tiny_model

from realm.openqa import model_folder
from realm.openqa.indexing import index_sources
from realm.openqa.model_folder import ModelFolder
from realm.records import Document


@pytest.fixture(scope="session", autouse=True)
def same_numbers_in_any_batch() -> Iterator[None]:
    """Half-precision arithmetic, where a processor has it, rounds by the shape of the batch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_folder, "fastest_dtype", lambda device: torch.float32)
        yield


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny model."""
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> ModelFolder:
    """The tiny model."""
    return ModelFolder.open(str(tiny_folder))


@pytest.fixture(scope="session")
def documents() -> list[Document]:
    """What stands in the shared knowledge base."""
    return stories(12)


@pytest.fixture(scope="session")
def shared_kb(tmp_path_factory: pytest.TempPathFactory, tiny: ModelFolder, documents: list[Document]) -> Path:
    """A knowledge base to read from; copy it to write to it."""
    folder = tmp_path_factory.mktemp("shared")
    index_sources(folder / "kb", [write_jsonl(folder / "stories.jsonl", documents)], tiny)
    return folder / "kb"
