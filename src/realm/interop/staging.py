"""Files and folders that appear under their name whole or not at all.

    .NAME.PID.tmp ──written, brought to the disk──► NAME        an error in between takes it away again

Knows nothing of what is written.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from realm.artifacts import sync_directory
from realm.errors import UsageError


@contextmanager
def staged_file(path: Path, *, force: bool = False) -> Iterator[Path]:
    """Give a path to write to, which becomes `path` at the end.

    Args:
        path: The file; folders above it are made.
        force: Replace a file that is there.

    Raises:
        UsageError: There is something at `path`, or it cannot be written.
    """
    path = path.resolve()
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give the name of a file.")
    if path.exists() and not force:
        raise UsageError(f"{path} is there already. Give another name, or replace it with --force.")
    temporary = _beside(path)
    try:
        with _errors_of_writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
            sync_directory(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def staged_folder(path: Path, *, marker: str, force: bool = False) -> Iterator[Path]:
    """Give a folder to write to, which becomes `path` at the end. It is not made: its writer may want to.

    Args:
        path: The folder; it may be there and be empty.
        marker: A file that a folder of this kind has. One without it is somebody's other files, and is never
            replaced.
        force: Replace a folder that is there.

    Raises:
        UsageError: There is something at `path`, or it cannot be written.
    """
    path = path.resolve()
    _require_replaceable(path, marker, force)
    temporary = _beside(path)
    old = temporary.with_suffix(".old")
    try:
        with _errors_of_writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            if path.exists():
                os.rename(path, old)
            os.rename(temporary, path)
            sync_directory(path.parent)
    finally:
        if old.exists() and not path.exists():
            os.rename(old, path)
        for left in (temporary, old):
            shutil.rmtree(left, ignore_errors=True)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _require_replaceable(path: Path, marker: str, force: bool) -> None:
    if path.is_dir():
        if not any(path.iterdir()):
            return
        if not (path / marker).is_file():
            raise UsageError(f"{path} is not empty and holds no {marker}: these are other files. Give another folder.")
        if not force:
            raise UsageError(f"{path} is there already. Give another folder, or replace it with --force.")
    elif path.exists():
        raise UsageError(f"{path} is a file; give the name of a folder.")


@contextmanager
def _errors_of_writing(path: Path) -> Iterator[None]:
    """What readers raise has been translated by them; an OSError that is left is one of writing."""
    try:
        yield
    except OSError as exc:
        raise UsageError(f"{path} cannot be written: {exc.strerror or exc}.") from exc
