"""One tiny trunk and its reading files for all tests of this room, and arithmetic in full precision."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "openqa"))  # a tiny model to search with is that room's

import torch
from tiny_embedder import tiny_blocks
from tiny_trainer import Trainer, trainers_of
from tiny_trunk import documents, town_examples, write_lines, write_trunk

from realm.training.token_store import TokenStore


@pytest.fixture(autouse=True)
def full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train in float32 also where the processor has bfloat16, so that results can be compared closely."""
    monkeypatch.setattr("realm.models.precision.fastest_dtype", lambda device: torch.float32)


@pytest.fixture(scope="session")
def trunk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_trunk(tmp_path_factory.mktemp("trunk"))


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the files `towns.jsonl` and `more.jsonl` (reading), `documents.jsonl` and `questions.jsonl`."""
    folder = tmp_path_factory.mktemp("data")
    write_lines(folder / "towns.jsonl", town_examples(6))
    write_lines(folder / "more.jsonl", town_examples(4, seed=5))
    write_lines(folder / "documents.jsonl", documents(5))
    write_lines(folder / "questions.jsonl", [{"question": f"who built mill {number}?"} for number in range(7)])
    return folder


@pytest.fixture
def blocks(trunk: Path, tmp_path: Path) -> TokenStore:
    """Ten blocks to embed."""
    return tiny_blocks(trunk, tmp_path, 10)


@pytest.fixture
def trainer(trunk: Path, tmp_path: Path, blocks: TokenStore) -> Callable[..., Trainer]:
    """Makes trainers of one run; see `trainers_of`."""
    return trainers_of(tmp_path, trunk, blocks)
