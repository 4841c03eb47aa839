"""Whether a knowledge base holds together: every file has the bytes it was written with, and the parts agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from realm.corpus.block_store import BlockStore
from realm.corpus.document_store import DocumentStore
from realm.errors import CorruptFileError, KnowledgeBaseError
from realm.index.codes import CodeStore
from realm.index.faiss_file import check_faiss
from realm.index.segments import REBUILD
from realm.index.sketches import SketchStore
from realm.index.tombstones import read_tombstones
from realm.index.vectors import VectorStore
from realm.openqa.file_digests import FileDigest, check_files, read_file_list
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
from realm.openqa.versions import naming, rows_without_document

_MOST_COMPARED_BYTES = 64 << 20


def check_vectors(vectors: VectorStore, codes: CodeStore) -> None:
    """Compare digests before questions are asked: of all bytes where that takes no time, else of the scales alone.

    Large files are left to `verify_folder`. A damaged scale, however, may be no number at all, and would end a search.

    Raises:
        CorruptFileError: A file's bytes are not those the manifest names.
    """
    sizes = [segment.bytes for segment in vectors.segments] + [segment.bytes for segment in codes.segments]
    if sum(sizes) > _MOST_COMPARED_BYTES:
        codes.verify_scales()
        return
    vectors.verify()
    codes.verify()


def verify_folder(folder: Path) -> list[int]:
    """Verify the last version and all older ones that can be opened; every file is read once.

    If another process publishes or compacts meanwhile, and something is missing then, it begins again.

    Returns:
        The versions, oldest first.

    Raises:
        CorruptFileError: A file is damaged; the message names it and says how to go on.
        KnowledgeBaseError: The parts of a version do not belong together.
    """
    published = read_manifest(folder, PUBLISHED)
    try:
        return _verify_versions(folder, published)
    except KnowledgeBaseError:
        if read_manifest(folder, PUBLISHED) == published:
            raise
    return verify_folder(folder)


def _verify_versions(folder: Path, published: Manifest | None) -> list[int]:
    versions = published_versions(folder)
    if published is None or versions[-1:] != [published.version]:
        raise CorruptFileError(f"{folder / VERSIONS}: the manifest of the last version is missing. {REBUILD}")
    seen: set[FileDigest] = set()
    rows_seen: dict[str, int] = {}
    for version in reversed(versions):
        try:
            manifest = read_manifest(folder / VERSIONS, version_name(version))
            if manifest is None or (version == published.version and manifest != published):
                raise CorruptFileError(f"{folder / VERSIONS / version_name(version)} is not {PUBLISHED}. {REBUILD}")
            with naming(folder):
                verify_version(folder, manifest, seen=seen, rows_seen=rows_seen)
        except CorruptFileError as exc:
            if version == published.version:
                raise
            raise CorruptFileError(
                f"{str(exc).removesuffix(REBUILD)}Only older versions need it: version {published.version} is whole. "
                f"Drop them with: realm compact --kb {folder}"
            ) from exc
    return versions


def verify_version(
    folder: Path,
    manifest: Manifest,
    *,
    seen: set[FileDigest] | None = None,
    rows_seen: dict[str, int] | None = None,
) -> None:
    """Read every file of a version and compare digests; then see whether its parts belong together.

    Args:
        folder: The knowledge base.
        manifest: The version.
        seen: Files that have been found sound; more are added.
        rows_seen: How many rows of each vector file have been found sound; more are added.
    """
    seen = set() if seen is None else seen
    rows_seen = {} if rows_seen is None else rows_seen
    if manifest.files is None:
        raise CorruptFileError(f"{folder}: the manifest of version {manifest.version} names no file list. {REBUILD}")
    fresh = [file for file in read_file_list(folder, manifest.files).values() if file not in seen]
    check_files(folder, fresh)
    seen.update(fresh)
    vectors = VectorStore(folder / manifest.vectors_folder, manifest.segments, manifest.dim)
    keys = [f"{manifest.vectors_folder}/{segment.name}" for segment in manifest.segments]
    # Older versions hold the beginning of what newer ones hold: only the longest is read.
    if any(rows_seen.get(key, 0) < segment.rows for key, segment in zip(keys, manifest.segments, strict=True)):
        vectors.verify()
        CodeStore(folder / manifest.vectors_folder, manifest.codes, manifest.dim).verify()
        SketchStore(folder / manifest.vectors_folder, manifest.sketches, manifest.dim).verify()
        rows_seen.update((key, segment.rows) for key, segment in zip(keys, manifest.segments, strict=True))
    if manifest.faiss is not None:
        check_faiss(folder / INDEX, manifest.faiss)
    _check_parts(folder, manifest, vectors)


def _check_parts(folder: Path, manifest: Manifest, vectors: VectorStore) -> None:
    documents = DocumentStore.open(folder / DOCUMENTS, manifest.documents_version)
    blocks = BlockStore.open(folder / BLOCKS, manifest.blocks_version)
    counts = {
        "blocks": (len(blocks), manifest.blocks),
        "documents": (len(documents), manifest.documents),
        "vectors": (vectors.rows, min(vectors.rows, manifest.blocks)),
        "codes": (sum(segment.rows for segment in manifest.codes), vectors.rows),
    }
    for part, (found, expected) in counts.items():
        if found != expected:
            raise KnowledgeBaseError(f"{folder}: {found:,} {part}, the manifest names {expected:,}. {REBUILD}")
    entry = manifest.tombstones
    gone = read_tombstones(folder / manifest.vectors_folder, entry) if entry else np.empty(0, dtype=np.int64)
    try:
        expected_gone = rows_without_document(documents, manifest.blocks)
    except ValueError as exc:
        raise KnowledgeBaseError(f"{folder}: {exc}. {REBUILD}") from exc
    if not np.array_equal(gone, expected_gone):
        raise KnowledgeBaseError(
            f"{folder}: {len(gone):,} blocks are marked as gone, {len(expected_gone):,} belong to no document. "
            f"{REBUILD}"
        )
