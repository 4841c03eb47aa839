"""Blocks in memory, as a block source, and a job over them; as a program it trains one process of several.

python memory_blocks.py TRUNK RUN              rank and number of processes come from the environment, as torchrun sets
                                               them
python memory_blocks.py TRUNK RUN --kill 3,5   RUN/cut is killed at these steps and resumed, RUN/whole never stops;
                                               prints how every process ended
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mortal_runs import Mortal, ends_of_cut_and_whole
from tiny_trunk import documents, tokenizer_of

import realm.models.precision
from realm.training.block_source import TrainingBlock
from realm.training.distributed import leave
from realm.training.ict import IctJob
from realm.training.ict_recipe import IctRecipe
from realm.training.loop import train

ONE_SENTENCE = "The old bridge of the town is near."


class MemoryBlocks:
    """A block per text."""

    digest = "of blocks"
    tokenizer_digest = "of a tokenizer"

    def __init__(self, trunk: Path, titled_texts: Sequence[tuple[str, str]]) -> None:
        tokenizer = tokenizer_of(trunk)
        self.blocks = [
            TrainingBlock(f"block {number}", title, text, tokenizer.ids_of(title), tokenizer.ids_of(text))
            for number, (title, text) in enumerate(titled_texts)
        ]

    def __len__(self) -> int:
        return len(self.blocks)

    def take(self, rows: Sequence[int]) -> list[TrainingBlock]:
        return [self.blocks[row] for row in rows]

    def utf8_texts(self, rows: Sequence[int]) -> list[bytes]:
        return [block.text.encode() for block in self.take(rows)]


def memory_blocks(trunk: Path, count: int = 30) -> MemoryBlocks:
    """Blocks of four different sentences; every tenth has one sentence only."""
    texts = [(record["title"], record["text"]) for record in documents(count)]
    return MemoryBlocks(trunk, [(t, ONE_SENTENCE if n % 10 == 9 else x) for n, (t, x) in enumerate(texts)])


def ict_recipe(folder: Path, **changes: Any) -> IctRecipe:
    """A recipe that thirty blocks are enough for."""
    values: dict[str, Any] = {
        "blocks": "memory", "trunk": str(folder), "steps": 4, "batch_blocks": 12, "held_out_blocks": 6,
        "max_question_pieces": 48, "max_block_pieces": 150, "dropout": 0.0, "dimensions": 16,
        "pieces_at_once": 400, "learning_rate": 1e-3, "warmup_steps": 1, "log_every_steps": 1, "tensorboard": False,
        "evaluate_every_steps": 2,
    }  # fmt: skip
    return IctRecipe(**{**values, **changes})


class MortalJob(Mortal, IctJob):
    """Dies at the beginning of a step."""


def train_run(recipe: IctRecipe, run: Path, kill_step: int = -1) -> None:
    """Train or resume a run."""
    job = MortalJob(recipe, memory_blocks(Path(recipe.trunk)))
    job.kill_step = kill_step
    train(job, recipe.loop(), run, evaluate=job.held_out_figures)


if __name__ == "__main__":
    # As conftest does for the tests: processors with bfloat16 would compute something else.
    realm.models.precision.fastest_dtype = lambda device: torch.float32
    folder, run = Path(sys.argv[1]), Path(sys.argv[2])
    if "--kill" in sys.argv:
        recipe = ict_recipe(folder, dropout=0.1, steps=6, pieces_at_once=200, save_every_steps=2)
        kill_steps = [int(step) for step in sys.argv[4].split(",")]
        print(*ends_of_cut_and_whole(partial(train_run, recipe), run, kill_steps))
    else:
        train_run(ict_recipe(folder), run)
        leave()
