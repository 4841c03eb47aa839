"""Packing into a folder that cannot be written."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_packing import public_trunk, runs

from realm.errors import UsageError
from realm.training.packing import pack_runs

__all__ = ["public_trunk", "runs"]


def test_folder_that_cannot_be_written_is_refused(runs: Path, public_trunk: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file cannot be written: File exists"):
        pack_runs(runs / "embedder", runs / "reader", tmp_path / "file")
