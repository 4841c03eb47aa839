"""Files and folders that appear under their name whole or not at all.

    .NAME.PID.tmp ──written, brought to the disk──► NAME        an error in between takes it away again
    NAME ──moved away for it──► .NAME.PID.old

What a killed process leaves is cleared away when the same name is written next. Knows nothing of what is written.
"""

from __future__ import annotations

import glob
import os
import re
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
    clear_killed(path)
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
    clear_killed(path)
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


def clear_killed(path: Path) -> None:
    """Put back what killed processes had moved away from `path` and not replaced, and delete what they had begun."""
    for left in sorted(path.parent.glob(f".{glob.escape(path.name)}.*")):
        match = re.fullmatch(r"([0-9]+)\.(tmp|old)", left.name.removeprefix(f".{path.name}."))
        # Its number may be that of this process, as in containers, where numbers are few: it has not begun yet.
        if not match or (int(match[1]) != os.getpid() and _is_alive(int(match[1]))):
            continue
        with suppress(OSError):
            if match[2] == "old" and not path.exists():
                os.rename(left, path)
            elif left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's, or no process id
        pass
    return True


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
