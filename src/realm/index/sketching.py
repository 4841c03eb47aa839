"""Vectors to sketches of four bits a number, and the layout FAISS's fast scan reads. Knows numbers, and no files.

A sketch is one of 16 levels for each number, the levels of its column, and then one of 16 lengths for what the levels
leave over; columns are filled up to an even number.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Float64, UInt8

LEVELS = 16
BLOCK_ROWS = 32

# The best levels for normally distributed numbers, in standard deviations. Source: Max, "Quantizing for minimum
# distortion", 1960.
_HALF = (0.1284, 0.3881, 0.6568, 0.9424, 1.2562, 1.6181, 2.0691, 2.7326)
_NORMAL_LEVELS = np.array([*(-level for level in reversed(_HALF)), *_HALF])
# Covers the rounding of float64 sums of up to 2 ** 20 squares.
_MARGIN = 2.0**-30
# FAISS keeps 32 rows of a column in 16 bytes: row r of the first 16 in the lower half of a byte, row r + 16 in the
# upper half, in this order.
_ORDER = np.arange(BLOCK_ROWS // 2).reshape(2, -1).T.ravel()


def columns_of(dim: int) -> int:
    """Columns of a sketch: one for each number, one for the length, and one more if they must be made even."""
    return (dim + 2) // 2 * 2


def number_levels(sample: Float32[np.ndarray, "row dim"]) -> Float32[np.ndarray, "dim 16"]:
    """Levels for each column of numbers, ascending."""
    values = sample.astype(np.float64)
    levels = values.mean(axis=0)[:, None] + values.std(axis=0)[:, None] * _NORMAL_LEVELS
    return np.asarray(levels, dtype=np.float32)


def nearest_levels(
    vectors: Float32[np.ndarray, "row dim"], levels: Float32[np.ndarray, "dim 16"]
) -> tuple[UInt8[np.ndarray, "row dim"], Float64[np.ndarray, " row"]]:
    """Which level is nearest to each number, and for each row a length that what is left over does not exceed."""
    places = np.empty(vectors.shape, dtype=np.uint8)
    squares = np.zeros(len(vectors))
    for column, (numbers, steps) in enumerate(zip(vectors.T, levels, strict=True)):
        nearest = np.searchsorted((steps[1:] + steps[:-1]) / 2, numbers)
        places[:, column] = nearest
        squares += (numbers.astype(np.float64) - steps[nearest]) ** 2
    return places, np.sqrt(squares) * (1 + _MARGIN)


def length_levels(lengths: Float64[np.ndarray, " row"]) -> Float32[np.ndarray, " 16"]:
    """Levels for lengths, each of which holds as many rows; the last is not below any."""
    levels = np.quantile(lengths, np.arange(1, LEVELS + 1) / LEVELS).astype(np.float32)
    return np.asarray(np.nextafter(levels, np.float32(np.inf)))


def levels_above(lengths: Float64[np.ndarray, " row"], levels: Float32[np.ndarray, " 16"]) -> UInt8[np.ndarray, " row"]:
    """Which is the lowest level that is not below each length."""
    return np.asarray(np.searchsorted(levels.astype(np.float64), lengths), dtype=np.uint8)


def packed(places: UInt8[np.ndarray, "row column"]) -> UInt8[np.ndarray, "block column 16"]:
    """Levels as FAISS's fast scan reads them; the last block is filled up with level 0."""
    rows, columns = places.shape
    blocks = np.zeros((-(-rows // BLOCK_ROWS), BLOCK_ROWS, columns), dtype=np.uint8)
    blocks.reshape(-1, columns)[:rows] = places
    halves = blocks[:, _ORDER] | blocks[:, _ORDER + BLOCK_ROWS // 2] << 4
    return np.ascontiguousarray(halves.transpose(0, 2, 1))
