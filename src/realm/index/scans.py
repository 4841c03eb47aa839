"""What a scan gives: for every row an approximate inner product with each query, and a bound on how far that is from
the score. And the plainest of scans, that of all vectors.

    vectors ──float32 product, on any device──> products

The score is what `score` gives: float32 multiplications and additions in a fixed order, one operation at a time, so
that IEEE 754 fixes every bit of it whatever the batch, the chunk, the threads or the machine. A product of matrices
is faster but promises no order of summing; here it only narrows the rows down, and its error is bounded like that
of codes (see `code_scans`). With n numbers a row and u = 2^-24, for any order of summing,

    |fl(q x) - q x| <= n u (1 + n u) sum |q_i x_i|

Queries come scaled by a power of two so that their largest number lies in [1/2, 1), as bounds that hold without
overflow. Knows vectors and rows only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float16, Float32, Float64, Int64, UInt16

from realm.index.quantising import widened
from realm.index.segments import not_finite
from realm.index.vectors import VectorStore

# Twice u: covers the second-order terms and the operations around the sum.
UNIT = 2.0**-23
# What a matrix product loses if the process or the device is set to round its factors first: queries to TF32 (half
# precision fits into it), or both to bfloat16.
_TF32_REDUCED = 2.0**-10
_BFLOAT16_REDUCED = 2.0**-6
# Numbers below the normal ones may be rounded to zero: each by less than this.
SMALLEST = 2.0**-124

_TILE_NUMBERS = 1 << 20
_DEVICE_TILE_NUMBERS = 1 << 27
_MIN_TILE_ROWS = 1 << 12
_ROWS_COPIED = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """Approximate products of some rows with all queries.

        |score - v| <= weight * size        |v - product| <= relative * |product|

    for some v of which `product` is the nearest number of its type: so v >= t makes product >= t if t is a number
    of that type.

    Attributes:
        first: The first row's number.
        products: In units of the scaled queries.
        sizes: One number for each row: bfloat16 bits, or one float32 that holds for all.
        weights: One number for each query.
        absolute: What is to be added to the error of each query.
        relative: Rounding of the products to their type.
        rows: The vectors, if they are at hand.

    All is good until the next tile is asked for.
    """

    first: int
    products: Float[torch.Tensor, "query row"]
    sizes: UInt16[np.ndarray, " row"] | float
    weights: Float64[np.ndarray, " query"]
    absolute: Float64[np.ndarray, " query"]
    relative: float
    rows: Float32[torch.Tensor, "row dim"] | None = None

    @property
    def largest_errors(self) -> Float64[np.ndarray, " query"]:
        """What `|score - v|` cannot exceed, for each query."""
        # Bits of numbers that are not negative are in the order of the numbers.
        size = self.sizes if isinstance(self.sizes, float) else float(widened(self.sizes.max(keepdims=True))[0])
        return np.asarray(self.weights * size + self.absolute)

    def errors(self, query: int, rows: Int64[np.ndarray, " chosen"]) -> Float64[np.ndarray, " chosen"]:
        """What `|score - v|` cannot exceed, for each of some rows, counted from the first."""
        sizes = np.float64(self.sizes) if isinstance(self.sizes, float) else widened(self.sizes[rows])
        return np.asarray(np.broadcast_to(self.weights[query] * sizes + self.absolute[query], len(rows)))


@dataclass(frozen=True, slots=True, eq=False)
class Queries:
    """Queries as the scans need them.

    Attributes:
        raw: As they were asked.
        scaled: Times a power of two each.
        exponents: That power.
    """

    raw: Float32[np.ndarray, "query dim"]
    scaled: Float32[np.ndarray, "query dim"]
    exponents: Float64[np.ndarray, " query"]

    @classmethod
    def of(cls, raw: Float32[np.ndarray, "query dim"]) -> Queries:
        _, powers = np.frexp(np.abs(raw).max(axis=1, initial=0.0))
        scaled = np.ldexp(raw.astype(np.float64), -powers[:, None]).astype(np.float32)
        return cls(raw, scaled, -powers.astype(np.float64))

    def of_places(self, places: list[int]) -> Queries:
        """Some of them."""
        return Queries(self.raw[places], self.scaled[places], self.exponents[places])


def score(
    rows: Float32[np.ndarray, "row dim"] | Float32[torch.Tensor, "row dim"], query: Float32[np.ndarray, " dim"]
) -> Float32[np.ndarray, " row"]:
    """The score of each row: the products are added by folding a row in half again and again."""
    rows = torch.as_tensor(rows)
    terms = rows * torch.from_numpy(query).to(rows.device)
    while terms.shape[1] > 1:
        half = terms.shape[1] // 2
        folded = terms[:, :half] + terms[:, half : 2 * half]
        if terms.shape[1] % 2:
            folded[:, 0] += terms[:, -1]
        terms = folded
    return terms[:, 0].cpu().numpy()


def scan_vectors(
    store: VectorStore,
    queries: Queries,
    device: torch.device,
    start: int = 0,
    resident: Float16[torch.Tensor, "row dim"] | None = None,
) -> Iterator[Tile]:
    """All rows from `start` on, in order; from the copy on the device if there is one.

    Raises:
        CorruptFileError: A number is NaN or infinite.
    """
    columns = torch.from_numpy(queries.scaled).to(device).T.contiguous()
    sums = np.abs(queries.scaled.astype(np.float64)).sum(axis=1)
    weights = sums * (2 * UNIT * (store.dim + 8) + reduced_unit(device))
    numbers = _TILE_NUMBERS if device.type == "cpu" else _DEVICE_TILE_NUMBERS
    max_rows = max(_MIN_TILE_ROWS, numbers // store.dim)
    # One buffer for all tiles: fresh memory would cost more than the product.
    buffer = torch.empty((min(max_rows, store.rows), store.dim), device=device)
    for first, halves in store.chunks(max_rows, start):
        rows = buffer[: len(halves)]
        rows.copy_(torch.from_numpy(halves) if resident is None else resident[first : first + len(halves)])
        largest = max(abs(float(end)) for end in torch.aminmax(rows))
        if not math.isfinite(largest):
            raise not_finite(store.file_of(first))
        # The nearest number of its own type to each product is itself.
        yield Tile(first, (rows @ columns).T, largest, weights, absolute_error(queries), 0.0, rows)


def copied(store: VectorStore, device: torch.device) -> Float16[torch.Tensor, "row dim"]:
    """All vectors, on a device."""
    vectors = torch.empty((store.rows, store.dim), dtype=torch.float16, device=device)
    for first, halves in store.chunks(_ROWS_COPIED):
        vectors[first : first + len(halves)] = torch.from_numpy(halves)
    return vectors


def absolute_error(queries: Queries) -> Float64[np.ndarray, " query"]:
    """What numbers below the normal ones can add to the error of each query."""
    dim = queries.raw.shape[1]
    return np.asarray(dim * SMALLEST * (1 + np.exp2(queries.exponents)), dtype=np.float64)


def reduced_unit(device: torch.device) -> float:
    """What a float32 matrix product loses by rounding its factors, as a part of the terms' absolute values."""
    precision = torch.get_float32_matmul_precision()
    if precision == "medium":
        return _BFLOAT16_REDUCED
    return 0.0 if device.type == "cpu" and precision == "highest" else _TF32_REDUCED
