"""A `realm-orqa-*-openqa` folder, as transformers 4.37.2 wrote and read it.

    config.json                                sizes
    model.safetensors or pytorch_model.bin     weights, block_emb among them (or in block_emb.safetensors beside)
    vocab.txt, tokenizer_config.json           word pieces
    block_records.npy                          a pickled array of block texts
    titles.tfr                                 their titles, if somebody has put them there

Knows no knowledge base. Reading order: `HuggingfaceFolder`, then where block vectors may be.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from realm.errors import ModelError, SourceError
from realm.interop.legacy_records import count_block_records, iterate_block_records
from realm.interop.release import (
    TITLES_FILE,
    is_model_weight,
    require_block_emb,
    tensor_stream,
    write_model_files,
)
from realm.interop.safetensors_stream import find_stored_tensor
from realm.models.checkpoints import Checkpoint, refusing
from realm.models.configuration import RealmConfig
from realm.text.tokenization import RealmTokenizerFast

BLOCK_RECORDS_FILE: Final = "block_records.npy"
BLOCK_EMB: Final = "block_emb"
_BLOCK_EMB_FILE: Final = "block_emb.safetensors"
_BYTES_PER_OPENING: Final = 1 << 28


class _BlockVectors(Protocol):
    """Block vectors in a file."""

    @property
    def path(self) -> Path: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    def rows(self, max_rows: int) -> Iterator[Tensor]: ...


@dataclass(frozen=True)
class HuggingfaceFolder:
    """A released Open-QA model; a `Release`.

    Attributes:
        folder: Where it is.
        config: Its sizes.
        tokenizer: Its word pieces.
        block_vectors: Its `block_emb`.
        titles_path: Titles of the blocks; None if nobody kept them.
    """

    folder: Path
    config: RealmConfig
    tokenizer: RealmTokenizerFast
    block_vectors: _BlockVectors
    titles_path: Path | None

    @classmethod
    def open(cls, folder: Path, titles: Path | None = None) -> Self:
        """Look at all parts without reading what is large.

        Args:
            folder: Where it is.
            titles: A TFRecord file of titles; by default `titles.tfr` in the folder, if it is there.

        Raises:
            SourceError: A file is missing, or there are not as many records as vectors.
            ModelError: Config, weights or word pieces are damaged or do not belong together.
            UnsafeFileError: A file asks for code to be run.
        """
        for name in ("config.json", BLOCK_RECORDS_FILE):
            if not (folder / name).is_file():
                raise SourceError(f"No {name} in {folder}: expected the folder of a realm-orqa-*-openqa model.")
        with refusing(folder):
            config = RealmConfig.from_pretrained(folder)
            tokenizer = RealmTokenizerFast.from_pretrained(folder)
            vectors = _find_block_vectors(folder)
            require_block_emb(vectors.path, vectors.shape, vectors.dtype, config.retriever_proj_size)
        if len(tokenizer) > config.vocab_size:
            raise ModelError(f"{folder}: {len(tokenizer):,} word pieces, and the model knows {config.vocab_size:,}.")
        records = count_block_records(folder / BLOCK_RECORDS_FILE)
        if records != vectors.shape[0]:
            raise SourceError(
                f"{folder / BLOCK_RECORDS_FILE} has {records:,} records and block_emb {vectors.shape[0]:,} rows; "
                "they do not belong together."
            )
        beside = folder / TITLES_FILE
        return cls(folder, config, tokenizer, vectors, titles or (beside if beside.is_file() else None))

    @property
    def records_path(self) -> Path:
        """The file of block texts."""
        return self.folder / BLOCK_RECORDS_FILE

    @property
    def rows(self) -> int:
        """How many vectors there are."""
        return self.block_vectors.shape[0]

    @property
    def dim(self) -> int:
        """Numbers in each."""
        return self.block_vectors.shape[1]

    def vector_chunks(self, max_rows: int) -> Iterator[NDArray[np.float32]]:
        """The vectors in order, at most `max_rows` at a time."""
        for rows in self.block_vectors.rows(max_rows):
            yield rows.float().numpy()

    def records(self) -> Iterator[bytes]:
        """The block texts in order."""
        return iterate_block_records(self.records_path)

    def write_model(self, folder: Path) -> None:
        """Write the model without its block vectors: every weight as it is, aliases and buffers left out."""
        with refusing(self.folder):
            checkpoint = Checkpoint(self.folder)
            weights = {
                name: tensor_stream(partial(checkpoint.__getitem__, name))
                for name in sorted(checkpoint)
                if is_model_weight(name)
            }
        write_model_files(folder, self.config, weights, self.tokenizer)


@dataclass(frozen=True)
class _PickledVectors:
    """Block vectors in a `pytorch_model.bin`, whose tensors torch maps into memory.

    Attributes:
        path: The folder.
        dtype: Of the numbers.
        shape: Of the whole.
    """

    path: Path
    dtype: torch.dtype
    shape: tuple[int, ...]

    def rows(self, max_rows: int) -> Iterator[Tensor]:
        """Consecutive rows. The file is opened anew now and then: pages of it that were read count as memory."""
        width_bytes = self.shape[1] * self.dtype.itemsize
        step = max(1, _BYTES_PER_OPENING // width_bytes)
        for first in range(0, self.shape[0], step):
            yield from Checkpoint(self.path)[BLOCK_EMB][first : first + step].split(max_rows)


def _find_block_vectors(folder: Path) -> _BlockVectors:
    """Beside the weights, in them, in a shard of them."""
    for path in (folder / _BLOCK_EMB_FILE, folder / "model.safetensors", *sorted(folder.glob("model-*.safetensors"))):
        if path.is_file() and (stored := find_stored_tensor(path, BLOCK_EMB)) is not None:
            return stored
    checkpoint = Checkpoint(folder)
    if BLOCK_EMB not in checkpoint:
        raise ModelError(f"No block_emb among the weights in {folder}: expected a realm-orqa-*-openqa model.")
    tensor = checkpoint[BLOCK_EMB]
    return _PickledVectors(folder, tensor.dtype, tuple(tensor.shape))
