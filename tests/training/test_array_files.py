"""Arrays in files are there whole or not at all, and a disk without room says so."""

from __future__ import annotations

import errno
import resource
import signal
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from realm.training.array_files import holds_array, write_array


@pytest.mark.parametrize(
    "array",
    [np.arange(6, dtype=np.float16).reshape(2, 3), np.zeros((0, 4), np.float16), np.arange(12).reshape(3, 4).T],
)
def test_an_array_is_read_as_it_was_written(array: NDArray[np.generic], tmp_path: Path) -> None:
    write_array(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy", allow_pickle=False), array)
    assert holds_array(tmp_path / "a.npy", array.shape, array.dtype)


def test_without_room_the_old_file_stays_and_the_error_has_its_number(tmp_path: Path) -> None:
    write_array(tmp_path / "a.npy", np.arange(3))
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            write_array(tmp_path / "a.npy", np.arange(5_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.errno == errno.EFBIG
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]
    assert np.load(tmp_path / "a.npy").tolist() == [0, 1, 2]
