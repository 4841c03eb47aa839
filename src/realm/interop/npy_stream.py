"""A `.npy` file of a matrix, written a few rows at a time. Any numpy maps it into memory; there is no pickle in it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def write_npy(path: Path, shape: tuple[int, int], dtype: np.dtype[Any], chunks: Iterable[NDArray[Any]]) -> None:
    """Write a matrix.

    Args:
        path: Written as it is; see `staging` for files that appear whole.
        shape: Of the whole.
        dtype: Of the numbers in the file.
        chunks: Consecutive rows; converted to `dtype`.

    Raises:
        ValueError: The rows are not as many, or not as long, as `shape` says.
    """
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    rows = 0
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for chunk in chunks:
            if chunk.ndim != 2 or chunk.shape[1] != shape[1]:
                raise ValueError(f"rows of shape {chunk.shape} were given; expected (rows, {shape[1]})")
            file.write(np.ascontiguousarray(chunk, dtype=dtype).data)
            rows += len(chunk)
    if rows != shape[0]:
        raise ValueError(f"{rows:,} rows were given; expected {shape[0]:,}")
