"""Rows that are gone, on disk."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realm.errors import CorruptFileError
from realm.index.tombstones import TombstoneFile, read_tombstones, write_tombstones


@settings(max_examples=30)
@given(rows=st.lists(st.integers(0, 2**40)))
def test_rows_come_back_sorted_and_once(rows: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("tombstones")
    entry = write_tombstones(folder, np.array(rows, dtype=np.int64))
    found = read_tombstones(folder, TombstoneFile.from_json(dataclasses.asdict(entry)))
    assert found.dtype == np.int64
    assert found.tolist() == sorted(set(rows))
    assert (entry.rows, entry.bytes) == (len(found), 8 * len(found))


def test_older_files_stay_when_rows_are_added(tmp_path: Path) -> None:
    old = write_tombstones(tmp_path, np.array([3]))
    new = write_tombstones(tmp_path, np.array([3, 1]))
    assert read_tombstones(tmp_path, old).tolist() == [3]
    assert read_tombstones(tmp_path, new).tolist() == [1, 3]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([old.name, new.name])


def test_negative_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="row -1 cannot be gone"):
        write_tombstones(tmp_path, np.array([4, -1]))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "cannot be read"),
        (b"\1" + bytes(14), "15 bytes, where the manifest names 16"),
        (bytes(16), "the bytes are not those the manifest names"),
    ],
)
def test_damaged_file_is_an_error_that_names_it(tmp_path: Path, data: bytes | None, message: str) -> None:
    entry = write_tombstones(tmp_path, np.array([1, 2]))
    path = tmp_path / entry.name
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(CorruptFileError, match=rf"{entry.name}: {message}.*realm index"):
        read_tombstones(tmp_path, entry)


@pytest.mark.parametrize("change", [{"name": "../x.i64"}, {"rows": 3}, {"bytes": 16.0}, {"more": 1}])
def test_entry_of_a_manifest_that_cannot_be_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    entry = write_tombstones(tmp_path, np.array([1, 2]))
    with pytest.raises(CorruptFileError, match="manifest's entry"):
        TombstoneFile.from_json(dataclasses.asdict(entry) | change)
