"""The published versions of a knowledge base: which files each is made of, and how one becomes the newest."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from realm.corpus.document_store import DocumentStore
from realm.errors import CorruptFileError
from realm.openqa.file_digests import read_file_list
from realm.openqa.manifest import (
    BLOCKS,
    DOCUMENTS,
    INDEX,
    PENDING,
    PUBLISHED,
    VECTORS,
    VERSIONS,
    Manifest,
    published_versions,
    read_manifest,
    version_name,
    write_manifest,
)

_SOME_FOLDER = "--kb FOLDER"


@contextmanager
def naming(folder: Path) -> Iterator[None]:
    """Put the knowledge base into commands that mend it; who found the damage knew only its part."""
    try:
        yield
    except CorruptFileError as exc:
        if _SOME_FOLDER not in str(exc):
            raise
        raise CorruptFileError(str(exc).replace(_SOME_FOLDER, shlex.join(["--kb", str(folder)]))) from exc


def publish_manifest(folder: Path, manifest: Manifest) -> None:
    """Make a version, all of whose files are on the disk, the one readers see. The second line is the commit."""
    (folder / VERSIONS).mkdir(exist_ok=True)
    write_manifest(folder / VERSIONS, manifest, version_name(manifest.version))
    write_manifest(folder, manifest, PUBLISHED)
    (folder / PENDING).unlink(missing_ok=True)


def parts_of(folder: Path) -> list[str]:
    """The folders that hold the parts of all versions; what else is in `folder` is not ours."""
    vectors = sorted(path.name for path in folder.glob(f"{VECTORS}*") if path.is_dir())
    return [DOCUMENTS, BLOCKS, VERSIONS, INDEX, *vectors]


def named_files(manifest: Manifest, listed: Iterable[str]) -> set[str]:
    """Paths of all files a version is made of; `listed` are those in its file list."""
    rows = [entry.name for entry in manifest.segments] + [entry.name for entry in manifest.codes]
    rows += [entry.scale_name for entry in manifest.codes] + [entry.name for entry in manifest.sketches]
    rows += [manifest.tombstones.name] if manifest.tombstones else []
    own = {f"{VERSIONS}/{version_name(manifest.version)}"}
    if manifest.files is not None:
        own.add(f"{VERSIONS}/{manifest.files.name}")
    if manifest.faiss is not None:
        own.add(f"{INDEX}/{manifest.faiss.name}")
    return own | set(listed) | {f"{manifest.vectors_folder}/{name}" for name in rows}


def versions_files(folder: Path) -> set[str]:
    """Paths of all files of all published versions."""
    found: set[str] = set()
    for version in published_versions(folder):
        manifest = read_manifest(folder / VERSIONS, version_name(version))
        if manifest is not None:
            found |= named_files(manifest, read_file_list(folder, manifest.files) if manifest.files else ())
    return found


def rows_without_document(documents: DocumentStore, rows: int) -> NDArray[np.int64]:
    """Those of the first `rows` block rows that belong to no document, ascending.

    Raises:
        ValueError: A row belongs to two documents, or is not among them.
    """
    first, count = documents.block_rows()
    if (first + count > rows).any() or (first[:-1] + count[:-1] > first[1:]).any():
        raise ValueError("documents name rows of blocks that do not exist, or that are another document's")
    steps = np.zeros(rows + 1, dtype=np.int64)
    np.add.at(steps, first, 1)
    np.add.at(steps, first + count, -1)
    return np.flatnonzero(np.cumsum(steps[:-1]) == 0)
