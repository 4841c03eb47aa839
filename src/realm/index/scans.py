"""One pass over all rows, giving for every row an approximate inner product with each query, and a bound on how far
that is from the score.

    codes ──int8 kernel──> bfloat16 products          vectors ──float32 product, on any device──> products

The score is what `score` gives: float32 multiplications and additions in a fixed order, one operation at a time, so
that IEEE 754 fixes every bit of it whatever the batch, the chunk, the threads or the machine. A product of matrices
is faster but promises no order of summing; here it only narrows the rows down, and its error is bounded like that
of the codes. With n numbers a row and u = 2^-24, for any order of summing,

    |fl(q x) - q x| <= n u (1 + n u) sum |q_i x_i|

For codes, x = s c + e and q = p + d with p in bfloat16, so that products p_i s c_i are exact in float32 (8 + 8 + 7
bits), and by Cauchy and Schwarz, with `residual` and `length` from `CodeSegment`,

    |q x - p s c| <= s (|q| residual + |d| length)

Queries come scaled by a power of two so that their largest number lies in [1/2, 1), as bounds that hold without
overflow. Knows vectors and rows only.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64, UInt16

from realm.index.codes import CodeStore
from realm.index.quantising import widened, width_of
from realm.index.vectors import VectorStore

# Twice u: covers the second-order terms and the operations around the sum.
_UNIT = 2.0**-23
# What a matrix product loses if the process or the device is set to round its factors first: queries to TF32 (half
# precision fits into it), or both to bfloat16.
_TF32_REDUCED = 2.0**-10
_BFLOAT16_REDUCED = 2.0**-6
_BFLOAT16_UNIT = 2.0**-8
# Numbers below the normal ones may be rounded to zero: each by less than this.
_SMALLEST = 2.0**-124

_CODE_ROWS = 1 << 18
_CODE_GROUP = 4
_MIN_CODE_ROWS = 1 << 14
_TILE_NUMBERS = 1 << 20
_DEVICE_TILE_NUMBERS = 1 << 27
_MIN_TILE_ROWS = 1 << 12


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
        rows: The vectors, if they are at hand; good until the next tile is asked for.
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


def scan_codes(codes: CodeStore, queries: Queries) -> Iterator[Tile]:
    """All rows that have codes, in order; a few queries share one reading of a tile."""
    scaled = torch.from_numpy(queries.scaled)
    rounded = torch.zeros((len(scaled), width_of(codes.dim)), dtype=torch.bfloat16)
    rounded[:, : codes.dim] = scaled
    lost = _norms(scaled.double() - rounded[:, : codes.dim].double())
    norms, slack = _norms(scaled.double()), _UNIT * (codes.dim + 8)
    groups = -(-len(scaled) // _CODE_GROUP)
    for chunk in codes.chunks(max(_MIN_CODE_ROWS, _CODE_ROWS // groups)):
        scales = torch.from_numpy(chunk.scales.view(np.int16)).view(torch.bfloat16)
        residual, length = chunk.segment.residual, chunk.segment.length
        yield Tile(
            chunk.first,
            torch._weight_int8pack_mm(rounded, torch.from_numpy(chunk.codes), scales),
            chunk.scales,
            (norms * residual + lost * length + slack * norms * (2 * length + residual)) * (1 + _UNIT),
            _absolute(queries),
            _BFLOAT16_UNIT,
        )


def scan_vectors(store: VectorStore, queries: Queries, device: torch.device, start: int = 0) -> Iterator[Tile]:
    """All rows from `start` on, in order."""
    columns = torch.from_numpy(queries.scaled).to(device).T.contiguous()
    sums = np.abs(queries.scaled.astype(np.float64)).sum(axis=1)
    weights = sums * (2 * _UNIT * (store.dim + 8) + _reduced_unit(device))
    numbers = _TILE_NUMBERS if device.type == "cpu" else _DEVICE_TILE_NUMBERS
    max_rows = max(_MIN_TILE_ROWS, numbers // store.dim)
    # One buffer for all tiles: fresh memory would cost more than the product.
    buffer = torch.empty((min(max_rows, store.rows), store.dim), device=device)
    for first, halves in store.chunks(max_rows, start):
        rows = buffer[: len(halves)]
        rows.copy_(torch.from_numpy(halves))
        largest = max(abs(float(end)) for end in torch.aminmax(rows))
        # The nearest number of its own type to each product is itself.
        yield Tile(first, (rows @ columns).T, largest, weights, _absolute(queries), 0.0, rows)


@functools.cache
def codes_can_be_scanned(width: int, queries: int) -> bool:
    """Whether this machine's kernel multiplies codes as the bound supposes: no product rounded before the sum."""
    scale, query = (
        torch.tensor([255 / 128] * 4, dtype=torch.bfloat16),
        torch.zeros(queries, width, dtype=torch.bfloat16),
    )
    query[:, 0], query[:, -1] = 1, -1
    rows = torch.zeros(4, width, dtype=torch.int8)
    rows[:, 0], rows[:, -1] = 127, 126
    try:
        found = torch._weight_int8pack_mm(query, rows, scale)
    except (AttributeError, RuntimeError):
        return False
    return bool((found.double() == 255 / 128).all())


def _absolute(queries: Queries) -> Float64[np.ndarray, " query"]:
    dim = queries.raw.shape[1]
    return np.asarray(dim * _SMALLEST * (1 + np.exp2(queries.exponents)), dtype=np.float64)


def _norms(rows: torch.Tensor) -> Float64[np.ndarray, " row"]:
    return np.asarray(torch.linalg.vector_norm(rows, dim=1).numpy())


def _reduced_unit(device: torch.device) -> float:
    precision = torch.get_float32_matmul_precision()
    if precision == "medium":
        return _BFLOAT16_REDUCED
    return 0.0 if device.type == "cpu" and precision == "highest" else _TF32_REDUCED
