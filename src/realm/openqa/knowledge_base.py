"""A knowledge base: one folder of documents, blocks and vectors, opened at its last complete version or an older one.

A version stays as it is while writers make the next. `realm compact` drops old versions: who has one open goes on
with what is in memory, and is told to open the knowledge base again as soon as something is not.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from realm.corpus.block_store import StoredBlock
from realm.corpus.document_store import DocumentStore, StoredDocument
from realm.corpus.lexical import LexicalIndex
from realm.errors import CorruptFileError, KnowledgeBaseError
from realm.index.codes import CodeStore
from realm.index.protocol import Hits, Index
from realm.index.sketches import SketchStore
from realm.index.tombstones import read_tombstones
from realm.index.vectors import VectorStore
from realm.interop.staging import clear_killed
from realm.openqa.file_digests import check_files, lance_manifests, read_file_list
from realm.openqa.manifest import (
    BLOCKS,
    DOCUMENTS,
    INDEX,
    PUBLISHED,
    VERSIONS,
    Manifest,
    published_versions,
    read_manifest,
    version_name,
)
from realm.openqa.pending import read_pending
from realm.openqa.search_index import search_device
from realm.openqa.verification import check_vectors, verify_version
from realm.openqa.versions import naming
from realm.records import Document

_TRIES = 3


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
    def open(cls, folder: str | Path, version: int | None = None) -> KnowledgeBase:
        """Open the last complete version, or an older one.

        Raises:
            KnowledgeBaseError: There is none, or not that version.
            CorruptFileError: The manifest, or a vector file, is damaged.
        """
        folder = Path(folder)
        for left in reversed(range(_TRIES)):
            base = cls(folder, _manifest(folder, version))
            try:
                base.vectors  # noqa: B018 - a missing or short vector file is found now, not at the first question
            except CorruptFileError:
                raise
            except KnowledgeBaseError:  # compacted since the manifest was read
                if version is not None or not left:
                    raise
            else:
                return base
        raise AssertionError("the loop returns or raises")

    @staticmethod
    def versions(folder: str | Path) -> list[int]:
        """Versions that can be opened, oldest first: all since the last `realm compact`."""
        return published_versions(Path(folder))

    @cached_property
    def documents(self) -> DocumentStore:
        """The documents."""
        with self._not_dropped():
            self._check_lance(DOCUMENTS)
            return DocumentStore.open(self.folder / DOCUMENTS, self.manifest.documents_version)

    @cached_property
    def blocks(self) -> LexicalIndex:
        """The blocks, which can be searched by words; row r belongs to vector r."""
        with self._not_dropped():
            self._check_lance(BLOCKS)
            return LexicalIndex.open(self.folder / BLOCKS, self.manifest.blocks_version)

    @cached_property
    def vectors(self) -> VectorStore:
        """The vectors of the blocks, memory-mapped."""
        with self._not_dropped():
            try:
                return VectorStore(self._vectors_folder, self.manifest.segments, self.manifest.dim)
            except FileNotFoundError as exc:  # deleted between looking and mapping
                raise CorruptFileError(f"{exc.filename}: missing") from exc

    @cached_property
    def tombstones(self) -> NDArray[np.int64]:
        """Rows whose documents are gone."""
        entry = self.manifest.tombstones
        with self._not_dropped():
            return np.empty(0, dtype=np.int64) if entry is None else read_tombstones(self._vectors_folder, entry)

    @cached_property
    def codes(self) -> CodeStore:
        """An int8 copy of the vectors, memory-mapped."""
        with self._not_dropped():
            return CodeStore(self._vectors_folder, self.manifest.codes, self.manifest.dim)

    @cached_property
    def index(self) -> Index:
        """Searches the vectors: with FAISS if the manifest names a file of it, exactly if not, on a graphics card if
        there is one with room for them.

        Raises:
            KnowledgeBaseError: Some blocks have no vectors yet.
        """
        self.require_embedded()
        # Looking into a knowledge base needs no torch.
        from realm.index.exact import ExactIndex

        with self._not_dropped():
            sketches = SketchStore(self._vectors_folder, self.manifest.sketches, self.manifest.dim)
        if self.manifest.faiss is None:
            device = search_device(self.vectors)
            return ExactIndex(self.vectors, self.tombstones, self.codes, sketches, device=device)
        exact = ExactIndex(self.vectors, self.tombstones, self.codes, sketches)
        from realm.index.faiss_index import FaissIndex

        with self._not_dropped():
            return FaissIndex(
                self.folder / INDEX,
                self.manifest.faiss,
                self.vectors,
                exact,
                tombstones=self.tombstones,
                codes=self.codes,
            )

    @property
    def live_blocks(self) -> int:
        """Blocks that can be found."""
        gone = self.manifest.tombstones
        return self.manifest.blocks - (gone.rows if gone else 0)

    def search(self, vectors: NDArray[np.float32], k: int) -> Hits:
        """The best blocks of each question vector; see `Index.search`."""
        return self.index.search(vectors, k)

    def require_embedded(self) -> None:
        """Refuse what needs all vectors.

        Raises:
            KnowledgeBaseError: Some blocks have none yet.
        """
        if not self.manifest.is_embedded:
            missing = self.manifest.blocks - self.manifest.embedded
            raise KnowledgeBaseError(
                f"{self.folder}: {missing:,} of {self.manifest.blocks:,} blocks have no vectors yet and are found by "
                f"words alone. Embed them with: {embed_line(self.folder)}"
            )

    def check_vectors(self) -> None:
        """Find damaged vectors before questions are asked, as far as that takes no time; `verify` finds all.

        Raises:
            CorruptFileError: A file is damaged; the message names it.
        """
        with self._not_dropped():
            check_vectors(self.vectors, self.codes)

    def take_blocks(self, rows: Iterable[int]) -> list[StoredBlock]:
        """Blocks by row, in the order asked for."""
        return self.blocks.take(rows)

    def document(self, document_id: str, version: int | None = None) -> Document:
        """A document by id; see `stored_document`."""
        return self.stored_document(document_id, version).document

    def stored_document(self, document_id: str, version: int | None = None) -> StoredDocument:
        """A document by id, with the version that wrote it.

        Args:
            document_id: Its id.
            version: As the knowledge base had it at this version, such as `Evidence.document_version`, whose offsets
                point into it; at the version that is open unless given.

        Raises:
            KnowledgeBaseError: There is none; or it has been changed since, and that version has been dropped.
        """
        stored = self.documents.get([document_id]).get(document_id)
        if version is not None and (stored is None or stored.version > version or version > self.manifest.version):
            return KnowledgeBase.open(self.folder, version).stored_document(document_id)
        if stored is None:
            raise KnowledgeBaseError(
                f"No document {document_id!r} in {self.folder}, version {self.manifest.version}. "
                f"See: realm list --kb {self.folder}"
            )
        return stored

    def document_versions(self, document_ids: Sequence[str]) -> dict[str, int]:
        """Version of the knowledge base that wrote each document."""
        found = self.documents.get(document_ids, with_text=False)
        return {key: stored.version for key, stored in found.items()}

    def verify(self) -> None:
        """Read every file of this version and compare digests; see whether its parts belong together.

        Raises:
            CorruptFileError: A file is damaged; the message names it.
            KnowledgeBaseError: The parts do not belong together.
        """
        with self._not_dropped():
            verify_version(self.folder, self.manifest)

    def _check_lance(self, dataset: str) -> None:
        if self.manifest.files is not None:
            check_files(self.folder, lance_manifests(read_file_list(self.folder, self.manifest.files), dataset))

    @property
    def _vectors_folder(self) -> Path:
        return self.folder / self.manifest.vectors_folder

    @contextmanager
    def _not_dropped(self) -> Iterator[None]:
        """Call a missing file of a version that has been dropped by its name."""
        try:
            with naming(self.folder):
                yield
        except KnowledgeBaseError as exc:
            if (self.folder / VERSIONS / version_name(self.manifest.version)).exists():
                raise
            raise KnowledgeBaseError(
                f"{self.folder}: version {self.manifest.version} was dropped by realm compact after it had been "
                "opened. Open the knowledge base again."
            ) from exc


def embed_line(folder: Path) -> str:
    """The command that embeds what has no vectors yet."""
    return shlex.join(["realm", "embed", "--kb", str(folder)])


def _manifest(folder: Path, version: int | None) -> Manifest:
    """The manifest of a published version; of the last one unless given."""
    if not folder.exists():  # somebody who was replacing it may have been killed in between
        clear_killed(folder.resolve())
    published = read_manifest(folder, PUBLISHED) if folder.is_dir() else None
    pending = read_pending(folder) if published is None else None
    if pending is not None:
        raise KnowledgeBaseError(
            f"{folder} has no complete version yet, but an unfinished run of {pending.new_blocks(None):,} blocks. "
            f"Finish it with: {pending.command_line(folder)} (and the options it had)."
        )
    if published is None:
        raise KnowledgeBaseError(
            f"No knowledge base at {folder}: expected a folder with {PUBLISHED}. Make one with: "
            f"realm index SOURCE... --kb {folder}"
        )
    if version is None or version == published.version:
        return published
    old = read_manifest(folder / VERSIONS, version_name(version)) if 0 < version < published.version else None
    if old is None:
        there = ", ".join(f"{number}" for number in published_versions(folder)[-10:])
        raise KnowledgeBaseError(
            f"{folder} has no version {version}: it was never published, or realm compact has dropped it. "
            f"The newest versions are {there}."
        )
    return old
