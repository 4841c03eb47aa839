"""A file that is only ever appended to, and its digest. Knows bytes, not what they stand for."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, BinaryIO

from realm.errors import CorruptFileError
from realm.index.segments import REBUILD, damaged

_CHUNK_BYTES = 8 << 20


class AppendedFile:
    """A file open for appending."""

    def __init__(
        self, path: Path, published_bytes: int = 0, published_sha256: str = "", rebuild: str = REBUILD
    ) -> None:
        """Go on after the published bytes; whatever a killed writer left behind them is cut off.

        Raises:
            CorruptFileError: The published bytes do not have their digest. `rebuild` is the next command.
        """
        self._file = path.open("r+b" if published_bytes else "wb")
        self._digest = digest_of(self._file, published_bytes)
        if published_bytes and self.sha256 != published_sha256:
            self._file.close()
            raise damaged(path, rebuild)
        self._file.truncate(published_bytes)
        self._file.seek(published_bytes)

    @property
    def sha256(self) -> str:
        """Hex digest of all bytes so far, published or not."""
        return str(self._digest.hexdigest())

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)

    def sync(self) -> None:
        """Bring all bytes to the disk, if the file is still open."""
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def digest_of(file: BinaryIO, size_bytes: int) -> Any:
    """SHA-256 object over the next `size_bytes` of `file`, or over all there are if they are fewer."""
    digest = hashlib.sha256()
    left = size_bytes
    while left and (data := file.read(min(_CHUNK_BYTES, left))):
        digest.update(data)
        left -= len(data)
    return digest


def check_start(path: Path, size_bytes: int, sha256: str, rebuild: str = REBUILD) -> None:
    """Compare a file's first `size_bytes` with their digest: the rest belongs to a newer version.

    Raises:
        CorruptFileError: They are others, or cannot be read. `rebuild` is the next command.
    """
    try:
        with path.open("rb") as file:
            found = digest_of(file, size_bytes).hexdigest()
    except OSError as exc:
        raise CorruptFileError(f"{path}: cannot be read ({exc.strerror or exc}). {rebuild}") from exc
    if found != sha256:
        raise damaged(path, rebuild)
