"""Lines, and JSON lines, from disk: plain, gzip or Zstandard, one at a time, in bounded memory.

Knows files and JSON, not what a record means: its callers say that, in a function from `Record` to noun. Read
`read_records` first. Everything that can be wrong with a line is a `BadRecord`, which either stops the run as a
`SourceError` or is counted in a `SkipReport`.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from realm.corpus.fields import kind_of
from realm.corpus.skips import BadRecord, Skipper, printable
from realm.errors import SourceError

MAX_RECORD_BYTES = 64 << 20
JSON_LINES_SUFFIXES = (".jsonl", ".jsonl.zst", ".jsonl.gz")

_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
_BUFFER_BYTES = 1 << 20
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Record:
    """One JSON object and where it stands.

    Attributes:
        fields: The object.
        place: `path:line`, for people.
        default_id: `<file name>:<line>`, for records that bring no id.
    """

    fields: dict[str, Any]
    place: str
    default_id: str


def read_records(
    path: Path, convert: Callable[[Record], T], skipper: Skipper, *, name: str | None = None
) -> Iterator[T]:
    """Read a file of JSON lines and convert every record.

    Args:
        path: A file ending in one of `JSON_LINES_SUFFIXES`; the ending names the compression. Blank lines are
            passed over.
        convert: Makes the wanted noun of a record, or raises `BadRecord`.
        skipper: What to do with a line that is no record, or that `convert` refuses.
        name: What default ids begin with. The file's name unless given.

    Raises:
        SourceError: The file is missing or unreadable, or, unless bad records are skipped: a line is not
            UTF-8, not a JSON object, longer than 64 MiB, or refused by `convert`; or the compressed stream
            breaks off.
    """
    name = path.name if name is None else name
    for number, offset, line in numbered_lines(path):
        place = f"{path}:{number}"
        try:
            if isinstance(line, BadRecord):
                raise line
            if line.isspace():
                continue
            noun = convert(Record(_parse(line, offset), place, f"{name}:{number}"))
        except BadRecord as bad:
            skipper.handle(place, bad)
            continue
        yield noun


def numbered_lines(path: Path) -> Iterator[tuple[int, int, bytes | BadRecord]]:
    """The lines of a file, with their line breaks.

    Returns:
        Number (from 1), offset of the first byte (uncompressed) and bytes of every line, or what is wrong with
        it: it is longer than 64 MiB, or, then as the last one, the file breaks off.

    Raises:
        SourceError: The file is missing or cannot be opened.
    """
    number, offset = 0, 0
    with open_source(path) as file:
        while True:
            number += 1
            try:
                line = file.readline(MAX_RECORD_BYTES + 1)
                size_bytes = len(line)
                is_too_long = size_bytes > MAX_RECORD_BYTES and not line.endswith(b"\n")
                if is_too_long:
                    size_bytes += _skip_line(file)
            except (OSError, ValueError) as exc:
                yield number, offset, BadRecord("broken_stream", f"the file breaks off here: {exc}")
                return
            if not size_bytes:
                return
            yield number, offset, too_long(size_bytes) if is_too_long else line
            offset += size_bytes


def _skip_line(file: BinaryIO) -> int:
    """Read on to the end of the line; how many bytes that took."""
    skipped_bytes = 0
    while part := file.readline(_BUFFER_BYTES):
        skipped_bytes += len(part)
        if part.endswith(b"\n"):
            break
    return skipped_bytes


def too_long(size_bytes: int) -> BadRecord:
    """What is wrong with a record of more than 64 MiB."""
    limit = MAX_RECORD_BYTES >> 20
    return BadRecord("too_long", f"a record of {size_bytes:,} bytes; at most {limit} MiB are read: split it")


def read_whole(path: Path) -> bytes:
    """All bytes of a file, decompressed where its name says so.

    Raises:
        SourceError: It is missing or cannot be opened.
        BadRecord: It breaks off, or is larger than 64 MiB.
    """
    with open_source(path) as file:
        try:
            data = file.read(MAX_RECORD_BYTES + 1)
        except (OSError, ValueError) as exc:
            raise BadRecord("broken_stream", f"cannot be read: {exc}") from exc
    if len(data) > MAX_RECORD_BYTES:
        limit = MAX_RECORD_BYTES >> 20
        raise BadRecord("too_long", f"larger than {limit} MiB, the most one document may have: split it")
    return data


def open_source(path: Path) -> BinaryIO:
    """Open a file for reading bytes, decompressed where its name ends in .gz or .zst.

    Raises:
        SourceError: It is missing or cannot be opened.

    Differs: pyarrow decompresses, since Python's zstandard reader takes a stream that was cut off for a
        complete one.
    """
    try:
        compression = _COMPRESSIONS.get(path.suffix.lower())
        if compression is None:
            return path.open("rb", buffering=_BUFFER_BYTES)
        import pyarrow

        return io.BufferedReader(pyarrow.input_stream(str(path), compression=compression), _BUFFER_BYTES)
    except OSError as exc:
        raise SourceError(printable(f"{path}: cannot be opened: {exc.strerror or exc}")) from exc


def decode(data: bytes, offset: int) -> str:
    """UTF-8 bytes as text, without the byte order mark a file may begin with.

    Args:
        data: The bytes.
        offset: Where they stand in the file, for the message.

    Raises:
        BadRecord: They are not UTF-8, or not text; the message names the byte.
    """
    if not offset and data.startswith(_BYTE_ORDER_MARK):
        data, offset = data[3:], 3
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise BadRecord(
            "not_utf8",
            f"not UTF-8: byte 0x{data[exc.start]:02x} at offset {offset + exc.start:,} of the file: save it as UTF-8",
        ) from exc
    # UTF-16 of plain English is valid UTF-8, full of these; taken as text it would never be found again.
    if "\0" in text:
        place = offset + data.index(b"\0")
        raise BadRecord("not_text", f"byte 0 at offset {place:,} of the file, as in UTF-16: save it as UTF-8")
    return text


def _parse(data: bytes, offset: int) -> dict[str, Any]:
    try:
        # Without its line break, so that the column of an error is one of this line.
        value = json.loads(decode(data.rstrip(b"\r\n"), offset))
    except (ValueError, RecursionError) as exc:
        raise BadRecord("broken_json", f"broken JSON: {json_problem(exc)}") from exc
    if not isinstance(value, dict):
        raise BadRecord("broken_json", f"the line is {kind_of(value)}; it must be a JSON object")
    return value


def json_problem(exc: Exception) -> str:
    """What `json.loads` found wrong with a text."""
    if isinstance(exc, json.JSONDecodeError):
        return f"{exc.msg} at {'' if exc.lineno == 1 else f'line {exc.lineno}, '}column {exc.colno}"
    if isinstance(exc, RecursionError):
        return "nested too deeply"
    if "set_int_max_str_digits" in str(exc):
        return f"a number of more than {sys.get_int_max_str_digits():,} digits; write it as a string"
    return str(exc)
