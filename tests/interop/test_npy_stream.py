"""A matrix as `.npy`, a few rows at a time; numpy is the reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.interop.npy_stream import write_npy


@given(st.integers(0, 30), st.integers(1, 5), st.integers(1, 7), st.sampled_from(["<f2", "<f4"]))
def test_numpy_maps_what_was_written_in_pieces(
    tmp_path_factory: pytest.TempPathFactory, rows: int, dim: int, step: int, dtype: str
) -> None:
    path = tmp_path_factory.mktemp("npy") / "m.npy"
    matrix = np.arange(rows * dim, dtype=np.float32).reshape(rows, dim) / 8
    write_npy(path, (rows, dim), np.dtype(dtype), (matrix[start : start + step] for start in range(0, rows, step)))
    found = np.load(path, mmap_mode="r" if rows else None)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, matrix)


def test_other_rows_than_announced_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="3 rows were given; expected 4"):
        write_npy(tmp_path / "m.npy", (4, 2), np.dtype("<f2"), [np.zeros((3, 2))])
    with pytest.raises(ValueError, match="expected"):
        write_npy(tmp_path / "m.npy", (4, 2), np.dtype("<f2"), [np.zeros((4, 3))])
