"""Arrays in files of their own, which are there whole or not at all: parts of long computations."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray


def write_array(path: Path, array: NDArray[np.generic]) -> None:
    """Replace a file: written beside it, flushed to disk, then renamed over it. Several processes may do so at once."""
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex}.tmp")
    with temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def holds_array(path: Path, shape: tuple[int, ...], dtype: DTypeLike) -> bool:
    """Whether a file has an array of this shape and kind; False also where there is none, or it cannot be read."""
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return False
    return bool(found.shape == shape and found.dtype == dtype)
