"""Writes a release of many rows a step at a time, imports and exports it, and prints how much memory that took.

    python import_in_bounded_memory.py FOLDER MODEL ROWS

Prints one JSON line: the most memory taken before the import, in it and in an export, and what was read, in MB.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from realm.interop.huggingface_folder import HuggingfaceFolder
from realm.interop.legacy_records import write_block_records
from realm.interop.safetensors_stream import TensorStream, write_safetensors
from realm.openqa.exporting import export_huggingface
from realm.openqa.importing import import_release

STEP = 10_000
WORDS = ["castle", "of", "the", "king", "river", "winter", "moon", "Zürich", "built", "lost", "painter", "in"]


def write_release(folder: Path, model: Path, rows: int) -> None:
    """A model with `rows` records of some 150 bytes, and as many vectors."""
    shutil.copytree(model, folder)
    state = load_file(folder / "model.safetensors")
    dim = state["embedder.cls.dense.weight"].shape[0]

    def vectors() -> Iterator[torch.Tensor]:
        for start in range(0, rows, STEP):
            chance = np.random.default_rng(start)
            yield torch.from_numpy(chance.standard_normal((min(STEP, rows - start), dim), dtype=np.float32))

    def records() -> Iterator[bytes]:
        chance = np.random.default_rng(1)
        for row in range(rows):
            words = " ".join(WORDS[number] for number in chance.integers(0, len(WORDS), 25))
            yield f"{row} {words}".encode()

    streams = {key: TensorStream(t.dtype, tuple(t.shape), lambda t=t: [t]) for key, t in state.items()}
    write_safetensors(
        folder / "model.safetensors", {**streams, "block_emb": TensorStream(torch.float32, (rows, dim), vectors)}
    )
    write_block_records(folder / "block_records.npy", records())


def peak_mb() -> float:
    # Not ru_maxrss, which begins with what the process that started this one held.
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def main(folder: Path, model: Path, rows: int) -> None:
    small = folder / "small"
    write_release(small, model, 20_000)
    import_release(HuggingfaceFolder.open(small), folder / "small-kb")  # loads every library
    export_huggingface(folder / "small-kb", folder / "small-out")
    write_release(folder / "large", model, rows)
    before = peak_mb()
    report = import_release(HuggingfaceFolder.open(folder / "large"), folder / "kb")
    imported = peak_mb()
    export_huggingface(folder / "kb", folder / "out")
    read = sum(path.stat().st_size for path in (folder / "large").iterdir()) / 1e6
    print(
        json.dumps(
            {
                "rows": report.documents,
                "seconds": report.seconds,
                "before_mb": before,
                "imported_mb": imported,
                "exported_mb": peak_mb(),
                "read_mb": read,
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
