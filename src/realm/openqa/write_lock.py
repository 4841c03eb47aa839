"""One writer at a time: the lock of a knowledge base, and whose folder it is.

The lock is the operating system's, so that it ends with the process that holds it, however that ends.
"""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO

from realm.errors import BusyError, KnowledgeBaseError
from realm.openqa.manifest import BLOCKS, DOCUMENTS, PENDING, PUBLISHED

_LOCK = ".lock"


def take_lock(folder: Path) -> IO[str]:
    """Make the folder if need be, and become its only writer until the file is closed.

    Raises:
        BusyError: Another process is writing.
        KnowledgeBaseError: The folder holds something else, or it cannot be written.
    """
    _require_own_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / _LOCK).open("w")
    except OSError as exc:
        raise KnowledgeBaseError(
            f"{folder} cannot be written: {exc.strerror or exc}. Give another --kb folder."
        ) from exc
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        lock.close()
        raise BusyError(f"{folder} is being written by another process. Wait until it is done.") from exc
    return lock


def require_free(folder: Path) -> None:
    """Raise like `take_lock` if the folder cannot be written now; makes no folder."""
    if folder.exists():
        take_lock(folder).close()


def _require_own_folder(folder: Path) -> None:
    """Refuse to write among somebody's other files."""
    if folder.is_dir():
        names = {path.name for path in folder.iterdir()}
        if names and not names & {PUBLISHED, PENDING, DOCUMENTS, BLOCKS, _LOCK}:
            raise KnowledgeBaseError(
                f"{folder} is not empty and not a knowledge base (it holds {min(names)}). Give another --kb folder."
            )
    elif folder.exists():
        raise KnowledgeBaseError(f"{folder} is a file; --kb takes a folder.")
