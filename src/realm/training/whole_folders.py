"""Folders that appear whole or not at all, and the names of those that belong to steps. Knows not what is in them."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from realm.artifacts import sync_directory

_NAME = re.compile(r"step-([0-9]{8,})")


def step_name(step: int) -> str:
    """Name of the folder of an export or a snapshot."""
    return f"step-{step:08d}"


def step_folders(folder: Path) -> dict[int, Path]:
    """Folders of exports or snapshots by step, in ascending order."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return {}
    found = {int(match[1]): folder / name for name in names if (match := _NAME.fullmatch(name))}
    return dict(sorted(found.items()))


@contextmanager
def fresh_folder(place: Path) -> Iterator[Path]:
    """Give an empty folder to write to, which takes the place of whatever is at `place`; not after an error."""
    fresh = _hidden(place)
    fresh.mkdir(parents=True)
    try:
        yield fresh
        publish_folder(fresh, place)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def publish_folder(fresh: Path, place: Path) -> None:
    """Bring a folder to the disk and rename it to its place; an older one there is renamed away, then deleted."""
    for path in fresh.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_directory(fresh)
    place.parent.mkdir(parents=True, exist_ok=True)
    remove_folder(place)
    os.rename(fresh, place)
    sync_directory(place.parent)


def remove_folder(folder: Path) -> None:
    """Delete a folder so that nobody finds half of it: it is renamed first."""
    gone = _hidden(folder)
    try:
        os.rename(folder, gone)
    except FileNotFoundError:
        return
    shutil.rmtree(gone, ignore_errors=True)


def sweep_temporaries(folder: Path) -> None:
    """Delete what a killed process left half written or half deleted. For the only one who writes there."""
    for left in folder.glob(".*.tmp"):
        shutil.rmtree(left, ignore_errors=True)


def _hidden(place: Path) -> Path:
    return place.with_name(f".{place.name}.{uuid.uuid4().hex}.tmp")
