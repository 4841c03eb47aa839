"""Weights on disk: which names a checkpoint holds, and single tensors out of it without loading the rest.

Safetensors files and weights-only pickles (`pytorch_model.bin`), whole or sharded, local or cached from the Hub.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers.utils import cached_file

from realm.errors import ModelError, RealmError, UnsafeFileError

_WHOLE = ("model.safetensors", "pytorch_model.bin")
_DAMAGE = (
    OSError, ImportError, LookupError, ValueError, TypeError, AttributeError, RuntimeError, SafetensorError
)  # fmt: skip
_HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder")


class Checkpoint(Mapping[str, Tensor]):
    """A read-only mapping from weight name to tensor, memory-mapped; nothing is copied until it is used.

    Args:
        name_or_path: A folder, or the name of a model on the Hub.
        options: Of those `from_pretrained` takes, the ones that say where to look (`revision`, `variant`, ...).

    Raises:
        ModelError: There are no weights in a known format, one of their files is missing, or they are damaged.
        UnsafeFileError: A file asks for code to be run.
    """

    def __init__(self, name_or_path: str | Path, options: Mapping[str, Any] | None = None) -> None:
        self._file_of_key: dict[str, Path] = {}
        self._pickled: dict[Path, dict[str, Tensor]] = {}
        for path in _weight_files(str(name_or_path), options or {}):
            for key in self._keys_of(path):
                self._file_of_key[key] = path
        if not self._file_of_key:
            names = " or ".join(_of_variant(name, options or {}) for name in _WHOLE)
            raise ModelError(f"No weights in {name_or_path}: expected {names} (or their index).")

    def __getitem__(self, key: str) -> Tensor:
        path = self._file_of_key[key]
        if path.suffix == ".bin":
            return self._pickled[path][key]
        with safe_open(path, framework="pt") as file:
            tensor: Tensor = file.get_tensor(key)
            return tensor

    def __iter__(self) -> Any:
        return iter(self._file_of_key)

    def __len__(self) -> int:
        return len(self._file_of_key)

    def _keys_of(self, path: Path) -> list[str]:
        try:
            if path.suffix == ".bin":
                self._pickled[path] = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
                return list(self._pickled[path])
            with safe_open(path, framework="pt") as file:
                return list(file.keys())
        except Exception as exc:
            # torch has no exception of its own for a pickle that asks for more than tensors.
            if "Weights only load failed" in str(exc):
                raise UnsafeFileError(f"{path} holds more than weights, or is damaged; nothing in it was run.") from exc
            raise ModelError(f"{path} cannot be read as weights: {str(exc) or type(exc).__name__}") from exc


def _weight_files(name_or_path: str, hub: Mapping[str, Any]) -> list[Path]:
    for name in _WHOLE:
        if (path := find_file(name_or_path, _of_variant(name, hub), hub)) is not None:
            return [path]
        if (index := find_file(name_or_path, _of_variant(f"{name}.index.json", hub), hub)) is not None:
            return [_shard(name_or_path, shard, hub) for shard in _shards_named_by(index)]
    return []


def _of_variant(name: str, options: Mapping[str, Any]) -> str:
    """The name that `save_pretrained(variant=...)` gives a file: `model.fp16.safetensors`."""
    variant = options.get("variant")
    stem, _, ending = name.rpartition(".")
    return f"{stem}.{variant}.{ending}" if variant else name


def _shards_named_by(index: Path) -> list[str]:
    try:
        return sorted({str(shard) for shard in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as exc:
        raise ModelError(f"{index} cannot be read as an index of weights ({exc}). Fetch it again.") from exc


def _shard(name_or_path: str, shard: str, hub: Mapping[str, Any]) -> Path:
    path = find_file(name_or_path, shard, hub)
    if path is None:
        raise ModelError(
            f"{shard} is missing from {name_or_path}, but the index of its weights names it. Copy it there."
        )
    return path


def find_file(name_or_path: str, filename: str, options: Mapping[str, Any]) -> Path | None:
    """A file of a model, in its folder or on the Hub (as far as `options` allow); None if there is none.

    Args:
        name_or_path: A folder, or the name of a model on the Hub.
        filename: Name of the file.
        options: Those `from_pretrained` takes; only the ones that say where to look are used.
    """
    hub = {key: value for key, value in options.items() if key in _HUB_OPTIONS and value is not None}
    if Path(name_or_path).is_dir():
        path = Path(name_or_path, hub.get("subfolder") or "", filename)
        return path if path.is_file() else None
    found = cached_file(
        name_or_path,
        filename,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
        **hub,
    )
    return None if found is None else Path(found)


@contextmanager
def refusing(folder: Path, advice: str = "") -> Iterator[None]:
    """Translate what the libraries raise for damaged or impossible files of a model.

    Raises:
        ModelError: With `advice` behind the reason.
    """
    try:
        yield
    except RealmError:
        raise
    except _DAMAGE as exc:
        reason = (str(exc) or type(exc).__name__).splitlines()[0][:300]
        raise ModelError(f"{folder} cannot be read as a model ({reason}). {advice}".rstrip()) from exc


def _is_zip(path: Path) -> bool:
    """Only the zip form of torch files can be memory-mapped; those before torch 1.6 cannot."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"
