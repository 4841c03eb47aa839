"""The untouched trunk as an embedder, for comparison: its mean-pooled states, scaled to length 1.

States of the blocks of a knowledge base are kept in a folder, so that a run that is cut short goes on where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from realm.features.inputs import InputBuilder, Row
from realm.openqa.indexing import MAX_BLOCK_PIECES
from realm.openqa.knowledge_base import KnowledgeBase
from realm.training.array_files import holds_array, write_array
from realm.training.trunk_states import TrunkStates

BLOCKS_PER_PART = 2048


def mean_pooled(states: NDArray[np.float16]) -> NDArray[np.float32]:
    """Vectors of texts, (rows, hidden), from what `TrunkStates` says of them."""
    means = states[:, 0].astype(np.float32)
    return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), np.float32)


class KeptStates:
    """States of all blocks of a knowledge base, in the order of its rows.

    Args:
        trunk: Makes those that are missing.
        builder: Pads rows.
        knowledge_base: Whose blocks, none of them removed; the folder must be for it alone.
        folder: FOLDER/000000.npy and so on, of 2,048 blocks each.
    """

    def __init__(self, trunk: TrunkStates, builder: InputBuilder, knowledge_base: KnowledgeBase, folder: Path) -> None:
        self._trunk = trunk
        self._builder = builder
        self._knowledge_base = knowledge_base
        self._folder = folder

    def parts(self) -> Iterator[NDArray[np.float16]]:
        """(blocks, 2, hidden) for every part; computed if need be."""
        self._folder.mkdir(parents=True, exist_ok=True)
        total, made, begin = self._knowledge_base.live_blocks, 0, time.monotonic()
        for number, first in enumerate(range(0, total, BLOCKS_PER_PART)):
            rows = range(first, min(first + BLOCKS_PER_PART, total))
            path = self._folder / f"{number:06d}.npy"
            if not holds_array(path, (len(rows), 2, self._trunk.hidden_size), np.float16):
                write_array(path, self._trunk.of(self._inputs(rows)).numpy())
                made += len(rows)
                rate = made / (time.monotonic() - begin)
                print(f"  {rows.stop:,} of {total:,} blocks, {rate:.1f} a second", flush=True)
            yield np.load(path, mmap_mode="r", allow_pickle=False)

    def _inputs(self, rows: Sequence[int]) -> list[Row]:
        blocks = self._knowledge_base.take_blocks(list(rows))
        return [self._builder.block(each.title_ids, each.block.token_ids, MAX_BLOCK_PIECES) for each in blocks]


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
