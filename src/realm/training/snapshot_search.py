"""Exact search over a snapshot's vectors: on a graphics card tile by tile, on a processor through `realm.index`.

    vectors, a tile at a time ──matmul──> scores ──maxima of groups of rows──> k groups ──> keys ──> best k so far

Memory is that of a tile, whatever the rows. Of the rows of a tile, the best k are in the k groups with the largest
maxima, ties going to the lower group: each of these groups has a row that comes before any row of the others. A
key is a score and a row in one integer, so that of equal scores the lower row comes first on every device. Knows no
blocks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from realm.index.exact import ExactIndex, checked
from realm.index.vectors import VectorStore
from realm.training.corpus_vectors import CorpusVectors

_SCORES_AT_ONCE = 1 << 25
_NUMBERS_AT_ONCE = 1 << 27
_MAX_QUERIES = 512
_LOW = 0xFFFFFFFF
_SHARE_OF_FREE_MEMORY = 0.5


class SnapshotIndex:
    """Finds the blocks with the largest inner product.

    Args:
        vectors: Of a snapshot.
        device: Where to search. On a graphics card as many vectors stay there as fit half of its free memory.
    """

    def __init__(self, vectors: CorpusVectors, device: torch.device) -> None:
        self.device = torch.device(device)
        self.rows = vectors.vectors.rows
        self._store = vectors.vectors
        self._exact = ExactIndex(vectors.vectors, codes=vectors.codes) if self.device.type == "cpu" else None
        self._tiles = None if self._exact else Tiles(vectors.vectors, self.device, _room(self.device))

    def search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The best rows of each query, best first; of equal scores the lower row first.

        Args:
            queries: (queries, dim), finite, on any device.
            k: How many rows to find for each, at least 1.

        Returns:
            Scores (queries, k) float32 and rows (queries, k) int64, on the device; fewer columns if there are fewer
            blocks.

        Raises:
            KnowledgeBaseError: The queries do not have the vectors' dimension.
            ValueError: `k` is below 1, or a query is not finite.
        """
        asked = queries.detach().float()
        if self._exact is not None:
            hits = self._exact.search(asked.cpu().numpy(), k)
            return torch.from_numpy(hits.scores), torch.from_numpy(hits.rows)
        assert self._tiles is not None
        checked(asked.cpu().numpy(), k, self._store, None)
        return search_tiles(self._tiles, asked.to(self.device), k)


class Tiles:
    """Vectors on a device, some rows at a time; the first ones stay there.

    Args:
        store: The vectors.
        device: Where they go.
        resident_bytes: How much of the device's memory they may keep.
    """

    def __init__(self, store: VectorStore, device: torch.device, resident_bytes: int) -> None:
        self.rows, self.dim = store.rows, store.dim
        self._store, self._device = store, device
        resident = min(store.rows, resident_bytes // (2 * store.dim))
        self._resident = torch.empty((resident, store.dim), dtype=torch.float16, device=device)
        for first, halves in store.chunks(max(1, _NUMBERS_AT_ONCE // store.dim)):
            part = self._resident[first : first + len(halves)]
            part.copy_(torch.from_numpy(halves[: len(part)]))

    def __call__(self, max_rows: int) -> Iterator[tuple[int, Tensor]]:
        """First row and up to so many vectors, in float32, in order."""
        for first, halves in self._store.chunks(max_rows):
            last = first + len(halves)
            is_resident = last <= len(self._resident)
            tile = self._resident[first:last] if is_resident else torch.from_numpy(halves).to(self._device)
            yield first, tile.float()


def search_tiles(tiles: Tiles, queries: Tensor, k: int, scores_at_once: int = _SCORES_AT_ONCE) -> tuple[Tensor, Tensor]:
    """Search by matrix products; see `SnapshotIndex.search`."""
    k = min(k, tiles.rows)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.inference_mode(), torch.autocast(queries.device.type, enabled=False):
            parts = [_best(tiles, part, k, scores_at_once) for part in queries.split(_MAX_QUERIES)]
    finally:
        torch.set_float32_matmul_precision(before)
    keys = torch.cat(parts).clone()
    return _scores_of(keys), _LOW - (keys & _LOW)


def _best(tiles: Tiles, queries: Tensor, k: int, scores_at_once: int) -> Tensor:
    """Keys of the best k rows, best first."""
    best = torch.empty((len(queries), 0), dtype=torch.int64, device=queries.device)
    max_rows = max(1, min(scores_at_once // max(1, len(queries)), _NUMBERS_AT_ONCE // tiles.dim))
    for first, rows in tiles(max_rows):
        found = torch.cat([best, _keys_of_tile(queries @ rows.T, first, k)], dim=1)
        best = found.topk(min(k, found.shape[1]), dim=1).values
    return best


def _keys_of_tile(scores: Tensor, first: int, k: int) -> Tensor:
    """Keys of some rows of a tile, among them its best k."""
    rows = scores.shape[1]
    group = 1 << int(math.log2(max(1.0, rows / k)) / 2)
    numbers = torch.arange(first, first + rows, device=scores.device)
    if group > 1:
        whole = rows - rows % group
        grouped = scores[:, :whole].unflatten(1, (-1, group))
        maxima = grouped.amax(2)
        best = _keys(maxima, torch.arange(maxima.shape[1], device=scores.device)).topk(min(k, maxima.shape[1])).values
        chosen = (_LOW - (best & _LOW))[:, :, None].expand(-1, -1, group)
        places = chosen * group + torch.arange(group, device=scores.device)
        found = _keys(grouped.gather(1, chosen).flatten(1), places.flatten(1) + first)
        return torch.cat([found, _keys(scores[:, whole:], numbers[whole:])], dim=1)
    return _keys(scores, numbers)


def _keys(scores: Tensor, rows: Tensor) -> Tensor:
    """Integers in the order of scores; of equal scores the lower row has the larger one."""
    bits = (scores + 0.0).view(torch.int32)  # makes -0.0 the same as 0.0
    return (_in_order(bits).long() << 32) | (_LOW - rows)


def _scores_of(keys: Tensor) -> Tensor:
    return _in_order((keys >> 32).int()).view(torch.float32)


def _in_order(bits: Tensor) -> Tensor:
    """Bits of float32 numbers as integers in the numbers' order, and back."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def _room(device: torch.device) -> int:
    free, _ = torch.cuda.mem_get_info(device)
    return int(free * _SHARE_OF_FREE_MEMORY)
