"""Writes the next version of a knowledge base: appended to in steps, published at once.

open ──► put ──► put ──► … ──► publish          kb.json stays as it was until the last step
           └─► pending.json: what a killed writer leaves, and the next one with the same job goes on from

What a version is made of is in `manifest` and `file_digests`, what grows in `parts`, what a killed writer leaves in
`pending`. Files are added and never changed; those that no version needs are deleted when the next one is published.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from realm.corpus.block_store import StoredBlock
from realm.corpus.chunking import ChunkedDocument
from realm.corpus.document_store import DocumentStore, StoredDocument
from realm.corpus.lexical import BUILD_MEGABYTES
from realm.index.quantising import width_of
from realm.index.segments import NUMBER
from realm.index.tombstones import write_tombstones
from realm.openqa.file_digests import (
    Digests,
    all_files,
    check_files,
    digest_files,
    lance_manifests,
    read_file_list,
    sweep,
    sync_files,
    write_file_list,
)
from realm.openqa.manifest import (
    DOCUMENTS,
    PENDING,
    PUBLISHED,
    VECTORS,
    Manifest,
    ModelReference,
    read_manifest,
    require_model,
)
from realm.openqa.memory import room
from realm.openqa.parts import Parts
from realm.openqa.pending import Job, Pending, left_over, write_pending
from realm.openqa.search_index import faiss_of
from realm.openqa.versions import named_files, naming, parts_of, publish_manifest, versions_files
from realm.openqa.write_lock import take_lock


class KnowledgeBaseWriter:
    """The one writer of a knowledge base; use it as a context manager.

    Args:
        folder: The knowledge base; made if it is missing or empty.
        model: What vectors are made with.
        dim: Dimensions of the vectors.
        max_block_pieces: Longest block input in word pieces.
        job: What it is done for. What a killed writer left is gone on with if its job was the same.
        search: How vectors are to be searched from now on: `exact`, `faiss` or `auto`; as before unless given.
        hybrid_weight: Share of the words in searches from now on, 0 to 1; as before unless given.
        first_hybrid_weight: That of a new knowledge base, unless `hybrid_weight` is given.
        discard_pending: Throw away what a killed writer of another job has embedded.
        max_ram_bytes: The most memory the process may take while the search indexes are made.

    Attributes:
        resumed: Whether a killed writer's work is gone on with.
        discarded_blocks: How many blocks a killed writer of another job had written; they are lost.
        known: The documents as they were when the writer was opened.

    Raises:
        KnowledgeBaseError: Another process is writing; the folder holds something else; the knowledge base was made
            with another model; or work of a killed writer would be lost.
    """

    def __init__(
        self,
        folder: Path,
        model: ModelReference,
        dim: int,
        max_block_pieces: int,
        *,
        job: Job | None = None,
        search: str | None = None,
        hybrid_weight: float | None = None,
        first_hybrid_weight: float = 0.0,
        discard_pending: bool = False,
        max_ram_bytes: int | None = None,
    ) -> None:
        self.folder = folder
        self._max_ram_bytes = max_ram_bytes
        self._lock = take_lock(folder)
        try:
            self._published = read_manifest(folder, PUBLISHED)
            if self._published is not None:
                require_model(folder, self._published, model)
            self._job = job or Job("write")
            new = Manifest(1, 0, 0, 0, 0, dim, VECTORS, (), (), None, None, model, max_block_pieces)
            base = self._published or dataclasses.replace(new, hybrid_weight=first_hybrid_weight)
            weight = base.hybrid_weight if hybrid_weight is None else hybrid_weight
            base = dataclasses.replace(base, model=model, search=search or base.search, hybrid_weight=weight)
            self._begin(base, discard_pending)
        except BaseException:
            self._lock.close()
            raise

    def _begin(self, base: Manifest, discard_pending: bool) -> None:
        """Open everything at `base`, or at what a killed writer with the same job made of it."""
        folder, published = self.folder, self._published
        version = base.version if published is None else base.version + 1
        self._old_files: Digests = read_file_list(folder, published.files) if published and published.files else {}
        check_files(folder, lance_manifests(self._old_files))
        self._files = self._old_files
        self._unchanged = published if base == published else None
        pending, self.discarded_blocks = left_over(folder, self._job, base.model, published, discard=discard_pending)
        self.resumed = pending is not None
        if pending is not None:
            base = dataclasses.replace(
                pending.manifest, model=base.model, search=base.search, hybrid_weight=base.hybrid_weight
            )
            self._files = {**self._old_files, **pending.files}
            self._unchanged = None
        is_new = published is None and not self.resumed
        is_clean = not is_new and not (folder / PENDING).exists()
        self._keep = all_files(folder, parts_of(folder)) if is_clean else versions_files(folder)
        self._keep_for_known = set() if pending is None else named_files(pending.manifest, pending.files)
        self._manifest: Manifest = dataclasses.replace(base, version=version)
        with naming(folder):
            self._parts = Parts(folder, base, is_new=is_new, is_pending=self.resumed)
        if self.resumed:
            self.documents.complete_id_index()
        self.known = DocumentStore.open(folder / DOCUMENTS, self.documents.version)
        if not self.resumed:
            (folder / PENDING).unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._parts.close()
        self._lock.close()

    @property
    def documents(self) -> DocumentStore:
        """The documents, as they are now."""
        return self._parts.documents

    @property
    def version(self) -> int:
        """The version being made."""
        return self._manifest.version

    @property
    def new_bytes(self) -> int:
        """What this version adds on disk so far."""
        files = sum(file.bytes for path, file in self._files.items() if path not in self._old_files)
        rows = self._manifest.embedded - (self._published.embedded if self._published else 0)
        return files + rows * (self._manifest.dim * NUMBER.itemsize + width_of(self._manifest.dim))

    def put(
        self,
        documents: Sequence[ChunkedDocument],
        vectors: NDArray[np.float32] | None,
        *,
        replaced: Mapping[str, StoredDocument] | None = None,
    ) -> None:
        """Add documents, or replace those of the same id.

        Args:
            documents: What to add; no id twice.
            vectors: One for each of their blocks, in order; None leaves them to `embed`.
            replaced: The documents of these ids that are there now, if the caller has looked them up already.

        Raises:
            ModelError: A vector is not finite; nothing has been written then.
            ValueError: There are vectors, and blocks before these have none.
        """
        if vectors is not None and self.missing_vectors:
            raise ValueError(f"{self.missing_vectors:,} blocks before these have no vectors")
        if replaced is None:
            replaced = self.documents.get([cut.document.id for cut in documents], with_text=False)
        self._parts.put(documents, vectors, replaced, self.version)
        self._note_step()

    @property
    def missing_vectors(self) -> int:
        """How many blocks have none, those of documents that are gone among them."""
        return len(self._parts.blocks) - self._parts.embedded

    def without_vectors(self, most: int) -> list[StoredBlock]:
        """The next blocks that have no vectors, in order."""
        first = self._parts.embedded
        return self._parts.blocks.take(range(first, min(first + most, len(self._parts.blocks))))

    def embed(self, vectors: NDArray[np.float32]) -> None:
        """Add the vectors of the next blocks that have none. Raises as `put`."""
        self._parts.embed(vectors)
        self._note_step()

    def move(self, documents: Sequence[StoredDocument]) -> None:
        """Write anew where documents came from; what they say, and so their blocks and vectors, stays."""
        if documents:
            self.documents.put(documents, replaced=[stored.document.id for stored in documents])
            self._note_step()

    def _note_step(self) -> None:
        """Let the next writer with the same job go on from here."""
        self._unchanged = None
        is_merged = self._parts.merge_small_files()
        self._advance()
        new = {path: file for path, file in self._files.items() if path not in self._old_files}
        write_pending(self.folder, Pending(self._job, self._manifest, new))
        if is_merged:
            self._sweep()

    def remove(self, ids: Collection[str]) -> int:
        """Take documents out; gives how many there were."""
        removed = self._parts.remove(ids)
        if removed:
            self._unchanged = None
        return removed

    def keep_only(self, seen: Container[str], prune: Callable[[str], bool] | None = None) -> int:
        """Settle what became of documents that the sources do not have, now that all of them have been read.

        They stay; but those that only a killed run has written, from sources that were changed before this one, are
        set back to what the last version says. Of the others, those are removed whose source `prune` names.

        Returns:
            How many documents of the last version were removed.
        """
        if prune is None and not self.resumed:
            return 0
        removed = self._parts.keep_only(seen, prune, self.version, self._published)
        if removed:
            self._unchanged = None
        return removed

    def publish(self) -> Manifest:
        """Make all that was put and removed the version readers see. If that is nothing, the last one stays."""
        if self._unchanged is not None:
            return self._unchanged
        self.documents.complete_id_index()
        if self._manifest.lexical:
            self._parts.complete_words(room(self._max_ram_bytes, BUILD_MEGABYTES << 20) >> 20)
        self._advance()
        sync_files(self.folder, self._files.keys() - self._old_files.keys())
        vectors, gone = self.folder / self._manifest.vectors_folder, self._parts.gone
        tombstones = write_tombstones(vectors, gone) if len(gone) else None
        self._manifest = dataclasses.replace(self._manifest, tombstones=tombstones)
        self._manifest = dataclasses.replace(
            self._manifest,
            faiss=faiss_of(self.folder, self._manifest, max_ram_bytes=self._max_ram_bytes),
            files=write_file_list(self.folder, self.version, self._files),
        )
        publish_manifest(self.folder, self._manifest)
        self._keep_for_known = set()
        self._sweep()
        return self._manifest

    def _advance(self) -> None:
        """Note all that was written in the manifest in the making."""
        self._files = digest_files(self.folder, self._parts.files(), self._files)
        self._manifest = self._parts.described(self._manifest)

    def _sweep(self) -> None:
        """Delete what this writer, and a killed one, wrote on the way and nobody needs."""
        needed = self._keep | self._keep_for_known | named_files(self._manifest, self._files)
        sweep(self.folder, all_files(self.folder, parts_of(self.folder)) - needed)
