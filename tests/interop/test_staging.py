"""Outputs that appear whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from realm.errors import UsageError
from realm.interop.staging import staged_file, staged_folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def break_off(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    raise ZeroDivisionError


def test_a_file_appears_under_its_name_at_the_end_and_not_before(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out.bin"
    with staged_file(out) as path:
        path.write_bytes(b"whole")
        assert not out.exists()
    assert out.read_bytes() == b"whole"
    assert names(out.parent) == ["out.bin"]


def test_an_error_leaves_neither_a_new_file_nor_a_changed_one(tmp_path: Path) -> None:
    out = tmp_path / "out.bin"
    out.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), staged_file(out, force=True) as path:
        break_off(path, "half")
    assert names(tmp_path) == ["out.bin"]
    assert out.read_bytes() == b"old"


def test_a_file_that_is_there_is_replaced_only_by_force(tmp_path: Path) -> None:
    out = tmp_path / "out.bin"
    out.write_bytes(b"old")
    with pytest.raises(UsageError, match=r"is there already.*--force"), staged_file(out):
        pass
    with staged_file(out, force=True) as path:
        path.write_bytes(b"new")
    assert out.read_bytes() == b"new"
    with pytest.raises(UsageError, match="is a folder"), staged_file(tmp_path, force=True):
        pass


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "out.bin"
    with pytest.raises(UsageError, match=r"out\.bin cannot be written: File exists"), staged_file(out):
        pass


def test_a_folder_appears_whole_also_over_an_empty_one(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with staged_folder(out, marker="m") as folder:
        folder.mkdir()
        (folder / "m").write_text("1")
        assert not any(out.iterdir())
    assert names(out) == ["m"]
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("make", [True, False])
def test_an_error_leaves_no_folder_and_the_old_one_as_it_was(tmp_path: Path, make: bool) -> None:
    out = tmp_path / "out"
    if make:
        out.mkdir()
        (out / "m").write_text("old")
    with pytest.raises(ZeroDivisionError), staged_folder(out, marker="m", force=True) as folder:
        break_off(folder / "half", "half")
    assert names(tmp_path) == (["out"] if make else [])
    assert not make or (names(out) == ["m"] and (out / "m").read_text() == "old")


def test_a_folder_is_replaced_by_force_only_if_it_is_of_the_kind(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "holiday.jpg").write_text("")
    with pytest.raises(UsageError, match="other files"), staged_folder(out, marker="m", force=True):
        pass
    (out / "m").write_text("old")
    with pytest.raises(UsageError, match="--force"), staged_folder(out, marker="m"):
        pass
    with staged_folder(out, marker="m", force=True) as folder:
        folder.mkdir()
        (folder / "m").write_text("new")
    assert names(out) == ["m"]
    assert (out / "m").read_text() == "new"
    assert names(tmp_path) == ["out"]


@pytest.fixture
def dead() -> int:
    """The id of a process that has ended."""
    return int(subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True).stdout)


def test_what_a_killed_process_had_begun_is_deleted_and_what_others_write_stays(tmp_path: Path, dead: int) -> None:
    for name in (
        f".out.{dead}.tmp",
        f".out.{dead}.old",
        f".out.{os.getpid()}.tmp",
        f".out.{os.getppid()}.tmp",
        f".outer.{dead}.tmp",
        ".out.x.tmp",
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "m").write_text("")
    (tmp_path / f".a.txt.{dead}.tmp").write_text("half")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "m").write_text("old")
    with staged_folder(tmp_path / "out", marker="m", force=True) as folder:
        folder.mkdir()
        (folder / "m").write_text("new")
    with staged_file(tmp_path / "a.txt") as path:
        path.write_text("whole")
    assert names(tmp_path) == sorted([f".out.{os.getppid()}.tmp", f".outer.{dead}.tmp", ".out.x.tmp", "a.txt", "out"])
    assert (tmp_path / "out" / "m").read_text() == "new"


def test_a_folder_that_a_killed_process_had_moved_away_is_put_back(tmp_path: Path, dead: int) -> None:
    for name, text in ((f".out.{dead}.tmp", "new"), (f".out.{dead}.old", "old")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "m").write_text(text)
    with pytest.raises(UsageError, match="is there already"), staged_folder(tmp_path / "out", marker="m"):
        pass
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out" / "m").read_text() == "old"
