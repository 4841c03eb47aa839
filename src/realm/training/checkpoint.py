"""Checkpoints of the training loop: weights, optimiser state and step number, as safetensors and JSON.

A process killed at any moment leaves the last complete checkpoint. Knows neither jobs nor schedules.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from realm.artifacts import sync_directory, write_json_atomically
from realm.errors import RecipeError

CHECKPOINT_FOLDER = "checkpoint"
_FRESH_FOLDER = f".{CHECKPOINT_FOLDER}.new"
_OLD_FOLDER = f".{CHECKPOINT_FOLDER}.old"
_OPTIMIZER_STATE = ("exp_avg", "exp_avg_sq", "step")


def save_checkpoint(
    run: Path,
    step: int,
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    figures: Mapping[str, Any],
) -> None:
    """Write a complete checkpoint beside the old one, then put it in its place.

    Args:
        run: The run folder.
        step: Steps done.
        parameters: All that are trained.
        optimizer: AdamW over them.
        figures: What the log has counted since its last line, as JSON values.
    """
    fresh, current, old = run / _FRESH_FOLDER, run / CHECKPOINT_FOLDER, run / _OLD_FOLDER
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    tensors = {f"weight.{name}": p.detach().contiguous() for name, p in parameters.items()}
    for name, p in parameters.items():
        for key, value in optimizer.state[p].items():
            tensors[f"{key}.{name}"] = torch.as_tensor(value).contiguous()
    save_file(tensors, fresh / "state.safetensors")
    write_json_atomically(fresh / "state.json", {"step": step, "figures": figures})
    if current.exists():
        # Order: while there is no current checkpoint, an old one is the only one.
        shutil.rmtree(old, ignore_errors=True)
        os.replace(current, old)
    os.replace(fresh, current)
    sync_directory(run)
    shutil.rmtree(old, ignore_errors=True)


def restore_checkpoint(
    run: Path, parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> tuple[int, dict[str, Any]]:
    """Load the checkpoint, if any; also one that a kill between two renames left under its old name.

    Returns:
        Steps done, and the figures as they were saved; 0 and nothing without a checkpoint.

    Raises:
        RecipeError: The checkpoint's weights have other names or shapes than `parameters`.
    """
    folder = run / CHECKPOINT_FOLDER
    if not folder.exists():
        if not (run / _OLD_FOLDER).exists():
            return 0, {}
        os.replace(run / _OLD_FOLDER, folder)
    shutil.rmtree(run / _OLD_FOLDER, ignore_errors=True)
    tensors = load_file(folder / "state.safetensors")
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
        state = {key: tensors[f"{key}.{name}"] for key in _OPTIMIZER_STATE if f"{key}.{name}" in tensors}
        if state:
            optimizer.state[p] = {k: v if k == "step" else v.to(p.device) for k, v in state.items()}
    saved = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    return int(saved["step"]), saved.get("figures", {})
