"""Tables as text: comma- and tab-separated values with a header row, a document per row.

Knows CSV (RFC 4180) and its sister with tabs; what a row's fields mean is in `fields`. Read `read_csv` first.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from realm.corpus.fields import column_names, document_of_fields
from realm.corpus.lines import MAX_RECORD_BYTES, decode, numbered_lines, too_long
from realm.corpus.skips import BadRecord, Skipper, shortened
from realm.records import Document

_DELIMITERS = ",;\t"


def read_csv(path: Path, name: str, skipper: Skipper, text_column: str = "text") -> Iterator[Document]:
    """A file of comma-separated values: the first row names the columns, and `text` must be one of them.

    A field may be quoted, and then hold line breaks, and quotes written twice. Empty fields count as missing. Ids
    default to `<file name>:<line>`. Where the first row names `text` only if semicolons or tabs separate it, they do.
    """
    return _read(path, name, skipper, _delimiter(path, text_column), text_column)


def read_tsv(path: Path, name: str, skipper: Skipper, text_column: str = "text") -> Iterator[Document]:
    """The same with tabs. A field that begins with a quote must be quoted as in CSV."""
    return _read(path, name, skipper, "\t", text_column)


def _delimiter(path: Path, text_column: str) -> str:
    """What separates the names in the first line; a comma where no name is that of the texts."""
    for _, offset, line in numbered_lines(path):
        if isinstance(line, BadRecord):
            break
        if line.isspace():
            continue
        with suppress(BadRecord, csv.Error):
            header = decode(line, offset)
            for delimiter in _DELIMITERS:
                names = [name.strip() for row in csv.reader([header], delimiter=delimiter) for name in row]
                if "text" in column_names(names, text_column):
                    return delimiter
        break
    return ","


def _read(path: Path, name: str, skipper: Skipper, delimiter: str, text_column: str) -> Iterator[Document]:
    rows = _Rows(path, delimiter)
    header: list[str] | None = None
    texts = text_column
    while True:
        try:
            row = rows.next_row()
            if row is None:
                return
            if header is None:
                header = _header(row, text_column)
                texts = column_names(header, text_column)["text"]
                continue
            fields = _fields(header, row, texts)
            place = f":{rows.first_line}"
            document = document_of_fields(fields, f"{path}{place}", f"{name}{place}", text_column=text_column)
        except BadRecord as bad:
            skipper.handle(f"{path}:{rows.first_line}", bad)
            if header is None:
                return
            continue
        yield document


def _header(row: list[str], text_column: str) -> list[str]:
    names = [name.strip() or f"column {place}" for place, name in enumerate(row, 1)]
    found = shortened(", ".join(names))
    if "text" not in column_names(names, text_column):
        advice = "name the one to read with --text-column"
        raise BadRecord("no_text_column", f'the first row names no column "{text_column}"; it names {found}; {advice}')
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise BadRecord("bad_header", f'the first row names the column "{shortened(name)}" {count} times')
    return names


def _fields(header: list[str], row: list[str], texts: str) -> dict[str, str]:
    if len(row) != len(header):
        raise BadRecord("bad_row", f"the row has {len(row)} fields; the first row of the file has {len(header)}")
    return {name: value for name, value in zip(header, row, strict=True) if value or name == texts}


class _Rows:
    """The rows of a file; after a broken one, the next call goes on in the line behind its first.

    A stray quote makes one row of all lines up to the next quote, so the lines of a row behind its first are kept, to
    be read again should it be broken. Each is read again once only: what ends a row that has reached one of them does
    not depend on where the row began. So a later row that reaches one is as broken, and is not followed.

    Attributes:
        first_line: Where the row that was read last begins.
    """

    def __init__(self, path: Path, delimiter: str) -> None:
        self.first_line = 1
        self._line = self._offset = 0  # the line that was read last, and where the next one begins
        self._row_bytes = 0
        self._lines = numbered_lines(path)
        self._kept = io.BytesIO()  # lines of a row behind its first, or those to be read again
        self._last_kept = 0  # the last line to be read again
        self._end = ("", "")  # reason and problem of every row that reaches a line to be read again
        self._reader = csv.reader(self, delimiter=delimiter, strict=True)

    def next_row(self) -> list[str] | None:
        """The next row that is not blank; None at the end.

        Raises:
            BadRecord: The row is broken, or too large to be read.
        """
        while True:
            self.first_line, self._row_bytes = self._line + 1, 0
            # The limit is one for the whole process: it is lifted for this row alone.
            limit = csv.field_size_limit(MAX_RECORD_BYTES)
            try:
                row = next(self._reader)
            except StopIteration:
                return None
            except csv.Error as exc:
                bad = BadRecord("broken_csv", f"broken row: {exc}; a field with quotes in it is quoted")
                self._go_back(bad)
                raise bad from exc
            except BadRecord as bad:
                self._go_back(bad)
                raise
            finally:
                csv.field_size_limit(limit)
            if row:
                return row

    def _go_back(self, bad: BadRecord) -> None:
        """Go back to the line behind the first of a bad row."""
        if self._line > self.first_line:
            self._end = (bad.reason, bad.problem)
            self._last_kept, self._line = self._line, self.first_line
            self._offset -= self._kept.tell()
            self._kept.seek(0)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        """The next line, for the reader of rows, which may need several for one row."""
        is_first = self._line < self.first_line
        if self._line < self._last_kept:
            if not is_first:
                raise BadRecord(*self._end)
            self._line += 1
            # A line that cannot be read ended the row, and was not kept.
            line, offset = self._kept.readline() or BadRecord(*self._end), self._offset
        else:
            self._line, offset, line = next(self._lines)
            if self._line == self.first_line + 1:
                self._kept = io.BytesIO()
        if isinstance(line, BadRecord):
            raise line
        self._offset = offset + len(line)
        if not is_first:
            self._kept.write(line)
        self._row_bytes += len(line)
        if self._row_bytes > MAX_RECORD_BYTES:
            raise too_long(self._row_bytes)
        return decode(line, offset)
