"""A corpus of towns and a pre-training job over it; as a program it trains runs that are killed, or one of several.

python pretrain_towns.py TRUNK FOLDER RUN [KEY=VALUE...]        one process; its rank comes from the environment
python pretrain_towns.py TRUNK FOLDER RUN --kill 3,5 [...]      RUN/cut is killed at these steps and resumed, RUN/whole
                                                                never stops; prints how every process ended

Every town has two blocks that tell the same year and river in other words, so that one helps to fill in the other.
"""

from __future__ import annotations

import random
import sys
import tomllib
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mortal_runs import Mortal, ends_of_cut_and_whole
from tiny_trunk import SYLLABLES, tokenizer_of, write_lines

import realm.models.precision
from realm.training.distributed import Processes, leave
from realm.training.loop import train
from realm.training.pretrain import PretrainJob
from realm.training.pretrain_recipe import PretrainRecipe
from realm.training.pretrain_sources import Sources, open_sources

TOWNS = 12


def town_documents(towns: int = TOWNS, seed: int = 3) -> list[dict[str, Any]]:
    """Two documents of each town, each short enough for one block."""
    choice = random.Random(seed)
    records = []
    for number in range(towns):
        town, river = ("".join(choice.sample(SYLLABLES, 2)).capitalize() for _ in range(2))
        year = 1200 + choice.randrange(700)
        texts = (
            f"The old bridge of {town} was built in {year}. It stands near the river {river}.",
            f"People built a mill in {year} by the river {river}. The town has the name {town}.",
        )
        records += [{"id": f"{number} {n}", "title": f"Page {number}", "text": text} for n, text in enumerate(texts)]
    return records


def town_recipe(trunk: Path, folder: Path, **changes: Any) -> PretrainRecipe:
    """A recipe that two dozen blocks are enough for; documents and cache are in `folder`."""
    values: dict[str, Any] = {
        "corpus": str(folder / "towns-corpus.jsonl"), "encoder": str(trunk), "cache": str(folder / "cache"), "steps": 6,
        "batch_sentences": 6, "candidates": 4, "query_seq_len": 48, "candidate_seq_len": 80, "micro_rows": 12,
        "dropout": 0.0, "dimensions": 16, "learning_rate": 1e-3, "warmup_steps": 1, "log_every_steps": 1,
        "save_every_steps": 2, "tensorboard": False, "refresh_every_steps": 3, "held_out_share": 0.2,
        "held_out_sentences": 6, "evaluate_every_steps": 3,
    }  # fmt: skip
    return PretrainRecipe(**{**values, **changes})


def write_towns(folder: Path) -> Path:
    return write_lines(folder / "towns-corpus.jsonl", town_documents())


def town_sources(trunk: Path, recipe: PretrainRecipe) -> Sources:
    return open_sources(recipe, tokenizer_of(trunk), Processes())


class MortalJob(Mortal, PretrainJob):
    """Dies at the beginning of a step, when its snapshot is published."""


def train_run(recipe: PretrainRecipe, run: Path, kill_step: int = -1) -> None:
    """Train or resume a run."""
    job = MortalJob(recipe, run)
    job.kill_step = kill_step
    train(job, recipe.loop(), run, evaluate=job.held_out_figures if recipe.evaluate_every_steps else None)


if __name__ == "__main__":
    # As conftest does for the tests: processors with bfloat16 would compute something else.
    realm.models.precision.fastest_dtype = lambda device: torch.float32
    trunk, folder, run = map(Path, sys.argv[1:4])
    kill_steps = [int(step) for step in sys.argv[5].split(",")] if "--kill" in sys.argv else []
    items = dict(item.split("=", 1) for item in sys.argv[4:] if "=" in item)
    changes = {key: tomllib.loads(f"value = {value}")["value"] for key, value in items.items()}
    recipe = town_recipe(trunk, folder, **changes)
    if kill_steps:
        print(*ends_of_cut_and_whole(partial(train_run, recipe), run, kill_steps))
    else:
        train_run(recipe, run)
        leave()
