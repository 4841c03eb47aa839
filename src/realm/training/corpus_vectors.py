"""Vectors of all blocks of a corpus on disk, and the names of what they were made of.

    FOLDER/000000.f16, ...            the vectors, as `realm.index.vectors` keeps them
    FOLDER/000000.i8, 000000.scale    their int8 copy, if there is one
    FOLDER/vectors.json               which files, and the parents: digests of embedder, corpus and tokenizer

Knows neither how vectors are made nor how they are searched.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from realm.artifacts import sha256_of_text, sync_directory, write_json_atomically
from realm.errors import CorruptFileError, RealmError
from realm.index.code_segments import CodeSegment
from realm.index.codes import CodeStore
from realm.index.segments import Segment
from realm.index.vectors import VectorStore
from realm.models.configuration import RealmConfig
from realm.training.block_source import BlockSource

FORMAT = 1
MANIFEST = "vectors.json"
_EMBEDDER_CONFIG = (
    "hidden_act", "hidden_size", "intermediate_size", "layer_norm_eps", "max_position_embeddings",
    "num_attention_heads", "num_hidden_layers", "position_embedding_type", "retriever_proj_size", "vocab_size",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Parents:
    """What vectors were made of.

    Attributes:
        embedder: `weights_digest` of the embedder.
        corpus: Digest of the blocks.
        tokenizer: Digest of the tokenizer.
        max_pieces: Longest input.
    """

    embedder: str
    corpus: str
    tokenizer: str
    max_pieces: int


@dataclass(frozen=True)
class CorpusVectors:
    """Vectors of all blocks: row r is that of block r.

    Attributes:
        folder: Where they are.
        parents: What they were made of.
        vectors: Memory-mapped, in half precision.
        codes: Their int8 copy, made where a processor embedded them: there it makes searching faster.
    """

    folder: Path
    parents: Parents
    vectors: VectorStore
    codes: CodeStore | None

    @classmethod
    def open(cls, folder: Path) -> CorpusVectors:
        """Open a published folder.

        Raises:
            CorruptFileError: It is not there, or not whole.
        """
        path = folder / MANIFEST
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["format"] != FORMAT:
                raise CorruptFileError(f"{path} has format {found['format']}; expected {FORMAT}.")
            segments = [Segment.from_json(entry) for entry in found["segments"]]
            codes = [CodeSegment.from_json(entry) for entry in found["codes"]]
            dim = int(found["dim"])
            parents = Parents(**found["parents"])
        except (OSError, ValueError, KeyError, TypeError) as exc:
            if isinstance(exc, RealmError):
                raise
            raise CorruptFileError(f"{path} cannot be read ({exc}).") from exc
        return cls(
            folder, parents, VectorStore(folder, segments, dim), CodeStore(folder, codes, dim) if codes else None
        )

    def are_of(self, blocks: BlockSource) -> bool:
        """Whether they are the vectors of these blocks, cut into these word pieces."""
        found = self.parents.corpus, self.parents.tokenizer, self.vectors.rows
        return found == (blocks.digest, blocks.tokenizer_digest, len(blocks))

    def verify(self) -> None:
        """Read all bytes and compare digests.

        Raises:
            CorruptFileError: A file's bytes are not those that were written.
        """
        self.vectors.verify()
        if self.codes is not None:
            self.codes.verify()


def weights_digest(weights: Mapping[str, Tensor], config: RealmConfig) -> str:
    """Digest of what vectors depend on in an embedder: sizes and weights, but not its unused masked-token head."""
    digest = hashlib.sha256(config_digest(config).encode())
    for key in sorted(weights):
        if not key.startswith("cls.predictions."):
            tensor = weights[key].detach().cpu().contiguous()
            digest.update(f"{key} {str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}".encode())
            digest.update(tensor.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def config_digest(config: RealmConfig) -> str:
    """Digest of the sizes and constants an embedder's vectors depend on."""
    values = config.to_dict()
    return sha256_of_text(json.dumps({key: values.get(key) for key in _EMBEDDER_CONFIG}))


def write_manifest(
    folder: Path, parents: Parents, dim: int, segments: Sequence[Segment], codes: Sequence[CodeSegment]
) -> None:
    """Publish vectors whose files are on the disk."""
    manifest = {
        "format": FORMAT,
        "dim": dim,
        "parents": dataclasses.asdict(parents),
        "segments": [dataclasses.asdict(segment) for segment in segments],
        "codes": [dataclasses.asdict(segment) for segment in codes],
    }
    write_json_atomically(folder / MANIFEST, manifest)
    sync_directory(folder)
