"""A model folder, opened: the networks, the word pieces and the inputs that belong together."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from realm.artifacts import sha256_of_file
from realm.corpus.block_store import StoredBlock
from realm.errors import ModelError
from realm.features.inputs import InputBuilder, Row, batches_of_like_length
from realm.models.checkpoints import Checkpoint, refusing
from realm.models.configuration import RealmConfig
from realm.models.cores import Cores
from realm.models.precision import fastest_dtype
from realm.openqa.batch_embedding import BatchEmbedder
from realm.openqa.calibration import CALIBRATION_FILE, Calibration
from realm.openqa.default_model import DEFAULT_MODEL, default_model_folder
from realm.openqa.manifest import ModelReference
from realm.openqa.model import RealmForOpenQA
from realm.text.pieces import PieceTokenizer

_PIECES_AT_ONCE = 4096
_EMBEDDER_CONFIG = (
    "hidden_act", "hidden_size", "intermediate_size", "layer_norm_eps", "max_position_embeddings",
    "num_attention_heads", "num_hidden_layers", "position_embedding_type", "retriever_proj_size", "vocab_size",
)  # fmt: skip
_FILES = ("config.json", "model.safetensors", "tokenizer.json")
_ANOTHER = "Give another model folder, or realm-mini."
_UNUSED = re.compile(r"cls\.predictions\.|^reader\.realm\.pooler\.")
"""Weights that answering does not use; a folder may lack them."""


@dataclass(frozen=True)
class ModelFolder:
    """A folder with `config.json`, `model.safetensors` (of a `RealmForOpenQA`) and `tokenizer.json`.

    Attributes:
        name: As asked for: "realm-mini" or a path.
        folder: Where the files are.
    """

    name: str
    folder: Path

    @classmethod
    def open(cls, name: str | None = None) -> ModelFolder:
        """Find a model by name or path; the built-in one if None.

        Raises:
            ModelError: There is no such folder, or it lacks a file.
            MissingExtraError: The built-in model's trunk is not installed.
        """
        if name is None or name == DEFAULT_MODEL:
            return cls(DEFAULT_MODEL, default_model_folder())
        folder = Path(name).expanduser().resolve()
        missing = [file for file in _FILES if not (folder / file).is_file()]
        if missing:
            raise ModelError(f"No model at {name}: {', '.join(missing)} missing. Give a model folder, or realm-mini.")
        return cls(str(folder), folder)

    @cached_property
    def reference(self) -> ModelReference:
        """Name and digest of what vectors depend on: embedder, sizes, word pieces. A new reader changes nothing.

        Raises:
            ModelError: A file is damaged, which must not pass for another model.
        """
        _ = self.tokenizer
        digest = hashlib.sha256(sha256_of_file(self.folder / "tokenizer.json").encode())
        with refusing(self.folder, _ANOTHER):
            config = RealmConfig.from_pretrained(self.folder).to_dict()
            digest.update(json.dumps({key: config.get(key) for key in _EMBEDDER_CONFIG}).encode())
            _add_weights(digest, self.folder, "embedder.")
        return ModelReference(self.name, digest.hexdigest())

    @cached_property
    def reader_sha256(self) -> str:
        """Digest of the reader's weights, which a calibration names."""
        digest = hashlib.sha256()
        with refusing(self.folder, _ANOTHER):
            _add_weights(digest, self.folder, "reader.")
        return digest.hexdigest()

    @cached_property
    def calibration(self) -> Calibration | None:
        """How sure to be of answers, if that was measured.

        Raises:
            ModelError: The file is damaged, or belongs to another reader.
        """
        found = Calibration.load(self.folder)
        if found is not None and found.reader_sha256 != self.reader_sha256:
            raise ModelError(
                f"{self.folder / CALIBRATION_FILE} belongs to another reader. "
                "Delete it, or make it again with: realm calibrate"
            )
        return found

    @cached_property
    def device(self) -> torch.device:
        """Where the networks run."""
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    @cached_property
    def networks(self) -> RealmForOpenQA:
        """Embedder and reader, in evaluation mode, in the format the device is fastest in."""
        with refusing(self.folder, _ANOTHER):
            model: RealmForOpenQA = RealmForOpenQA.from_pretrained(self.folder, dtype=torch.float32)
            given = set(Checkpoint(self.folder))
        missing = [key for key in model.state_dict() if key not in given and not _UNUSED.search(key)]
        if missing:
            raise ModelError(
                f"{self.folder} lacks {len(missing):,} weights of a RealmForOpenQA, such as {missing[0]}. {_ANOTHER}"
            )
        module: nn.Module = model.eval()
        module.to(self.device, fastest_dtype(self.device))
        return model

    @cached_property
    def tokenizer(self) -> PieceTokenizer:
        """Word pieces of plain text."""
        return PieceTokenizer.from_folder(self.folder)

    @cached_property
    def inputs(self) -> InputBuilder:
        """Rows and batches for the networks."""
        with refusing(self.folder, _ANOTHER):
            return InputBuilder(self.tokenizer)

    def embed(self, rows: Sequence[Row], *, questions: bool = False) -> NDArray[np.float32]:
        """Vectors of inputs, in their order; computed in batches of like length.

        Args:
            rows: Inputs.
            questions: They are questions, for which a fine-tuned model may have an embedder of its own.

        Returns:
            (rows, dim) float32.
        """
        return (self._question_embedder if questions else self._block_embedder)(rows)

    def embed_blocks(self, blocks: Sequence[StoredBlock], max_pieces: int) -> NDArray[np.float32]:
        """Vectors of blocks that are in store, of at most so many pieces each; (blocks, dim) float32."""
        return self.embed([self.inputs.block(one.title_ids, one.block.token_ids, max_pieces) for one in blocks])

    @cached_property
    def _block_embedder(self) -> BatchEmbedder:
        return BatchEmbedder(self.networks.embedder, self.inputs, self._cores)

    @cached_property
    def _question_embedder(self) -> BatchEmbedder:
        if self.networks.question_embedder is self.networks.embedder:
            return self._block_embedder
        return BatchEmbedder(self.networks.question_embedder, self.inputs, self._cores)

    def in_batches(self, work: Callable[[list[int]], None], rows: Sequence[Row]) -> None:
        """Do some work on all rows, in batches of like length; on a processor several at a time, each on one core.

        Unlike in embedding, even a few rows are spread over all cores.

        Args:
            work: Takes the numbers of a batch's rows; may be called by several threads at once.
            rows: All of them.
        """
        lengths = [len(row.ids) for row in rows]
        if self._cores is None:
            for numbers in batches_of_like_length(lengths, _PIECES_AT_ONCE):
                work(numbers)
            return
        count = self._cores.count
        pieces = min(_PIECES_AT_ONCE, sum(lengths)) // count
        batches = list(batches_of_like_length(lengths, max(pieces, 1)))
        even = len(batches) // count * count
        self._cores.run(work, batches[:even])
        # What is left over would keep only some of the cores busy.
        for numbers in batches[even:]:
            work(numbers)

    @cached_property
    def _cores(self) -> Cores | None:
        """Where batches run side by side; None on a graphics card."""
        return Cores() if self.device.type == "cpu" else None


def _add_weights(digest: hashlib._Hash, folder: Path, tower: str) -> None:
    weights = Checkpoint(folder)
    for key in sorted(weights):
        if key.startswith(tower) and not key.startswith(f"{tower}cls.predictions."):
            tensor = weights[key]
            dtype = str(tensor.dtype).removeprefix("torch.")
            digest.update(f"{key} {dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().view(torch.uint8).numpy().data)
