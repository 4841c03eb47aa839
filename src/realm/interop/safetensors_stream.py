"""safetensors files larger than memory: tensors written and read a few rows at a time.

    8 bytes: size of the header │ header (JSON): name -> dtype, shape, first and last byte │ bytes of all tensors

Small files are the library's, which also checks every header read here. Knows no tensor in particular.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from realm.errors import ModelError

_DTYPES: Final = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_NAMES: Final = {name: dtype for dtype, name in _DTYPES.items()}


@dataclass(frozen=True, slots=True)
class TensorStream:
    """A tensor on its way into a file.

    Attributes:
        dtype: Of its numbers.
        shape: Of the whole.
        parts: Gives it part by part: consecutive rows, or all of it at once.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    parts: Callable[[], Iterable[Tensor]]

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor in a file.

    Attributes:
        path: The file.
        dtype: Of its numbers.
        shape: Of the whole.
        offset: First byte in the file.
    """

    path: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    offset: int

    def rows(self, max_rows: int) -> Iterator[Tensor]:
        """Consecutive rows, at most `max_rows` at a time; no more are held in memory.

        Raises:
            ModelError: The file has become shorter.
        """
        width = math.prod(self.shape[1:])
        with self.path.open("rb") as file:
            file.seek(self.offset)
            for start in range(0, self.shape[0], max_rows):
                count = min(max_rows, self.shape[0] - start)
                raw = np.empty(count * width * self.dtype.itemsize, dtype=np.uint8)
                if file.readinto(raw.data) != len(raw):
                    raise ModelError(f"{self.path} is cut off; fetch it again.")
                yield torch.from_numpy(raw).view(self.dtype).view(count, *self.shape[1:])


def find_stored_tensor(path: Path, name: str) -> StoredTensor | None:
    """Where a tensor stands in a file; None if the file has none of that name.

    Raises:
        ModelError: The file is damaged, or the tensor is of a type this does not know.
    """
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys()
        if name not in names:
            return None
        with path.open("rb") as raw:
            size = int.from_bytes(raw.read(8), "little")
            entry = json.loads(raw.read(size))[name]
    except (OSError, ValueError, SafetensorError) as exc:
        raise ModelError(f"{path} cannot be read as weights: {str(exc) or type(exc).__name__}") from exc
    if entry["dtype"] not in _NAMES:
        raise ModelError(f"{path}: {name} holds numbers of type {entry['dtype']}; known are {', '.join(_NAMES)}.")
    return StoredTensor(path, _NAMES[entry["dtype"]], tuple(entry["shape"]), 8 + size + entry["data_offsets"][0])


def write_safetensors(path: Path, tensors: dict[str, TensorStream]) -> None:
    """Write tensors one after another.

    Args:
        path: Written as it is; see `staging` for files that appear whole.
        tensors: By name.

    Raises:
        ModelError: A tensor is of a type the format does not know.
        ValueError: The parts of a tensor are not what it announced.
    """
    # Widest numbers first, so that all stand at multiples of their size.
    order = sorted(tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, stream in order:
        if stream.dtype not in _DTYPES:
            raise ModelError(f"the weight {name} is of type {stream.dtype}, which cannot be written.")
        start, end = end, end + stream.size_bytes
        header[name] = {"dtype": _DTYPES[stream.dtype], "shape": list(stream.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, stream in order:
            written = 0
            for part in stream.parts():
                if part.dtype != stream.dtype:
                    raise ValueError(f"{name}: a part of type {part.dtype}; announced was {stream.dtype}")
                written += file.write(part.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
            if written != stream.size_bytes:
                raise ValueError(f"{name}: {written:,} bytes were given; announced were {stream.size_bytes:,}")
