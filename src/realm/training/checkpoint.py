"""Checkpoints of the training loop: weights, optimiser state and what a run remembers, as safetensors and JSON.

A process killed at any moment, or a full disk, leaves the last complete checkpoint. Knows neither jobs nor schedules.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from realm.artifacts import sync_directory, write_json_atomically
from realm.errors import RecipeError, TrainingError

CHECKPOINT_FOLDER = "checkpoint"
_STATE_FILE = "state.json"
_TENSORS_FILE = "state.safetensors"
_OPTIMIZER_STATE = ("exp_avg", "exp_avg_sq", "step")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def save_checkpoint(
    run: Path,
    step: int,
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    state: Mapping[str, Any],
) -> None:
    """Write a complete checkpoint beside the old one, then put it in its place.

    Args:
        run: The run folder.
        step: Steps done.
        parameters: All that are trained.
        optimizer: AdamW over them.
        state: What else the run remembers, as JSON values.
    """
    tensors = {f"weight.{name}": p.detach().contiguous() for name, p in parameters.items()}
    for name, p in parameters.items():
        for key, value in optimizer.state[p].items():
            tensors[f"{key}.{name}"] = torch.as_tensor(value).contiguous()

    def write(folder: Path) -> None:
        folder.mkdir()
        save_file(tensors, folder / _TENSORS_FILE)
        with (folder / _TENSORS_FILE).open("rb") as file:
            os.fsync(file.fileno())
        write_json_atomically(folder / _STATE_FILE, {"step": step, **state})

    replace_folder(run / CHECKPOINT_FOLDER, write)


def read_state(run: Path) -> dict[str, Any] | None:
    """What the run's checkpoint remembers besides tensors, `step` among it; None without a checkpoint.

    Raises:
        RecipeError: The checkpoint is damaged.
    """
    folder = run / CHECKPOINT_FOLDER
    if not folder.exists():
        return None
    try:
        state: dict[str, Any] = json.loads((folder / _STATE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise RecipeError(f"{folder} is damaged ({exc}). Delete it to begin this run anew.") from exc
    return state


def restore_checkpoint(
    run: Path, parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> tuple[int, dict[str, Any]]:
    """Load the checkpoint, if any.

    Returns:
        Steps done, and what was saved as `state`; 0 and nothing without a checkpoint.

    Raises:
        RecipeError: The checkpoint is damaged, or its weights have other names or shapes than `parameters`.
    """
    state = read_state(run)
    if state is None:
        return 0, {}
    folder = run / CHECKPOINT_FOLDER
    try:
        tensors = load_file(folder / _TENSORS_FILE)
    except (OSError, SafetensorError) as exc:
        raise RecipeError(f"{folder} is damaged ({exc}). Delete it to begin this run anew.") from exc
    expected = {(f"weight.{name}", p.shape) for name, p in parameters.items()}
    found = {(name, value.shape) for name, value in tensors.items() if name.startswith("weight.")}
    if expected != found:
        raise RecipeError(
            f"The checkpoint in {folder} is of another model: {len(found - expected)} unknown and "
            f"{len(expected - found)} missing weights. Use a new run folder."
        )
    for name, p in parameters.items():
        with torch.no_grad():
            p.copy_(tensors[f"weight.{name}"])
        moments = {key: tensors[f"{key}.{name}"] for key in _OPTIMIZER_STATE if f"{key}.{name}" in tensors}
        if moments:
            optimizer.state[p] = {key: value.to(p.device) for key, value in moments.items()}
    return int(state["step"]), state


def replace_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Make a folder anew beside the old one, then put it in its place.

    Args:
        folder: Its name.
        write: Makes the new one under the path that it is given. If it fails, the old one stays.
    """
    fresh, old = _beside(folder, "new"), _beside(folder, "old")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        write(fresh)
    except (OSError, SafetensorError):
        shutil.rmtree(fresh, ignore_errors=True)  # a full disk gets its room back
        raise
    if folder.exists():
        # Order: while there is no folder of that name, the old one is the only one.
        shutil.rmtree(old, ignore_errors=True)
        os.replace(folder, old)
    os.replace(fresh, folder)
    sync_directory(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def recover_folder(folder: Path) -> None:
    """Give a folder its name back that a kill left under its old one, and clear away what was in the making."""
    old = _beside(folder, "old")
    if not folder.exists() and old.exists():
        os.replace(old, folder)
    for leftover in (old, _beside(folder, "new")):
        if leftover.exists():
            shutil.rmtree(leftover, ignore_errors=True)


@contextmanager
def full_disk_is_said(run: Path) -> Iterator[None]:
    """Turn a full disk, or a limit on file sizes, into the caller's mistake.

    Raises:
        TrainingError: There is no room; the message says which checkpoint is whole.
    """

    def kept() -> str:
        recover_folder(run / CHECKPOINT_FOLDER)
        state = read_state(run)
        return "There is no checkpoint yet" if state is None else f"The checkpoint of step {state['step']:,} is whole"

    with no_room_is_said(run, kept):
        yield


@contextmanager
def no_room_is_said(run: Path, kept: Callable[[], str]) -> Iterator[None]:
    """The same for a process that is not the trainer, and leaves its checkpoint alone.

    Args:
        run: The run folder.
        kept: Says what is not lost.

    Raises:
        TrainingError: There is no room.
    """
    try:
        yield
    except (OSError, SafetensorError) as exc:
        number = _error_number(exc)
        if number not in _NO_ROOM:
            raise
        raise TrainingError(
            f"No room to write to {run}: {os.strerror(number)}. {kept()}: make room, then give the same command again."
        ) from exc


def _error_number(exc: Exception) -> int:
    """The system's error number; safetensors, and copying a folder, tell it in their messages only."""
    if isinstance(exc, OSError) and exc.errno:
        return exc.errno
    told = re.search(r"(?:os error |\[Errno )(\d+)", str(exc))
    return int(told[1]) if told else 0


def _beside(folder: Path, age: str) -> Path:
    return folder.with_name(f".{folder.name}.{age}")
