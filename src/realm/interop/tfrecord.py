"""TFRecord files, plain or gzip, read and written one record at a time.

    record    8 bytes length, 4 bytes masked CRC-32C of these, the payload, 4 bytes masked CRC-32C of it

Knows nothing of what a payload is. ORQA's `blocks.tfr` and `titles.tfr` hold plain UTF-8, other files
tf.Examples.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, Literal, cast

from realm.errors import SourceError, UsageError
from realm.interop.crc32c import crc32c, mask

MAX_RECORD_BYTES: Final = 1 << 28

_HEADER_BYTES: Final = 12
_FOOTER_BYTES: Final = 4
_BUFFER_BYTES: Final = 1 << 20
_GZIP_MAGIC: Final = b"\x1f\x8b"

Compression = Literal["none", "gzip"]


def iterate_tfrecord(path: Path, *, max_record_bytes: int = MAX_RECORD_BYTES) -> Iterator[bytes]:
    """The payload of every record, in order, each checked against its checksum. No more than one is held in
    memory.

    Whether the file is compressed is seen from its bytes, not from its name. An empty file has no records.

    Args:
        path: The file.
        max_record_bytes: A longer record is an error: a length from a broken file must not fill the memory.

    Raises:
        SourceError: The file is missing, cut off, damaged, or not a TFRecord file. Records before the damage
            have been given out by then.
    """
    try:
        with _opened(path) as file:
            number = 0
            while (record := _next_record(file, f"record {number} of {path}", max_record_bytes)) is not None:
                yield record
                number += 1
    except (EOFError, zlib.error, gzip.BadGzipFile) as exc:
        raise SourceError(f"{path}: the gzip stream is cut off or damaged ({exc}); fetch the file again") from exc
    except OSError as exc:
        raise SourceError(f"{path} cannot be read: {exc.strerror or exc}") from exc


def write_tfrecord(path: Path, records: Iterable[bytes], *, compression: Compression = "none") -> int:
    """Write `records` to `path`, replacing it only when all are written.

    Returns:
        How many were written.

    Raises:
        UsageError: `compression` is neither "none" nor "gzip".
    """
    if compression not in ("none", "gzip"):
        raise UsageError(f"compression is {compression!r}; expected 'none' or 'gzip'")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    count = 0
    try:
        with temporary.open("wb") as raw:
            # No name and no time in the header: equal records give equal bytes.
            packed = gzip.GzipFile("", "wb", 6, raw, mtime=0) if compression == "gzip" else None
            file = cast(BinaryIO, packed or raw)
            for record in records:
                length = len(record).to_bytes(8, "little")
                file.write(length + _stored_crc(length) + record + _stored_crc(record))
                count += 1
            if packed:
                packed.close()
            raw.flush()
            os.fsync(raw.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return count


def _stored_crc(data: bytes) -> bytes:
    return mask(crc32c(data)).to_bytes(4, "little")


def _opened(path: Path) -> BinaryIO:
    """The file, unpacked on the way if need be. A plain one may start as gzip does; its checksum tells."""
    with path.open("rb") as file:
        head = file.read(_HEADER_BYTES)
    plain = len(head) == _HEADER_BYTES and _stored_crc(head[:8]) == head[8:]
    if head.startswith(_GZIP_MAGIC) and not plain:
        return cast(BinaryIO, gzip.GzipFile(path, "rb"))
    return path.open("rb", buffering=_BUFFER_BYTES)


def _next_record(file: BinaryIO, what: str, max_record_bytes: int) -> bytes | None:
    header = file.read(_HEADER_BYTES)
    if not header:
        return None
    if len(header) < _HEADER_BYTES:
        raise SourceError(f"{what} is cut off: {len(header)} of its {_HEADER_BYTES} header bytes are there")
    if _stored_crc(header[:8]) != header[8:]:
        raise SourceError(f"{what}: the checksum of its length is wrong; the file is damaged or not a TFRecord file")
    length = int.from_bytes(header[:8], "little")
    if length > max_record_bytes:
        raise SourceError(f"{what} claims {length} bytes; at most {max_record_bytes} are read")
    body = file.read(length + _FOOTER_BYTES)
    if len(body) < length + _FOOTER_BYTES:
        raise SourceError(f"{what} is cut off: {len(body)} of its {length + _FOOTER_BYTES} bytes are there")
    record = body[:length]
    if _stored_crc(record) != body[length:]:
        raise SourceError(f"{what}: its {length} bytes do not match their checksum; fetch the file again")
    return record
