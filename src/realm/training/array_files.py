"""Arrays in files of their own, which are there whole or not at all: parts of long computations."""

from __future__ import annotations

import io
import os
import uuid
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray


def write_array(path: Path, array: NDArray[np.generic]) -> None:
    """Replace a file: written beside it, flushed to disk, then renamed over it. Several processes may do so at once.

    Raises:
        OSError: It cannot be written; nothing is left of it.
    """
    data = io.BytesIO()
    np.save(data, array, allow_pickle=False)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            # Not by np.save, whose error does not say that the disk is full.
            file.write(data.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def holds_array(path: Path, shape: tuple[int, ...], dtype: DTypeLike) -> bool:
    """Whether a file has an array of this shape and kind; False also where there is none, or it cannot be read."""
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return False
    return bool(found.shape == shape and found.dtype == dtype)
