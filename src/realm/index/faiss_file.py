"""A FAISS index as a file: written whole or not at all, and read only if it is the one that was written.

FAISS does not survive every damaged file, so the digest is compared before FAISS sees a byte. Pieces of the file
are digested at the same time, because this is half of the time that opening takes. Knows nothing of how the index
was made and how it is searched.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from realm.artifacts import sha256_of_text, sync_directory
from realm.errors import CorruptFileError, KnowledgeBaseError
from realm.index.faiss_entry import REBUILD_FAISS, FaissEntry

# How FAISS marks a file of an IVF index with fast-scan product quantisation.
_HEADER = b"IwPf"
_PIECE_BYTES = 64 << 20
_READ_BYTES = 1 << 20


def faiss_library() -> Any:
    """FAISS, imported at the moment of use; untyped, because its stubs do not know what it adds in Python."""
    import faiss

    return faiss


@contextmanager
def threads_of_torch() -> Iterator[None]:
    """Let FAISS use as many threads as torch does, and put its own number back afterwards."""
    import torch

    faiss = faiss_library()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(torch.get_num_threads())
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def write_faiss(folder: Path, index: Any) -> tuple[str, str, int]:
    """Write an index under a name made of its digest.

    Returns:
        Name, digest and size of the file.

    Raises:
        KnowledgeBaseError: The file cannot be written; nothing is left of it.
    """
    faiss = faiss_library()
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".faiss.{os.getpid()}.tmp"
    try:
        try:
            faiss.write_index(index, str(temporary))
        except RuntimeError as exc:
            raise KnowledgeBaseError(f"{folder}: the FAISS index cannot be written ({_reason(exc)})") from exc
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        digest, size = digest_of_pieces(temporary), temporary.stat().st_size
        name = f"faiss-{digest[:16]}.index"
        os.replace(temporary, folder / name)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(folder)
    return name, digest, size


def check_faiss(folder: Path, entry: FaissEntry) -> None:
    """Compare size and digest of the file with its entry.

    Raises:
        CorruptFileError: They differ, or the file is missing.
    """
    path = folder / entry.name
    _check_size(path, entry)
    if digest_of_pieces(path) != entry.sha256:
        raise CorruptFileError(f"{path}: the bytes are not those the manifest names (SHA-256 differs). {REBUILD_FAISS}")


def read_faiss(folder: Path, entry: FaissEntry, *, verify: bool = True) -> Any:
    """Read the index into memory; for inverted lists of fast-scan codes FAISS knows no mapping of files.

    Args:
        folder: Where the file is.
        entry: What the manifest says of it.
        verify: Compare the digest first. Without it only size, header and shape are looked at, and a damaged
            file may end the process: for files that were checked a moment ago.

    Raises:
        CorruptFileError: The file is missing or is not what the manifest names.
    """
    faiss = faiss_library()
    path = folder / entry.name
    if verify:
        check_faiss(folder, entry)
    else:
        _check_size(path, entry)
    with path.open("rb") as file:
        if file.read(len(_HEADER)) != _HEADER:
            raise CorruptFileError(f"{path}: not a FAISS index of the kind that realm writes. {REBUILD_FAISS}")
    try:
        index = faiss.read_index(str(path))
    except RuntimeError as exc:
        raise CorruptFileError(f"{path}: FAISS cannot read it ({_reason(exc)}). {REBUILD_FAISS}") from exc
    shape = (index.d, index.nlist, index.ntotal)
    if shape != (entry.dim, entry.nlist, entry.vectors):
        raise CorruptFileError(
            f"{path}: dimension, lists and vectors are {shape}, where the manifest names "
            f"{(entry.dim, entry.nlist, entry.vectors)}. {REBUILD_FAISS}"
        )
    return index


def digest_of_pieces(path: Path) -> str:
    """SHA-256 over the SHA-256 of each 64 MiB of a file, as `sha256_of_text` joins them."""
    starts = range(0, path.stat().st_size, _PIECE_BYTES)
    with ThreadPoolExecutor(min(max(len(starts), 1), os.cpu_count() or 1)) as pool:
        return sha256_of_text(*pool.map(partial(_digest_of_piece, path), starts))


def _digest_of_piece(path: Path, start: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(start)
        left = _PIECE_BYTES
        while left and (data := file.read(min(_READ_BYTES, left))):
            digest.update(data)
            left -= len(data)
    return digest.hexdigest()


def _check_size(path: Path, entry: FaissEntry) -> None:
    try:
        found = path.stat().st_size
    except OSError as exc:
        raise CorruptFileError(f"{path}: cannot be read ({exc.strerror or exc}). {REBUILD_FAISS}") from exc
    if found != entry.bytes:
        raise CorruptFileError(f"{path}: {found:,} bytes, where the manifest names {entry.bytes:,}. {REBUILD_FAISS}")


def _reason(exc: RuntimeError) -> str:
    """The last line of what FAISS says; those before name places in its sources."""
    return (str(exc).strip().splitlines() or ["no reason given"])[-1].strip()
