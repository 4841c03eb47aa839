"""`block_emb` of RealmForOpenQA on disk: a file beside the weights, or among them, where transformers 4.37.2 has it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from realm.models.checkpoints import Checkpoint, find_file

BLOCK_EMB_FILE = "block_emb.safetensors"


def read_block_emb(name_or_path: str, options: Mapping[str, Any]) -> Tensor | None:
    """The vectors of a saved model, memory-mapped; None if it has none.

    Args:
        name_or_path: A folder, or the name of a model on the Hub.
        options: Those of `from_pretrained` that say where to look.
    """
    beside = find_file(name_or_path, BLOCK_EMB_FILE, options)
    if beside is not None:
        with safe_open(beside, framework="pt") as file:
            block_emb: Tensor = file.get_tensor("block_emb")
            return block_emb
    return Checkpoint(name_or_path, options).get("block_emb")


def write_block_emb(folder: Path, block_emb: Tensor) -> None:
    """Put the vectors beside the weights in one step: the file there may be the one they are mapped from."""
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / f"{BLOCK_EMB_FILE}.tmp"
    save_file({"block_emb": block_emb.contiguous()}, fresh)
    os.replace(fresh, folder / BLOCK_EMB_FILE)
