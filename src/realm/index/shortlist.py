"""The rows that may still be among the best for one query, as a scan goes on.

    tile ──rows whose upper bound reaches the bar──> waiting ──sift──> fewer, and a higher bar ──> scored ──> best k

The bar is the k-th largest lower bound so far: k rows score at least that, so a row that cannot reach it is not
among the best. Scores are taken once at the end, or as soon as bounds no longer tell the waiting rows apart. Knows
vectors and rows only.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64

from realm.index.scans import Queries, Tile, score
from realm.index.vectors import VectorStore

_MAX_WAITING = 1 << 16
_PIECE_NUMBERS = 1 << 19
# Of a tile with upper bounds only, so many rows more than asked for are scored if the bar is too low; and all that
# wait, if these are so many more.
_LIKELY_ROWS = 16
_LIKELY_WAITING = 64
# If bounds leave more than this part of a tile, its rows are scored where they are.
_UNDECIDED = 0.25


class Shortlist:
    """The best `k` rows for one query among those seen so far. Numbers are in units of the scaled query."""

    def __init__(self, store: VectorStore, queries: Queries, query: int, k: int) -> None:
        self._store = store
        self._raw = queries.raw[query]
        self._unit = float(np.exp2(queries.exponents[query]))
        self._query = query
        self._k = k
        self._bar = -np.inf
        self._rows = np.empty(0, np.int64)
        self._lower = np.empty(0, np.float64)
        self._upper = np.empty(0, np.float64)

    def add(self, tile: Tile, largest_error: float, query: int | None = None) -> int:
        """Look at the products of a tile. Minus infinity is a row that must not be returned.

        Args:
            tile: The tile.
            largest_error: What its products with the query may be wrong by.
            query: The query's number in the tile, if the tile is of other queries than the shortlist was made with.

        Returns:
            How many rows the bounds could not rule out.
        """
        query = self._query if query is None else query
        products = tile.products[query]
        places = reaching(products, self._bar - largest_error)
        if len(places) > 4 * self._k + 1024:
            worst = float(products.topk(self._k).values[-1])
            if np.isfinite(worst):
                self._bar = max(self._bar, worst - tile.relative * abs(worst) - largest_error)
                places = reaching(products, self._bar - largest_error)
        if tile.rows is not None and len(places) > _UNDECIDED * len(products):
            self._add_scores(tile.first, products, score(tile.rows, self._raw) * np.float64(self._unit))
        elif len(places):
            values = products[torch.from_numpy(places).to(products.device)].double().cpu().numpy()
            errors = tile.errors(query, places) + tile.relative * np.abs(values)
            self._wait(places + tile.first, values - errors, values + errors)
        return len(places)

    def add_bounded(self, rows: Int64[np.ndarray, " row"], upper: Float64[np.ndarray, " row"], others: float) -> bool:
        """Look at rows of which only an upper bound is known, if that is enough.

        Args:
            rows: Rows that may be returned.
            upper: What their scores cannot exceed.
            others: What the scores of all rows that were not given cannot exceed; infinity if nothing is known.

        Returns:
            Whether none of the others can be among the best. If not, all must be looked at anew.
        """
        if others >= self._bar and others < np.inf:
            likeliest = np.argsort(-upper, kind="stable")[: self._k + _LIKELY_ROWS]
            scores = self._scores(rows[likeliest])
            if len(scores) >= self._k:
                self._bar = max(self._bar, float(np.partition(scores, -self._k)[-self._k]))
        if others >= self._bar:
            return False
        reached = np.flatnonzero(upper >= self._bar)
        self._append(rows[reached], np.full(len(reached), -np.inf), upper[reached])
        if len(self._rows) > self._k + _LIKELY_WAITING:
            # Nothing but scores raises the bar.
            self._take_scores()
        return True

    def _add_scores(
        self, first: int, products: Float[torch.Tensor, " row"], scores: Float64[np.ndarray, " row"]
    ) -> None:
        scores[torch.isneginf(products).cpu().numpy()] = -np.inf
        # Order: k rows before these have at least the bar, and win ties.
        places = np.flatnonzero(scores > self._bar)
        if len(places) > self._k:
            places = places[np.lexsort((places, -scores[places]))[: self._k]]
        self._wait(places + first, scores[places], scores[places])

    def add_rows(self, rows: Int64[np.ndarray, " row"]) -> None:
        """Look at rows nothing is known of."""
        for start in range(0, len(rows), _MAX_WAITING):
            part = rows[start : start + _MAX_WAITING]
            self._wait(part, np.full(len(part), -np.inf), np.full(len(part), np.inf))

    def best(self) -> tuple[Float32[np.ndarray, " k"], Int64[np.ndarray, " k"]]:
        """Scores and rows, best first; of equal scores the lower row first."""
        self._sift()
        self._take_scores()
        return (self._lower / self._unit).astype(np.float32), self._rows

    def _wait(
        self, rows: Int64[np.ndarray, " row"], lower: Float64[np.ndarray, " row"], upper: Float64[np.ndarray, " row"]
    ) -> None:
        self._append(rows, lower, upper)
        # Sifting costs about as much as k rows more.
        if 8 * len(rows) >= self._k or len(self._rows) > _MAX_WAITING:
            self._sift()
            if len(self._rows) > max(_MAX_WAITING, 8 * self._k):
                self._take_scores()

    def _append(
        self, rows: Int64[np.ndarray, " row"], lower: Float64[np.ndarray, " row"], upper: Float64[np.ndarray, " row"]
    ) -> None:
        self._rows = np.concatenate([self._rows, rows])
        self._lower = np.concatenate([self._lower, lower])
        self._upper = np.concatenate([self._upper, upper])

    def _sift(self) -> None:
        """Raise the bar, and drop the rows that cannot reach it."""
        if len(self._rows) > self._k:
            self._bar = max(self._bar, float(np.partition(self._lower, -self._k)[-self._k]))
            self._keep(self._upper >= self._bar)

    def _take_scores(self) -> None:
        """Score the waiting rows, and keep the best `k`, sorted."""
        unknown = np.flatnonzero(self._lower < self._upper)
        self._lower[unknown] = self._upper[unknown] = self._scores(self._rows[unknown])
        self._keep(np.lexsort((self._rows, -self._lower))[: self._k])
        if len(self._rows) == self._k:
            self._bar = max(self._bar, float(self._lower[-1]))

    def _scores(self, rows: Int64[np.ndarray, " row"]) -> Float64[np.ndarray, " row"]:
        scores = np.empty(len(rows), np.float64)
        piece = max(1, _PIECE_NUMBERS // self._store.dim)
        for start in range(0, len(rows), piece):
            part = slice(start, start + piece)
            scores[part] = score(self._store.take(rows[part]), self._raw) * np.float64(self._unit)
        return scores

    def _keep(self, chosen: np.ndarray) -> None:
        self._rows, self._lower, self._upper = self._rows[chosen], self._lower[chosen], self._upper[chosen]


def reaching(products: Float[torch.Tensor, " row"], least: float) -> Int64[np.ndarray, " chosen"]:
    """Places of the products whose number before rounding may be `least` or more; never those of minus infinity."""
    bar = torch.tensor(max(least, torch.finfo(products.dtype).min), dtype=torch.float64).to(products.dtype)
    if float(bar) > least:
        bar = torch.nextafter(bar, torch.full_like(bar, -torch.inf))
    bar = bar.clamp(min=torch.finfo(products.dtype).min)
    if bar.dtype == torch.bfloat16 and bar > 0:
        # Bits of positive numbers are in the order of the numbers, and NumPy compares eight times as fast.
        return np.flatnonzero(products.view(torch.int16).numpy() >= bar.view(torch.int16).item())
    return np.flatnonzero((products >= bar.to(products.device)).cpu().numpy())
