"""Sizes and digests of the files that a version is made of but its manifest does not name one by one.

    versions/000003.json           the manifest of version 3
    versions/000003.files.json     path, bytes and SHA-256 of the files of its Lance datasets; the manifest names it

No file of a published version is ever changed, so only files that are new since the last version are read. What
no version names can be deleted: see `sweep`. Knows files, not what is in them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from realm.artifacts import sha256_of_file, sync_directory, write_json_atomically
from realm.errors import CorruptFileError
from realm.index.segments import REBUILD, check_entry, damaged
from realm.openqa.manifest import VERSIONS, FileList

_LIST_SUFFIX = ".files.json"


@dataclass(frozen=True, slots=True)
class FileDigest:
    """What a file holds.

    Attributes:
        path: Relative to the knowledge base, with `/`.
        bytes: Its size.
        sha256: Its digest.
    """

    path: str
    bytes: int
    sha256: str


Digests = dict[str, FileDigest]


def digest_files(folder: Path, paths: Iterable[str], known: Mapping[str, FileDigest]) -> Digests:
    """Digests of files, by path; only those that are not known yet are read."""
    found: Digests = {}
    for name in paths:
        path = folder / name
        found[name] = known.get(name) or FileDigest(name, path.stat().st_size, sha256_of_file(path))
    return found


def sync_files(folder: Path, paths: Iterable[str]) -> None:
    """Bring files to the disk, whoever wrote them, before a manifest that is there names them."""
    parents = set()
    for name in paths:
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())
        parents.add((folder / name).parent)
    for parent in parents:
        sync_directory(parent)


def write_file_list(folder: Path, version: int, files: Mapping[str, FileDigest]) -> FileList:
    """Write the digests of a version's files, for its manifest to name."""
    path = folder / VERSIONS / f"{version:06d}{_LIST_SUFFIX}"
    path.parent.mkdir(exist_ok=True)
    write_json_atomically(path, as_json(files.values()))
    return FileList(path.name, sha256_of_file(path), path.stat().st_size)


def read_file_list(folder: Path, entry: FileList) -> Digests:
    """Read digests back.

    Raises:
        CorruptFileError: The file is missing, or its bytes are not those the manifest names.
    """
    path = folder / VERSIONS / entry.name
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise CorruptFileError(f"{path}: cannot be read ({exc.strerror or exc}). {REBUILD}") from exc
    if len(data) != entry.bytes or hashlib.sha256(data).hexdigest() != entry.sha256:
        raise damaged(path)
    return from_json(json.loads(data))


def as_json(files: Iterable[FileDigest]) -> list[list[object]]:
    """Path, bytes and digest of each file, by path."""
    return [[file.path, file.bytes, file.sha256] for file in sorted(files, key=lambda file: file.path)]


def from_json(entries: Sequence[Sequence[object]]) -> Digests:
    """Read what `as_json` gave.

    Raises:
        CorruptFileError: Something is missing, or of another type.
    """
    found: Digests = {}
    for entry in entries:
        values = dict(zip(("path", "bytes", "sha256"), entry, strict=False))
        check_entry(FileDigest, values)
        file = FileDigest(**values)  # type: ignore[arg-type]  # checked in the line above
        found[file.path] = file
    return found


def check_files(folder: Path, files: Iterable[FileDigest]) -> None:
    """Read files and compare them with their digests.

    Raises:
        CorruptFileError: One is missing, or has other bytes; the message names it.
    """
    for file in files:
        path = folder / file.path
        try:
            found = path.stat().st_size
            if found != file.bytes:
                raise CorruptFileError(f"{path}: {found:,} bytes, where {file.bytes:,} were written. {REBUILD}")
            if sha256_of_file(path) != file.sha256:
                raise damaged(path)
        except OSError as exc:
            raise CorruptFileError(f"{path}: cannot be read ({exc.strerror or exc}). {REBUILD}") from exc


def lance_manifests(files: Mapping[str, FileDigest], dataset: str = "") -> list[FileDigest]:
    """What Lance reads first of a dataset, or of all of them, for `check_files`: it does not survive every damage."""
    return [file for path, file in files.items() if path.startswith(dataset) and "/_versions/" in path]


def all_files(folder: Path, parts: Iterable[str]) -> set[str]:
    """Paths of all files below the given parts of a folder, relative to it."""
    found: set[str] = set()
    for part in parts:
        for parent, _, names in os.walk(folder / part):
            found.update((Path(parent) / name).relative_to(folder).as_posix() for name in names)
    return found


def sweep(folder: Path, paths: Iterable[str]) -> int:
    """Delete files, and the folders that are empty then.

    What names other files goes first: manifests of versions, then those of Lance, then the rest. So whoever is killed
    in between leaves versions that are whole or unknown; and a reader that finds a file missing can tell from its
    manifest, which is missing too, that its version has been dropped.

    Returns:
        How many bytes are free now.
    """
    freed = 0
    for name in sorted(paths, key=lambda name: (not _is_manifest(name), "/_versions/" not in name, name)):
        path = folder / name
        with suppress(FileNotFoundError):
            freed += path.stat().st_size
            path.unlink()
        with suppress(OSError):  # not empty
            if path.parent != folder:
                path.parent.rmdir()
    return freed


def _is_manifest(name: str) -> bool:
    """Whether a file is the manifest of a version."""
    return name.startswith(f"{VERSIONS}/") and not name.endswith(_LIST_SUFFIX)
