"""Wikipedia as DPR cut it, `psgs_w100.tsv`: 21 million passages of 100 words, one per line.

    id <tab> text <tab> title          a header; fields with quotation marks in them are quoted, as csv has it

Read in bounded memory, plain or gzip.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from realm.corpus.skips import BadRecord, Skipper, UniqueIds
from realm.errors import SourceError
from realm.records import Document

_COLUMNS: Final = ["id", "text", "title"]
_LONGEST_LINE_CHARACTERS: Final = 1 << 20
_GZIP_MAGIC: Final = b"\x1f\x8b"


class PassageFile:
    """A file of passages.

    Args:
        path: The file; whether it is compressed is seen from its bytes.
        skipper: What a line that is no passage does; it stops the run unless given.

    Attributes:
        path: The file.
        total_bytes: Its size.
        read_passages: How many of its passages have been given out.

    Raises:
        SourceError: The file is missing.
    """

    def __init__(self, path: Path, skipper: Skipper | None = None) -> None:
        self.path = path
        self.read_passages = 0
        self._skipper = skipper or Skipper(False, None)
        self._file: BinaryIO | None = None
        try:
            self.total_bytes = path.stat().st_size
        except OSError as exc:
            raise SourceError(f"{path} cannot be read: {exc.strerror}") from exc

    @property
    def read_bytes(self) -> int:
        """How much of it has been read."""
        if self._file is None:
            return 0
        return self.total_bytes if self._file.closed else self._file.tell()

    def documents(self) -> Iterator[Document]:
        """Every passage as a document, with the id it has there.

        Raises:
            SourceError: The file is cut off, has other columns, a line is not a passage, or an id occurs twice; the
                message names the line. Passages before it have been given out by then.
        """
        with closing(self._lines()) as lines:
            yield from self._documents(csv.reader(lines, delimiter="\t", strict=True))

    def _documents(self, rows: Any) -> Iterator[Document]:
        number, known = 1, UniqueIds()
        try:
            header = next(rows, None)
            if header != _COLUMNS:
                found = "nothing" if header is None else repr("\t".join(header)[:60])
                raise SourceError(f"{self.path} begins with {found}; expected the header id, text, title, with tabs.")
            for fields in rows:
                number = rows.line_num
                try:
                    document = _passage(fields, f"{self.path}:{number}", known)
                except BadRecord as bad:
                    self._skipper.handle(f"{self.path}:{number}", bad)
                else:
                    self.read_passages += 1
                    yield document
        except csv.Error as exc:
            raise SourceError(f"{self.path}:{number + 1}: {exc}; the file is damaged or no table of DPR's.") from exc

    def _lines(self) -> Generator[str, None, None]:
        with self._opened() as file:
            number = 0
            while line := file.readline(_LONGEST_LINE_CHARACTERS):
                number += 1
                if len(line) == _LONGEST_LINE_CHARACTERS and not line.endswith("\n"):
                    raise SourceError(f"{self.path}:{number}: a line of over {_LONGEST_LINE_CHARACTERS:,} characters.")
                yield line

    @contextmanager
    def _opened(self) -> Iterator[io.TextIOWrapper]:
        try:
            with self.path.open("rb") as raw:
                is_packed = raw.peek(2)[:2] == _GZIP_MAGIC
                self._file = raw
                data = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if is_packed else raw
                with io.TextIOWrapper(data, encoding="utf-8-sig", newline="") as text:
                    yield text
        except UnicodeDecodeError as exc:
            raise SourceError(f"{self.path} is not UTF-8 text: {exc.reason}.") from exc
        except (EOFError, zlib.error, gzip.BadGzipFile) as exc:
            raise SourceError(
                f"{self.path}: the gzip stream is cut off or damaged ({exc}); fetch the file again."
            ) from exc
        except OSError as exc:
            raise SourceError(f"{self.path} cannot be read: {exc.strerror or exc}") from exc


def _passage(fields: list[str], source: str, known: UniqueIds) -> Document:
    if len(fields) != len(_COLUMNS) or not fields[0].strip():
        raise BadRecord("other_fields", f"{len(fields)} fields; expected id, text and title, with tabs between.")
    known.claim(fields[0])
    return Document(id=fields[0], title=fields[2], text=fields[1], source=source)
