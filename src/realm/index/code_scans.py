"""One pass over the int8 codes of all rows, giving for every row an approximate inner product with each query, and a
bound on how far that is from the score.

    few queries ──int8 kernel──> bfloat16 products          many ──codes as float32, a piece at a time──> float32

For codes, x = s c + e, and q = p + d with p of the type that is multiplied: products p_i s c_i are exact in float32 for
bfloat16 (8 + 8 + 7 bits), and each rounded twice for float32. By Cauchy and Schwarz, with `residual` and `length` from
`CodeSegment`,

    |q x - p s c| <= s (|q| residual + |d| length)

and what the sum is rounded by (see `scans`) is at most a slack times |p| s length, and for the score times
|q| |x| <= |q| s (length + residual). Knows vectors and rows only.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Float64, Int8, UInt16

from realm.index.codes import CodeStore
from realm.index.quantising import width_of
from realm.index.scans import UNIT, Queries, Tile, absolute_error, reduced_unit

_BFLOAT16_UNIT = 2.0**-8
_CODE_ROWS = 1 << 18
# From this many queries on, one product of float32 matrices is faster than a kernel that takes them one by one.
_MAX_KERNEL_QUERIES = 3
# Of a matrix of float32 codes: so many stay in the processor's cache.
_PIECE_NUMBERS = 1 << 18
_TILE_PRODUCTS = 1 << 20
_MIN_TILE_ROWS = 1 << 14


class _Product:
    """Multiplies rows of codes with queries, in the way that is faster for so many of them.

    Attributes:
        used: The queries as they are multiplied; what is lost to their type is for the caller to bound.
        relative: See `Tile`.
        unit: What a sum loses by rounding, as a part of the sum of the terms' absolute values.
        max_rows: How many rows to multiply at a time.
    """

    def __init__(self, count: int, width: int) -> None:
        self._by_kernel = count <= _MAX_KERNEL_QUERIES and kernel_can_be_used(width, count)
        self._type = torch.bfloat16 if self._by_kernel else torch.float32
        self._products = torch.empty(0)
        self._piece = torch.empty(0)
        self.relative = _BFLOAT16_UNIT if self._by_kernel else 0.0
        self.unit = UNIT * (width + 8) + (0.0 if self._by_kernel else reduced_unit(torch.device("cpu")))
        self.max_rows = _CODE_ROWS if self._by_kernel else max(_MIN_TILE_ROWS, _TILE_PRODUCTS // count)

    def rounded(self, queries: Float64[np.ndarray, "query column"]) -> Float[torch.Tensor, "query column"]:
        """The queries in the type they are multiplied in."""
        return torch.from_numpy(queries).to(self._type)

    def of(
        self,
        queries: Float[torch.Tensor, "query width"],
        codes: Int8[np.ndarray, "row width"],
        scales: UInt16[np.ndarray, " row"],
    ) -> Float[torch.Tensor, "query row"]:
        """Products, good until the next are asked for."""
        rows, factors = torch.from_numpy(codes), torch.from_numpy(scales.view(np.int16)).view(torch.bfloat16)
        if self._by_kernel:
            return torch._weight_int8pack_mm(queries, rows, factors)
        if self._products.shape != (len(queries), len(rows)):
            # One buffer for all tiles: fresh memory would cost more than the product.
            self._products = torch.empty((len(queries), len(rows)))
            self._piece = torch.empty((max(1, _PIECE_NUMBERS // rows.shape[1]), rows.shape[1]))
        for start in range(0, len(rows), len(self._piece)):
            part = rows[start : start + len(self._piece)]
            piece = self._piece[: len(part)]
            piece.copy_(part)
            torch.mm(queries, piece.T, out=self._products[:, start : start + len(part)])
        return self._products.mul_(factors.float())


def scan_codes(codes: CodeStore, queries: Queries, start: int = 0, end: int | None = None) -> Iterator[Tile]:
    """The rows from `start` to `end` that have codes, in order; all queries share one reading of a tile."""
    scaled = queries.scaled.astype(np.float64)
    width = width_of(codes.dim)
    product = _Product(len(scaled), width)
    columns = product.rounded(np.pad(scaled, ((0, 0), (0, width - codes.dim))))
    lost, norms = _norms(scaled - columns.double().numpy()[:, : codes.dim]), _norms(scaled)
    for chunk in codes.chunks(product.max_rows, start, end):
        residual, length = chunk.segment.residual, chunk.segment.length
        yield Tile(
            chunk.first,
            product.of(columns, chunk.codes, chunk.scales),
            chunk.scales,
            (norms * residual + lost * length + product.unit * norms * (2 * length + residual)) * (1 + UNIT),
            absolute_error(queries),
            product.relative,
        )


def _norms(rows: Float64[np.ndarray, "row column"]) -> Float64[np.ndarray, " row"]:
    return np.asarray(np.linalg.norm(rows, axis=1))


@functools.cache
def kernel_can_be_used(width: int, queries: int) -> bool:
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
