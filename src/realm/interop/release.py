"""What a published REALM is, whoever published it: a trained model, block texts, and a vector for each block.

    HuggingfaceFolder   realm-orqa-*-openqa as transformers 4.37.2 reads it
    GoogleFolder        TensorFlow checkpoints and TFRecord files of the original release

Knows no knowledge base; `openqa.importing` makes one of a `Release`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from realm.errors import ModelError, SourceError
from realm.interop.safetensors_stream import TensorStream, write_safetensors
from realm.interop.tfrecord import iterate_tfrecord
from realm.models.configuration import RealmConfig
from realm.records import Document
from realm.text.tokenization import RealmTokenizerFast

TITLES_FILE = "titles.tfr"
"""Titles of the blocks in their order. The original release has them; transformers 4.37.2 does not know them."""

_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


class Release(Protocol):
    """A published model with its blocks, opened and looked at; what is large is read when asked for."""

    @property
    def folder(self) -> Path:
        """Where it is."""

    @property
    def records_path(self) -> Path:
        """The file of block texts."""

    @property
    def titles_path(self) -> Path | None:
        """The file of titles, if there is one."""

    @property
    def rows(self) -> int:
        """How many vectors there are."""

    @property
    def dim(self) -> int:
        """Numbers in each."""

    def vector_chunks(self, max_rows: int) -> Iterator[NDArray[np.float32]]:
        """The vectors in order, at most `max_rows` at a time; no more are held in memory."""

    def records(self) -> Iterator[bytes]:
        """The block texts in order, one by one."""

    def write_model(self, folder: Path) -> None:
        """Write config, weights and tokenizer as a model folder; `folder` is made."""


def documents_with_vectors(release: Release, max_rows: int) -> Iterator[tuple[list[Document], NDArray[np.float32]]]:
    """Every record as a document, its number being its id, with the vectors; at most `max_rows` at a time.

    Raises:
        SourceError: A file is damaged, a record is not UTF-8, or there are more or fewer records or titles than
            vectors. What stands before the damage has been given out by then.
    """
    source = str(release.records_path)
    texts = _texts(release.records_path, release.records())
    path = release.titles_path
    titles = None if path is None else _texts(path, iterate_tfrecord(path))
    first = 0
    for vectors in release.vector_chunks(max_rows):
        count = len(vectors)
        bodies = _next_of(texts, count, first, release.rows)
        heads = [""] * count if titles is None else _next_of(titles, count, first, release.rows)
        documents = [
            Document(id=str(row), title=title, text=text, source=f"{source}:{row}")
            for row, (title, text) in enumerate(zip(heads, bodies, strict=True), first)
        ]
        yield documents, vectors
        first += count
    for left in (texts, titles):
        if left is not None and next(left.texts, None) is not None:
            raise SourceError(f"{left.path} has more records than the {release.rows:,} rows of block_emb.")


def write_model_files(
    folder: Path, config: RealmConfig, weights: Mapping[str, TensorStream], tokenizer: RealmTokenizerFast
) -> None:
    """Write the four parts of a model folder: config, weights, tokenizer, vocabulary."""
    folder.mkdir(parents=True)
    write_safetensors(folder / "model.safetensors", dict(weights))
    tokenizer.save_pretrained(folder)
    values = {**config.to_dict(), "architectures": ["RealmForOpenQA"]}
    if (dtype := values.pop("dtype", None)) is not None:
        values["torch_dtype"] = str(dtype).removeprefix("torch.")  # the name that 4.37.2 knows
    (folder / "config.json").write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def is_model_weight(name: str) -> bool:
    """Whether a name in a checkpoint is a weight of its own: neither block vectors, nor a buffer, nor an alias."""
    inside = name.startswith(("embedder.", "query_embedder.", "reader."))
    return inside and not name.endswith((".position_ids", ".token_type_ids", ".cls.predictions.decoder.bias"))


def tensor_stream(get: Callable[[], Tensor]) -> TensorStream:
    """A weight that is read once for its shape, and again when it is written."""
    tensor = get()
    return TensorStream(tensor.dtype, tuple(tensor.shape), partial(_only, get))


def require_block_emb(path: Path, shape: tuple[int, ...], dtype: torch.dtype, dim: int) -> None:
    """Check that block vectors are a matrix of floats with rows of `dim` numbers.

    Raises:
        ModelError: They are not.
    """
    if len(shape) != 2 or not shape[0] or dtype not in _FLOATS:
        raise ModelError(f"{path}: block_emb is {dtype} of shape {shape}; expected rows of floating-point numbers.")
    if shape[1] != dim:
        raise ModelError(
            f"{path}: block_emb has {shape[1]} numbers a row, and the model's vectors have {dim}; "
            "they do not belong together."
        )


class _Texts(NamedTuple):
    """The records of a file, on their way."""

    path: Path
    texts: Iterator[str]


def _texts(path: Path, records: Iterator[bytes]) -> _Texts:
    return _Texts(path, (_decoded(path, row, record) for row, record in enumerate(records)))


def _decoded(path: Path, row: int, record: bytes) -> str:
    try:
        return record.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise SourceError(f"{path}: record {row:,} is not UTF-8 text at byte {exc.start}.") from exc


def _next_of(source: _Texts, count: int, first: int, rows: int) -> list[str]:
    found = list(islice(source.texts, count))
    if len(found) < count:
        raise SourceError(f"{source.path} has {first + len(found):,} records, and block_emb {rows:,} rows.")
    return found


def _only(get: Callable[[], Tensor]) -> Iterable[Tensor]:
    yield get()
