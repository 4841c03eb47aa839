"""The untouched trunk as an embedder, for comparison: its mean-pooled states, scaled to length 1.

States of the blocks of a knowledge base are kept in a folder, so that a run that is cut short goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from realm.openqa.default_model import TRUNK_SHA256
from realm.openqa.indexing import MAX_BLOCK_PIECES
from realm.openqa.knowledge_base import KnowledgeBase
from realm.openqa.model_folder import ModelFolder
from realm.training.trunk_states import TrunkStates

BLOCKS_PER_PART = 2048


def mean_pooled(states: NDArray[np.float16]) -> NDArray[np.float32]:
    """Vectors of texts, (rows, hidden), from what `TrunkStates` says of them."""
    means = states[:, 0].astype(np.float32)
    return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), np.float32)


def kept_states(
    trunk: TrunkStates, model: ModelFolder, base: KnowledgeBase, folder: Path
) -> Iterator[NDArray[np.float16]]:
    """(blocks, 2, hidden) for every 2,048 blocks of a knowledge base, in the order of its rows; computed if missing.

    Args:
        trunk: Makes those that are missing.
        model: Pads rows.
        base: Whose blocks, none of them removed.
        folder: Where they are kept; see `TrunkStates.cached`.
    """
    for first in range(0, base.live_blocks, BLOCKS_PER_PART):
        rows = range(first, min(first + BLOCKS_PER_PART, base.live_blocks))
        inputs = [
            model.inputs.block(each.title_ids, each.block.token_ids, MAX_BLOCK_PIECES)
            for each in base.take_blocks(rows)
        ]
        yield trunk.cached(inputs, folder, TRUNK_SHA256).numpy()
        print(f"  {rows.stop:,} of {base.live_blocks:,} blocks", flush=True)


def best_rows(questions: NDArray[np.float32], parts: Iterator[NDArray[np.float32]], k: int) -> list[list[int]]:
    """Numbers of the `k` vectors with the largest inner products with each question, best first."""
    scores = torch.empty(len(questions), 0)
    rows = torch.empty(len(questions), 0, dtype=torch.int64)
    first = 0
    for part in parts:
        fresh = torch.from_numpy(questions @ part.T)
        numbers = torch.arange(first, first + len(part)).expand(len(questions), -1)
        scores, order = torch.cat([scores, fresh], 1).topk(min(k, rows.size(1) + len(part)))
        rows = torch.cat([rows, numbers], 1).gather(1, order)
        first += len(part)
    return [row.tolist() for row in rows]
