"""A tiny model, a corpus of towns and questions about them; as a program it trains runs that are killed, or one of
several.

python finetune_towns.py FOLDER RUN [KEY=VALUE...]           one process; rank and number from the environment
python finetune_towns.py FOLDER RUN --kill 3,5 [...]         RUN/cut is killed at these steps and resumed, RUN/whole
                                                                   never stops; prints how every process ended
"""

from __future__ import annotations

import sys
import tomllib
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mortal_runs import Mortal, ends_of_cut_and_whole
from pretrain_towns import town_documents
from tiny_trunk import write_lines
from torch import Tensor

import realm.models.precision
from realm.openqa.model import RealmForOpenQA
from realm.training.distributed import leave
from realm.training.finetune import FinetuneJob
from realm.training.finetune_recipe import FinetuneRecipe
from realm.training.loop import train
from realm.training.tokenizer_files import copy_tokenizer
from realm.training.warm_start import config_from_bert, load_trunk


def town_questions() -> list[dict[str, Any]]:
    """Year and river of every town: the first four towns' years as expressions."""
    records: list[dict[str, Any]] = []
    for number, record in enumerate(town_documents()[::2]):
        words = record["text"].replace(".", "").split()
        town, year, river = words[4], words[8], words[-1]
        expression = {"answers": [f"{year[:2]}{year[2]}[{year[3]}]"], "answer_type": "regex"}
        asked = {"question": f"when was the old bridge of {town} built?"}
        records.append({**asked, **(expression if number < 4 else {"answers": [year, "never said"]})})
        records.append({"question": f"the bridge of {town} is near which river?", "answers": [river]})
    return records


def reading_examples() -> list[dict[str, Any]]:
    """The year of every town, marked in the first of its two documents."""
    records = []
    for number, record in enumerate(town_documents()[::2]):
        year = record["text"].split(". ")[0].split()[-1]
        answers = [{"text": year, "answer_start": record["text"].index(year)}]
        records.append(
            {"id": str(number), "title": record["title"], "context": record["text"],
             "question": f"what is the year of page {number}?", "answers": answers}
        )  # fmt: skip
    return records


def write_towns(trunk: Path, folder: Path) -> Path:
    """Write `towns-corpus.jsonl`, `asked.jsonl`, `read.jsonl` and the model folder `start`."""
    write_lines(folder / "towns-corpus.jsonl", town_documents())
    write_lines(folder / "asked.jsonl", town_questions())
    write_lines(folder / "read.jsonl", reading_examples())
    torch.manual_seed(5)
    config = config_from_bert(trunk, 0, retriever_proj_size=16, span_hidden_size=12, initializer_range=0.3)
    config.architectures = ["RealmForOpenQA"]
    model = RealmForOpenQA(config)
    load_trunk(model.embedder.realm, trunk)
    load_trunk(model.reader.realm, trunk)
    model.save_pretrained(folder / "start")
    copy_tokenizer(trunk, folder / "start")
    return folder


def town_recipe(folder: Path, **changes: Any) -> FinetuneRecipe:
    """A recipe that two dozen blocks are enough for; all files are in `folder`."""
    values: dict[str, Any] = {
        "corpus": "towns-corpus.jsonl", "questions": ("asked.jsonl",), "model": str(folder / "start"),
        "data": str(folder), "cache": str(folder / "cache"), "steps": 6, "batch_questions": 6, "retrieved": 10,
        "reader_blocks": 3, "micro_rows": 6, "max_question_pieces": 40, "block_seq_len": 80, "reader_seq_len": 120,
        "max_span_width": 6, "dropout": 0.0, "learning_rate": 1e-3, "warmup_steps": 1, "log_every_steps": 1,
        "save_every_steps": 2, "tensorboard": False,
    }  # fmt: skip
    if "embedder" in changes:
        del values["model"]
    return FinetuneRecipe(**{**values, **changes})


def ready(folder: Path, run: Path, step: int = 0, **changes: Any) -> FinetuneJob:
    """A job with its first vectors, without dropout."""
    job = FinetuneJob(town_recipe(folder, **changes), run)
    job.model.eval()
    job.begin_step(step)
    return job


def gradients_of_step(job: FinetuneJob, step: int) -> tuple[dict[str, float], dict[str, Tensor]]:
    job.model.zero_grad()
    figures = job.gradients(step, lambda loss: loss.backward())
    return figures, {name: p.grad.clone() for name, p in job.model.named_parameters() if p.grad is not None}


class MortalJob(Mortal, FinetuneJob):
    """Dies at the beginning of a step."""


def train_run(recipe: FinetuneRecipe, run: Path, kill_step: int = -1) -> None:
    """Train or resume a run."""
    job = MortalJob(recipe, run)
    job.kill_step = kill_step
    train(job, recipe.loop(), run, evaluate=job.dev_figures if recipe.evaluate_every_steps else None)


if __name__ == "__main__":
    # As conftest does for the tests: processors with bfloat16 would compute something else.
    realm.models.precision.fastest_dtype = lambda device: torch.float32
    folder, run = Path(sys.argv[1]), Path(sys.argv[2])
    kill_steps = [int(step) for step in sys.argv[4].split(",")] if "--kill" in sys.argv else []
    items = dict(item.split("=", 1) for item in sys.argv[3:] if "=" in item)
    changes = {key: tomllib.loads(f"value = {value}")["value"] for key, value in items.items()}
    recipe = town_recipe(folder, **changes)
    if kill_steps:
        print(*ends_of_cut_and_whole(partial(train_run, recipe), run, kill_steps))
    else:
        train_run(recipe, run)
        leave()
