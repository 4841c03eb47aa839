"""Numbers to int8 codes and back: what a row of codes is. Knows one row at a time, and no files."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Float32, Int8, UInt16

_NUMBER = np.dtype(np.float16)
_LARGEST_CODE = 127
# Whole registers: the kernels that multiply codes read this many at a time.
_WIDTH_STEP = 32
# Cover the rounding of the float32 arithmetic that finds `residual` and `length`: that of the sums, and that of
# the quotients x / s, each below 128 * 2 ** -24.
_SUM_MARGIN = 1.0001
_QUOTIENT_MARGIN = 1e-5


def width_of(dim: int) -> int:
    """Codes in a row, padding counted."""
    return -(-dim // _WIDTH_STEP) * _WIDTH_STEP


def quantised(
    vectors: Float[np.ndarray, "row dim"],
) -> tuple[Int8[np.ndarray, "row width"], UInt16[np.ndarray, " row"], float, float]:
    """Codes and scales of vectors, which are rounded to half precision first, as `VectorWriter` does.

        s = max |x| / 127, rounded up to bfloat16        c = round(x / s)

    Returns:
        The codes, the bits of the scales, and the bounds `residual` and `length` of `CodeSegment`.

    Raises:
        ValueError: A number is not finite.
    """
    rows, dim = vectors.shape
    values = vectors.astype(_NUMBER).astype(np.float32)
    largest = np.abs(values).max(axis=1, initial=0.0) / np.float32(_LARGEST_CODE)
    if not np.isfinite(largest).all():
        raise ValueError("vectors that are not finite in half precision have no codes")
    # A bfloat16 is the upper half of a float32; the sum carries into it whenever the lower half is not zero.
    bits = ((largest.view(np.uint32) + np.uint32(0xFFFF)) >> 16).astype(np.uint16)
    scales = widened(bits)[:, None]
    units = np.divide(values, scales, out=np.zeros_like(values), where=scales > 0)
    rounded = np.rint(units)
    codes = np.zeros((rows, width_of(dim)), dtype=np.int8)
    codes[:, :dim] = rounded
    units -= rounded
    residual, length = (math.sqrt((part * part).sum(axis=1).max(initial=0.0)) for part in (units, rounded))
    return codes, bits, residual * _SUM_MARGIN + _QUOTIENT_MARGIN * math.sqrt(dim), length * _SUM_MARGIN


def widened(bits: UInt16[np.ndarray, " row"]) -> Float32[np.ndarray, " row"]:
    """Bfloat16 numbers, given as their bits, as float32: exact."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
