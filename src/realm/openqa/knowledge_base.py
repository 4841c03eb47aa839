"""A knowledge base: one folder of documents, blocks and vectors, opened at its last complete version."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from realm.corpus.block_store import BlockStore, StoredBlock
from realm.corpus.document_store import DocumentStore
from realm.errors import KnowledgeBaseError
from realm.index.exact import ExactIndex
from realm.index.protocol import Hits, Index
from realm.index.tombstones import read_tombstones
from realm.index.vectors import VectorStore
from realm.openqa.manifest import PUBLISHED, Manifest, read_manifest
from realm.records import Document

DOCUMENTS = "documents.lance"
BLOCKS = "blocks.lance"
VECTORS = "vectors"


@dataclass(frozen=True)
class KnowledgeBase:
    """One version of a knowledge base, which stays as it is while writers make the next.

    Attributes:
        folder: Where it is.
        manifest: Which versions of its parts belong together.
    """

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: str | Path) -> KnowledgeBase:
        """Open the last complete version.

        Raises:
            KnowledgeBaseError: There is none.
            CorruptFileError: The manifest, or a vector file, is damaged.
        """
        folder = Path(folder)
        manifest = read_manifest(folder, PUBLISHED) if folder.is_dir() else None
        if manifest is None:
            raise KnowledgeBaseError(
                f"No knowledge base at {folder}: expected a folder with {PUBLISHED}. Make one with: "
                f"realm index SOURCE... --kb {folder}"
            )
        base = cls(folder, manifest)
        base.vectors  # noqa: B018 - a missing or short vector file is found now, not at the first question
        return base

    @cached_property
    def documents(self) -> DocumentStore:
        """The documents."""
        return DocumentStore.open(self.folder / DOCUMENTS, self.manifest.documents_version)

    @cached_property
    def blocks(self) -> BlockStore:
        """The blocks; row r belongs to vector r."""
        return BlockStore.open(self.folder / BLOCKS, self.manifest.blocks_version)

    @cached_property
    def vectors(self) -> VectorStore:
        """The vectors of the blocks, memory-mapped."""
        return VectorStore(self.folder / VECTORS, self.manifest.segments, self.manifest.dim)

    @cached_property
    def tombstones(self) -> NDArray[np.int64]:
        """Rows whose documents are gone."""
        entry = self.manifest.tombstones
        return np.empty(0, dtype=np.int64) if entry is None else read_tombstones(self.folder / VECTORS, entry)

    @cached_property
    def index(self) -> Index:
        """Searches the vectors: exactly."""
        return ExactIndex(self.vectors, self.tombstones)

    @property
    def live_blocks(self) -> int:
        """Blocks that can be found."""
        return self.manifest.blocks - len(self.tombstones)

    def search(self, vectors: NDArray[np.float32], k: int) -> Hits:
        """The best blocks of each question vector; see `Index.search`."""
        return self.index.search(vectors, k)

    def take_blocks(self, rows: Iterable[int]) -> list[StoredBlock]:
        """Blocks by row, in the order asked for."""
        return self.blocks.take(rows)

    def document(self, document_id: str) -> Document:
        """A document by id.

        Raises:
            KnowledgeBaseError: There is none.
        """
        found = self.documents.get([document_id])
        if document_id not in found:
            raise KnowledgeBaseError(f"No document {document_id!r} in {self.folder}.")
        return found[document_id].document

    def document_versions(self, document_ids: Sequence[str]) -> dict[str, int]:
        """Version of the knowledge base that wrote each document."""
        found = self.documents.get(document_ids, with_text=False)
        return {key: stored.version for key, stored in found.items()}

    def verify(self) -> None:
        """Read every vector and tombstone and compare digests; count documents and blocks.

        Raises:
            CorruptFileError: A file is damaged; the message names it.
            KnowledgeBaseError: The parts do not belong together.
        """
        self.vectors.verify()
        if len(self.tombstones) and int(self.tombstones[-1]) >= self.manifest.blocks:
            raise KnowledgeBaseError(f"{self.folder}: tombstones name rows that do not exist. Rebuild it.")
        counts = {
            "blocks": (len(self.blocks), self.manifest.blocks),
            "documents": (len(self.documents), self.manifest.documents),
            "vectors": (self.vectors.rows, self.manifest.blocks),
        }
        for part, (found, expected) in counts.items():
            if found != expected:
                raise KnowledgeBaseError(
                    f"{self.folder}: {found:,} {part}, the manifest names {expected:,}. Rebuild it."
                )
