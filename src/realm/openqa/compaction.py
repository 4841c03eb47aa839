"""`realm compact`: the same documents as one new version, without what only older versions need.

    last version ──without rows that are gone──> new files ──> its manifest ──> kb.json ──> old files are deleted
                                                                                  │
                         killed before this: the old state, and files nobody names │ killed after: the new state

What it guarantees:

- The new version has the documents, blocks and vectors of the last one, in the same order; block ids, document ids
  and the version each document was written by stay. Row numbers change where rows are dropped.
- Old versions can no longer be opened. A process that has one open goes on with what it has mapped or read; as soon
  as it needs a file that is gone, it gets an error that says so. It never gets other data: no name is used twice.
- Killed at any moment, the knowledge base is at the old or at the new version; the next run deletes what was left.
- Memory is that of one batch of rows, plus 8 bytes a row that is gone; disk must have room for the old and the new.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from realm.corpus.document_store import DocumentStore
from realm.corpus.lexical import LexicalIndex
from realm.index.codes import CodeWriter
from realm.index.sketches import build_sketches
from realm.index.vectors import VectorStore, VectorWriter
from realm.openqa.file_digests import (
    Digests,
    all_files,
    digest_files,
    read_file_list,
    sweep,
    sync_files,
    write_file_list,
)
from realm.openqa.knowledge_base import KnowledgeBase
from realm.openqa.manifest import BLOCKS, DOCUMENTS, PENDING, VECTORS, Manifest, published_versions
from realm.openqa.pending import Job, left_over
from realm.openqa.search_index import faiss_of
from realm.openqa.versions import named_files, parts_of, publish_manifest
from realm.openqa.write_lock import take_lock

_ROWS_AT_ONCE = 1 << 15


@dataclass(frozen=True)
class CompactionReport:
    """What compaction did.

    Attributes:
        manifest: The version readers see now.
        dropped_versions: Older versions that can no longer be opened.
        dropped_blocks: Rows of documents that were removed or replaced.
        discarded_blocks: Blocks of a run of `realm index` that was cut short; it has to begin again.
        freed_bytes: Bytes on disk before, less those after.
    """

    manifest: Manifest
    dropped_versions: int
    dropped_blocks: int
    discarded_blocks: int
    freed_bytes: int


def compact(
    folder: Path,
    *,
    rebuild: bool = False,
    discard_pending: bool = False,
    progress: Callable[[str], None] | None = None,
) -> CompactionReport:
    """Drop old versions, and all that only they need, from a knowledge base.

    Args:
        folder: The knowledge base.
        rebuild: Also make anew what is made from the vectors: their int8 copy, and the FAISS file.
        discard_pending: Throw away what a run that was killed has written.
        progress: Called with the name of every part before it is written.

    Raises:
        KnowledgeBaseError: There is none; another process is writing it; or unless `discard_pending`, it holds an
            unfinished run.
        CorruptFileError: A file that has to be read is damaged; nothing is changed then.
    """
    KnowledgeBase.open(folder)  # Order: the lock would make a folder
    with take_lock(folder):
        base = KnowledgeBase.open(folder)
        before = _bytes(folder)
        old = [version for version in published_versions(folder) if version != base.manifest.version]
        job = Job("compact")
        _, discarded = left_over(folder, job, base.manifest.model, base.manifest, discard=discard_pending)
        (folder / PENDING).unlink(missing_ok=True)
        listed = read_file_list(folder, base.manifest.files) if base.manifest.files else {}
        manifest = base.manifest
        is_scattered = base.blocks.small_files() > 1 or base.documents.small_files() > 1
        if old or len(base.tombstones) or is_scattered or rebuild:
            manifest, listed = _rewrite(base, rebuild, progress or (lambda part: None))
        sweep(folder, all_files(folder, parts_of(folder)) - named_files(manifest, listed))
        freed = before - _bytes(folder)
        return CompactionReport(manifest, len(old), len(base.tombstones), discarded, freed)


def _rewrite(base: KnowledgeBase, rebuild: bool, progress: Callable[[str], None]) -> tuple[Manifest, Digests]:
    """Write and publish the new version; gives its manifest, and what its file list names."""
    folder, old = base.folder, base.manifest
    documents = DocumentStore.open(folder / DOCUMENTS, old.documents_version)
    blocks = LexicalIndex.open(folder / BLOCKS, old.blocks_version)
    gone = base.tombstones
    new = dataclasses.replace(old, version=old.version + 1, tombstones=None, blocks=old.blocks - len(gone))
    progress("blocks")
    if len(gone):
        blocks.drop(gone)
        progress("documents")
        documents.move_blocks(gone)
    else:
        if new.lexical:
            blocks.complete(as_one=True)  # files merge where the same parts of the index know them
        blocks.merge_files()
        progress("documents")
        documents.merge_files()
    if len(gone) or rebuild:
        progress("vectors")
        new = _rewrite_vectors(base, new)
    progress("indexes")
    documents.index_ids()
    if new.lexical:
        blocks.complete()
    new = dataclasses.replace(new, faiss=faiss_of(folder, new))
    names = [f"{DOCUMENTS}/{name}" for name in documents.files()] + [f"{BLOCKS}/{name}" for name in blocks.files()]
    known = read_file_list(folder, old.files) if old.files else {}
    listed = digest_files(folder, names, known)
    sync_files(folder, listed.keys() - known.keys())
    new = dataclasses.replace(
        new,
        documents_version=documents.version,
        blocks_version=blocks.version,
        files=write_file_list(folder, new.version, listed),
    )
    publish_manifest(folder, new)
    return new, listed


def _rewrite_vectors(base: KnowledgeBase, new: Manifest) -> Manifest:
    """Copy the rows that stay into a folder of their own, for readers may have the old files mapped."""
    name = f"{VECTORS}-{new.version:06d}"
    sweep(base.folder, all_files(base.folder, [name]))  # a killed run's
    store: VectorStore = base.vectors
    store.verify()  # or else damage would get a digest of its own
    folder = base.folder / name
    with VectorWriter(folder, new.dim) as writer, CodeWriter(folder, new.dim) as codes:
        for first, rows in store.chunks(_ROWS_AT_ONCE):
            start, end = np.searchsorted(base.tombstones, (first, first + len(rows)))
            left = np.delete(rows, base.tombstones[start:end] - first, axis=0)
            writer.append(left)
            codes.append(left)
        segments = writer.publish()
        return dataclasses.replace(
            new,
            vectors_folder=name,
            segments=segments,
            codes=codes.publish(),
            sketches=build_sketches(VectorStore(folder, segments, new.dim), folder),
            faiss=None,  # it names rows
        )


def _bytes(folder: Path) -> int:
    return sum((folder / path).stat().st_size for path in all_files(folder, parts_of(folder)))
