"""Streams of tensors; the safetensors library is the other reader and writer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from realm.errors import ModelError
from realm.interop.safetensors_stream import TensorStream, find_stored_tensor, write_safetensors

TENSORS = {
    "block_emb": torch.arange(21, dtype=torch.float32).reshape(7, 3),
    "half": torch.tensor([[1.5, -2.0]], dtype=torch.float16),
    "brain": torch.tensor([3.0, 4.0, 5.0], dtype=torch.bfloat16),
    "scalar": torch.tensor(7, dtype=torch.int64),
    "none": torch.zeros(0, 4),
    "flags": torch.tensor([True, False, True]),
}


def streams(max_rows: int) -> dict[str, TensorStream]:
    return {
        name: TensorStream(tensor.dtype, tuple(tensor.shape), lambda t=tensor: t.split(max_rows) if t.dim() else [t])
        for name, tensor in TENSORS.items()
    }


@pytest.mark.parametrize("max_rows", [1, 3, 100])
def test_the_library_reads_what_was_written_in_parts(tmp_path: Path, max_rows: int) -> None:
    path = tmp_path / "m.safetensors"
    write_safetensors(path, streams(max_rows))
    found = load_file(path)
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"format": "pt"}  # without it transformers 4.37.2 refuses the file


@pytest.mark.parametrize("max_rows", [1, 2, 7, 100])
@pytest.mark.parametrize("name", ["block_emb", "half", "brain"])
def test_rows_are_those_the_library_wrote(tmp_path: Path, name: str, max_rows: int) -> None:
    save_file(TENSORS, tmp_path / "m.safetensors")
    stored = find_stored_tensor(tmp_path / "m.safetensors", name)
    assert stored is not None
    assert (stored.dtype, stored.shape) == (TENSORS[name].dtype, tuple(TENSORS[name].shape))
    parts = list(stored.rows(max_rows))
    assert max(map(len, parts)) <= max_rows
    assert torch.equal(torch.cat(parts), TENSORS[name])


def test_a_tensor_that_is_not_there_is_none(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "m.safetensors")
    assert find_stored_tensor(tmp_path / "m.safetensors", "other") is None


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file(TENSORS, path)
    whole = path.read_bytes()
    for data in (b"", whole[:5], whole[:60], whole[:-1], b"\xff" * 8 + whole[8:]):
        path.write_bytes(data)
        with pytest.raises(ModelError, match="cannot be read as weights"):
            find_stored_tensor(path, "block_emb")


def test_parts_that_are_not_what_was_announced_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    with pytest.raises(ValueError, match="8 bytes were given; announced were 12"):
        write_safetensors(path, {"a": TensorStream(torch.float32, (3,), lambda: [torch.zeros(2)])})
    with pytest.raises(ValueError, match="a part of type"):
        write_safetensors(path, {"a": TensorStream(torch.float32, (3,), lambda: [torch.zeros(3).half()])})
    with pytest.raises(ModelError, match="complex64, which cannot be written"):
        write_safetensors(path, {"a": TensorStream(torch.complex64, (3,), list)})
