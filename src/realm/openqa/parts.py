"""The parts of a version in the making, which grow together: documents, blocks, vectors, codes, and rows that are gone.

Row r of the blocks is row r of vectors and codes, which may end earlier; a document names its rows. Knows neither
manifests that were published nor what a killed writer leaves: see `writer`.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from realm.corpus.chunking import ChunkedDocument
from realm.corpus.document_store import DocumentStore, StoredDocument
from realm.corpus.lance_table import LanceTable
from realm.corpus.lexical import LexicalIndex
from realm.index.codes import CodeWriter
from realm.index.sketches import build_sketches
from realm.index.tombstones import read_tombstones
from realm.index.vectors import VectorStore, VectorWriter
from realm.openqa.manifest import BLOCKS, DOCUMENTS, Manifest
from realm.openqa.versions import rows_without_document

_FILES_PER_RUN = 4  # small files of blocks, at most: the index is kept in up to 16 parts of a run each


class Parts:
    """Opened at a manifest, and appended to.

    Attributes:
        documents: The documents.
        blocks: Their blocks.
        gone: Rows of blocks whose documents are gone, in no order.
    """

    def __init__(self, folder: Path, base: Manifest, *, is_new: bool, is_pending: bool) -> None:
        """Open or make all parts; what newer versions left behind is cut off when something is written.

        Args:
            folder: The knowledge base.
            base: What to go on from.
            is_new: Whether nothing of it is there yet; what is found instead is deleted.
            is_pending: Whether it is that of a killed writer, which names no tombstones of its own.
        """
        self.documents = _open_or_create(DocumentStore, folder / DOCUMENTS, None if is_new else base.documents_version)
        self.blocks = _open_or_create(LexicalIndex, folder / BLOCKS, None if is_new else base.blocks_version)
        vectors = folder / base.vectors_folder
        if is_pending:
            self.gone = rows_without_document(self.documents, base.blocks)
        elif base.tombstones is None:
            self.gone = np.empty(0, dtype=np.int64)
        else:
            self.gone = read_tombstones(vectors, base.tombstones)
        self._vectors_folder = vectors
        self._vectors = VectorWriter(vectors, base.dim, base.segments)
        try:
            self._codes = CodeWriter(vectors, base.dim, base.codes)
        except BaseException:
            self._vectors.close()
            raise

    def close(self) -> None:
        """Let go of the files."""
        self._vectors.close()
        self._codes.close()

    def put(
        self,
        documents: Sequence[ChunkedDocument],
        vectors: NDArray[np.float32] | None,
        replaced: Mapping[str, StoredDocument],
        version: int,
    ) -> None:
        """Add documents in place of those in `replaced`; see `KnowledgeBaseWriter.put`."""
        if vectors is not None:
            self.embed(vectors)
        self._bury(replaced.values())
        places = self.blocks.append(documents)
        stored = [
            StoredDocument(cut.document, cut.content_hash, version, place.start, len(place))
            for cut, place in zip(documents, places, strict=True)
        ]
        self.documents.put(stored, replaced=replaced)

    @property
    def embedded(self) -> int:
        """How many rows have a vector: these are the first ones."""
        return len(self._vectors)

    def embed(self, vectors: NDArray[np.float32]) -> None:
        """Vectors of the next rows that have none."""
        self._vectors.append(vectors)
        self._codes.append(vectors)

    def remove(self, ids: Collection[str]) -> int:
        """Take documents out; gives how many there were."""
        old = self.documents.get(ids, with_text=False)
        self._bury(old.values())
        return self.documents.remove(old) if old else 0

    def set_back(self, ids: Collection[str], before: Mapping[str, StoredDocument]) -> None:
        """Take documents out and put older ones back, whose blocks are still where they were."""
        self.remove(ids)
        if before:
            self.documents.put(list(before.values()), replaced=())
            self.gone = np.setdiff1d(self.gone, _rows_of(before.values()))

    def keep_only(
        self,
        seen: Container[str],
        prune: Callable[[str], bool] | None,
        version: int,
        published: Manifest | None,
    ) -> int:
        """See `KnowledgeBaseWriter.keep_only`.

        Args:
            seen: Ids of documents that the sources have.
            prune: Says of a document's source whether to remove it, if the sources do not have it.
            version: The version in the making.
            published: The last one.
        """
        path = self.documents.path
        before = None if published is None else DocumentStore.open(path, published.documents_version)
        removed = 0
        now = DocumentStore.open(path, self.documents.version)
        for batch in now.batches(["id", "version", "source"]):
            unseen = [row for row in zip(*batch.to_pydict().values(), strict=True) if row[0] not in seen]
            pending = [id for id, written, _ in unseen if written == version]
            old = {} if before is None else before.get(pending)
            self.set_back(pending, old)
            if prune is not None:
                sources = {id: source for id, written, source in unseen if written != version}
                sources |= {id: stored.document.source for id, stored in old.items()}
                removed += self.remove([id for id, source in sources.items() if prune(source)])
        return removed

    def merge_small_files(self) -> bool:
        """Merge files where there are too many; says whether there were."""
        documents, blocks = self.documents.merge_small_files(), self.blocks.merge_small_files()
        if documents:
            self.documents.complete_id_index()
        return documents or blocks

    def complete_words(self, max_megabytes: int) -> None:
        """Bring all blocks into their inverted index, and keep their files few.

        Files are merged where the same parts of that index know them: those of one run before they become a part of
        their own, and those of many runs when all parts have become one.
        """
        self.blocks.merge_small_files(_FILES_PER_RUN)
        self.blocks.complete(max_megabytes=max_megabytes)
        self.blocks.merge_small_files()

    def files(self) -> list[str]:
        """Paths of all files of both Lance datasets."""
        names = [f"{DOCUMENTS}/{name}" for name in self.documents.files()]
        return names + [f"{BLOCKS}/{name}" for name in self.blocks.files()]

    def described(self, manifest: Manifest) -> Manifest:
        """The manifest with what is there now; vectors and what is made of them are brought to the disk."""
        segments = self._vectors.publish()
        store = VectorStore(self._vectors_folder, segments, manifest.dim)
        return dataclasses.replace(
            manifest,
            documents_version=self.documents.version,
            blocks_version=self.blocks.version,
            documents=len(self.documents),
            blocks=len(self.blocks),
            segments=segments,
            codes=self._codes.publish(),
            sketches=build_sketches(store, self._vectors_folder, manifest.sketches),
            files=None,
        )

    def _bury(self, documents: Collection[StoredDocument]) -> None:
        if documents:
            self.gone = np.concatenate([self.gone, _rows_of(documents)])


def _rows_of(documents: Collection[StoredDocument]) -> NDArray[np.int64]:
    """Rows of the blocks of some documents, at least one."""
    return np.concatenate(
        [np.arange(one.first_block, one.first_block + one.block_count, dtype=np.int64) for one in documents]
    )


_Store = TypeVar("_Store", bound=LanceTable)


def _open_or_create(kind: type[_Store], path: Path, version: int | None) -> _Store:
    """A store at a version; without one, what a killed first run may have left is of no manifest and begun anew."""
    if version is None and path.exists():
        shutil.rmtree(path)
    return kind.create(path) if version is None else kind.open(path, version)
