"""Written checkpoints: the bytes of TensorFlow's own, values that come back, and no half-written file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realm.errors import UsageError
from realm.interop.bundle_entries import DTYPES
from realm.interop.tensorflow_bundle import TensorBundle
from realm.interop.tensorflow_bundle_writer import RowStream, write_bundle

# The first block of the index that TensorFlow 2.21 saves for these variables.
VARIABLES: dict[str, np.ndarray[Any, Any]] = {
    "dense/bias": np.zeros(3, dtype=np.float32),
    "dense/kernel": np.array([[1, 2, 3], [4, 5, 6]], dtype=np.float32),
    "empty": np.zeros((0, 2), dtype=np.float32),
    "global_step": np.array(7),
}
FIRST_BLOCK = (
    b"\x00\x00\x06\x08\x01\x1a\x02\x08\x01\x00\n\x0fdense/bias\x08\x01\x12\x04\x12\x02\x08\x03(\x0c5"
    b"\x99A=\r\x06\x06\x15kernel\x08\x01\x12\x08\x12\x02\x08\x02\x12\x02\x08\x03 \x0c(\x185z\xeb\xf5"
    b"\xab\x00\x05\x11empty\x08\x01\x12\x06\x12\x00\x12\x02\x08\x02 $5\xd8\xea\x82\xa2\x00\x0b\rglobal_"
    b"step\x08\t\x12\x00 $(\x085\xbb\xd7\x9f\x11\x00\x00\x00\x00\x01\x00\x00\x00\x00\x95\xcd\xf5b"
)
NUMBERS = sorted(set(DTYPES.values()) - {"string", "bfloat16"})


def test_index_and_data_have_the_bytes_that_tensorflow_writes(tmp_path: Path) -> None:
    write_bundle(tmp_path / "m", VARIABLES.items())
    assert (tmp_path / "m.index").read_bytes().startswith(FIRST_BLOCK)
    data = bytes(12) + np.arange(1, 7, dtype="<f4").tobytes() + b"\x07" + bytes(7)
    assert (tmp_path / "m.data-00000-of-00001").read_bytes() == data
    assert len(list(tmp_path.iterdir())) == 2


@settings(max_examples=20)
@given(
    shapes=st.dictionaries(st.text("ab/é", min_size=1), st.lists(st.integers(0, 4), max_size=3), max_size=12),
    dtype=st.sampled_from(NUMBERS),
    shards=st.integers(1, 3),
    block_bytes=st.sampled_from([1, 60, 1 << 18]),
)
def test_variables_of_every_type_come_back(
    tmp_path_factory: pytest.TempPathFactory, shapes: dict[str, list[int]], dtype: str, shards: int, block_bytes: int
) -> None:
    prefix = tmp_path_factory.mktemp("bundles") / "model.ckpt-300"
    random = np.random.default_rng(0)
    variables = {name: random.integers(0, 2, shape).astype(dtype) for name, shape in shapes.items()}
    write_bundle(prefix, variables.items(), shards=shards, block_bytes=block_bytes)
    bundle = TensorBundle(prefix)
    assert list(bundle.variables) == sorted(variables, key=str.encode)
    for name, array in variables.items():
        found = bundle.read(name)
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        assert np.array_equal(found, array)


def test_arrays_of_any_layout_are_written_row_by_row(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.float32).reshape(4, 6)
    layouts = {
        "turned": array.T,
        "strided": array[::2, 1::2],
        "big": array.astype(">f4"),
        "fortran": np.asfortranarray(array),
    }
    write_bundle(tmp_path / "m", layouts.items())
    bundle = TensorBundle(tmp_path / "m")
    for name, layout in layouts.items():
        assert np.array_equal(bundle.read(name), layout)


def test_a_row_stream_is_written_as_the_whole_array_would_be(tmp_path: Path) -> None:
    array = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float16)
    rows = (array[start : start + 7] for start in range(0, 50, 7))
    write_bundle(tmp_path / "a", [("block_emb", RowStream((50, 3), np.dtype(np.float32), rows))])
    write_bundle(tmp_path / "b", [("block_emb", array.astype(np.float32))])
    for ending in ("index", "data-00000-of-00001"):
        assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()


def failing() -> Iterator[tuple[str, Any]]:
    yield "a", np.ones(2)
    raise KeyError


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ([("a", np.ones(2)), ("a", np.ones(2))], "'a' is empty or there twice"),
        ([("", np.ones(2))], "'' is empty or there twice"),
        ([("a", np.array(["text"]))], "variable 'a' has the type <U4"),
        ([("a", np.array([None]))], "variable 'a' has the type object"),
        ([("a", RowStream((3, 2), np.dtype("f4"), [np.ones((2, 2))]))], r"\(3, 2\) needs 24 bytes; its rows have 16"),
    ],
)
def test_what_cannot_be_written_leaves_the_old_checkpoint(tmp_path: Path, variables: Any, message: str) -> None:
    write_bundle(tmp_path / "m", VARIABLES.items())
    with pytest.raises(UsageError, match=message):
        write_bundle(tmp_path / "m", variables)
    with pytest.raises(KeyError):
        write_bundle(tmp_path / "m", failing())
    assert np.array_equal(TensorBundle(tmp_path / "m").read("dense/kernel"), VARIABLES["dense/kernel"])
    assert len(list(tmp_path.iterdir())) == 2
