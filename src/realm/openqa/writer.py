"""Writes the next version of a knowledge base: appended to in steps, published at once.

open ──► put ──► put ──► … ──► publish          kb.json stays as it was until the last step
           └─► pending.json: what a killed writer leaves, and the next one goes on from
"""

from __future__ import annotations

import dataclasses
import fcntl
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from realm.corpus.block_store import BlockStore
from realm.corpus.chunking import ChunkedDocument
from realm.corpus.document_store import DocumentStore, StoredDocument
from realm.corpus.lance_table import LanceTable
from realm.errors import CorruptFileError, KnowledgeBaseError
from realm.index.tombstones import read_tombstones, write_tombstones
from realm.index.vectors import VectorWriter
from realm.openqa.knowledge_base import BLOCKS, DOCUMENTS, VECTORS
from realm.openqa.manifest import (
    PENDING,
    PUBLISHED,
    Manifest,
    ModelReference,
    read_manifest,
    write_manifest,
)

_LOCK = ".lock"


class KnowledgeBaseWriter:
    """The one writer of a knowledge base; use it as a context manager.

    Args:
        folder: The knowledge base; made if it is missing or empty.
        model: What vectors are made with.
        dim: Dimensions of the vectors.
        max_block_pieces: Longest block input in word pieces.

    Raises:
        KnowledgeBaseError: Another process is writing; the folder holds something else; or the knowledge base
            was made with another model.
    """

    def __init__(self, folder: Path, model: ModelReference, dim: int, max_block_pieces: int) -> None:
        _require_own_folder(folder)
        self.folder = folder
        self._lock = _take_lock(folder)
        try:
            published = read_manifest(folder, PUBLISHED)
            next_version = 1 if published is None else published.version + 1
            pending = _read_pending(folder, next_version)
            self.resumed = pending is not None
            base = pending or published
            if base is not None and base.model.digest != model.digest:
                raise KnowledgeBaseError(
                    f"{folder} was made with the model {base.model.name} ({base.model.digest[:12]}...), not with "
                    f"{model.name} ({model.digest[:12]}...). Use that model, or another --kb folder."
                )
            self.documents = _open_or_create(
                DocumentStore, folder / DOCUMENTS, base.documents_version if base else None
            )
            self.blocks = _open_or_create(BlockStore, folder / BLOCKS, base.blocks_version if base else None)
            entry = base.tombstones if base else None
            gone = read_tombstones(folder / VECTORS, entry) if entry else np.empty(0, dtype=np.int64)
            self._gone: list[NDArray[np.int64]] = [gone]
            self._manifest = dataclasses.replace(base, version=next_version, model=model) if base else Manifest(
                next_version, 0, 0, 0, 0, dim, (), None, model, max_block_pieces
            )  # fmt: skip
            self._unchanged = published if published and not pending and published.model == model else None
            self._vectors = VectorWriter(folder / VECTORS, dim, base.segments if base else ())
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._vectors.close()
        self._lock.close()

    @property
    def version(self) -> int:
        """The version being made."""
        return self._manifest.version

    def put(self, documents: Sequence[ChunkedDocument], vectors: NDArray[np.float32]) -> None:
        """Add documents, or replace those of the same id, with a vector for each of their blocks in order."""
        self._unchanged = None
        old = self.documents.get([cut.document.id for cut in documents], with_text=False)
        self._bury(list(old.values()))
        self._vectors.append(vectors)
        places = self.blocks.append(documents)
        self.documents.put(
            [
                StoredDocument(cut.document, cut.content_hash, self.version, place.start, len(place))
                for cut, place in zip(documents, places, strict=True)
            ]
        )
        self._write(PENDING)

    def remove(self, ids: Sequence[str]) -> int:
        """Take documents out; gives how many there were."""
        old = self.documents.get(ids, with_text=False)
        if not old:
            return 0
        self._unchanged = None
        self._bury(list(old.values()))
        removed = self.documents.remove(list(old))
        self._write(PENDING)
        return removed

    def publish(self) -> Manifest:
        """Make all that was put and removed the version readers see. If that is nothing, the last one stays."""
        if self._unchanged is not None:
            return self._unchanged
        self._write(PUBLISHED)
        (self.folder / PENDING).unlink(missing_ok=True)
        return self._manifest

    def _bury(self, documents: Sequence[StoredDocument]) -> None:
        self._gone += [
            np.arange(stored.first_block, stored.first_block + stored.block_count, dtype=np.int64)
            for stored in documents
        ]

    def _write(self, name: str) -> None:
        gone = np.concatenate(self._gone)
        self._gone = [gone]
        self._manifest = dataclasses.replace(
            self._manifest,
            documents_version=self.documents.version,
            blocks_version=self.blocks.version,
            documents=len(self.documents),
            blocks=len(self.blocks),
            segments=self._vectors.publish(),
            tombstones=write_tombstones(self.folder / VECTORS, gone) if len(gone) else None,
        )
        write_manifest(self.folder, self._manifest, name)


_Store = TypeVar("_Store", bound=LanceTable)


def _open_or_create(kind: type[_Store], path: Path, version: int | None) -> _Store:
    """A store at a version; without one, what a killed first run may have left is of no manifest and begun anew."""
    if version is None and path.exists():
        shutil.rmtree(path)
    return kind.create(path) if version is None else kind.open(path, version)


def _require_own_folder(folder: Path) -> None:
    """Refuse to write among somebody's other files."""
    if folder.is_dir():
        names = {path.name for path in folder.iterdir()}
        if names and not names & {PUBLISHED, PENDING, DOCUMENTS, BLOCKS, _LOCK}:
            raise KnowledgeBaseError(
                f"{folder} is not empty and not a knowledge base (it holds {min(names)}). Give another --kb folder."
            )
    elif folder.exists():
        raise KnowledgeBaseError(f"{folder} is a file; --kb takes a folder.")


def _read_pending(folder: Path, next_version: int) -> Manifest | None:
    """The version in the making that a killed writer left, if it can be gone on with."""
    try:
        pending = read_manifest(folder, PENDING)
    except CorruptFileError:
        return None
    return pending if pending is not None and pending.version == next_version else None


def _take_lock(folder: Path) -> IO[str]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / _LOCK).open("w")
    except OSError as exc:
        raise KnowledgeBaseError(
            f"{folder} cannot be written: {exc.strerror or exc}. Give another --kb folder."
        ) from exc
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        lock.close()
        raise KnowledgeBaseError(f"{folder} is being written by another process. Wait until it is done.") from exc
    return lock
