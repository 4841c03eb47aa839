"""A trainer of a few numbers that refreshes its index, and the other process's part of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tiny_embedder import change, tiny_embedder
from tiny_trunk import tokenizer_of

from realm.features.inputs import InputBuilder
from realm.training.embedding_progress import EmbeddingProgress
from realm.training.exports import RefreshPlan
from realm.training.refresh import Refresher
from realm.training.refresh_process import next_export
from realm.training.refresh_recipe import RefreshRecipe
from realm.training.snapshot_making import make_snapshot
from realm.training.token_store import TokenStore

CPU = torch.device("cpu")


def recipe_of(**keys: Any) -> RefreshRecipe:
    """A recipe that refreshes every three steps unless told otherwise."""
    return RefreshRecipe(**{"steps": 30, "learning_rate": 0.1, "refresh_every_steps": 3, **keys})


@dataclass
class Trainer:
    """A trainer whose steps change the embedder in a way that depends on step and weights alone."""

    run: Path
    trunk: Path
    blocks: TokenStore
    recipe: RefreshRecipe
    said: list[str] = field(default_factory=list)
    embedded: list[EmbeddingProgress] = field(default_factory=list)
    step: int = 0

    def __post_init__(self) -> None:
        self.embedder = tiny_embedder(self.trunk)
        self.builder = InputBuilder(tokenizer_of(self.trunk))
        self.refresher = Refresher(
            self.run, self.recipe, self.blocks, self.builder, self.embedder,
            RefreshPlan(str(next(self.blocks.folder.parents[1].glob("*.jsonl"))), max_pieces=160),
            self.trunk / "tokenizer.json", say=self.said.append, progress=self.embedded.append,
        )  # fmt: skip

    def go(self, steps: int) -> list[tuple[int, str]]:
        """Train; give the snapshot of each step, and a score by it, which shows other vectors."""
        used = []
        for _ in range(steps):
            snapshot = self.refresher.at_border(self.step)
            scores, rows = snapshot.index(CPU).search(torch.ones(1, 16), 3)
            used.append((snapshot.step, f"{rows.tolist()} {scores.tolist()}"))
            change(self.embedder, self.step)
            self.step += 1
        return used

    def checkpoint(self) -> dict[str, Any]:
        """What the loop keeps."""
        weights = {key: value.clone() for key, value in self.embedder.state_dict().items()}
        (self.run / "checkpoint").mkdir(exist_ok=True)
        (self.run / "checkpoint" / "state.json").write_text(json.dumps(self.refresher.state()))
        return {"weights": weights, "step": self.step, "state": self.refresher.state()}

    def resume(self, saved: dict[str, Any]) -> Trainer:
        """What a new process does."""
        self.embedder.load_state_dict(saved["weights"])
        self.step = saved["step"]
        self.refresher.restore(saved["state"])
        return self


def refreshed(work: Trainer) -> int:
    """What the other process does once."""
    export = next_export(work.run, work.blocks)
    assert export is not None
    make_snapshot(work.run, export, work.blocks, work.builder, CPU, max_pieces=160)
    return export.step


def trainers_of(folder: Path, trunk: Path, blocks: TokenStore) -> Callable[..., Trainer]:
    """Makes trainers of one run, whose index another process refreshes unless told otherwise."""

    def make(**keys: Any) -> Trainer:
        (folder / "run").mkdir(exist_ok=True)
        keys = {"refresh": "other_process", "poll_seconds": 0.01, **keys}
        return Trainer(folder / "run", trunk, blocks, recipe_of(**keys))

    return make


def begun(work: Trainer) -> Trainer:
    """A trainer that has exported its first weights."""
    work.refresher._begin(0)
    work.refresher._export_if_due(0)
    return work
