"""Documents from files: JSON lines (plain, gzip, Zstandard), text, Markdown, and folders of them.

Knows formats, not sentences or word pieces. Memory is bounded by one record, plus the ids seen (they must be
unique). Read `read_documents` first, then one function per format.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from realm.corpus.fields import optional_text, record_id, require_text, require_unicode
from realm.corpus.lines import (
    JSON_LINES_SUFFIXES,
    MAX_RECORD_BYTES,
    Record,
    decode,
    open_source,
    read_records,
)
from realm.corpus.skips import BadRecord, Skipper, SkipReport, UniqueIds
from realm.errors import SourceError
from realm.records import Document

DOCUMENT_SUFFIXES = (*JSON_LINES_SUFFIXES, ".txt", ".md")

_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+(.*?)[ \t]*#*[ \t]*")
_UNDERLINE = re.compile(r" {0,3}(?:=+|-{3,})[ \t]*")
_FENCE = re.compile(r" {0,3}(?:```|~~~)")


def read_documents(
    sources: Sequence[Path], *, skip_bad: bool = False, report: SkipReport | None = None
) -> Iterator[Document]:
    """Read the documents of several files and folders, in a stable order.

    A line of a JSON-lines file has `text` and, optionally, `id` (text or whole number, otherwise `<file
    name>:<line>`) and `title`; its other texts, numbers and truth values become metadata. A text or Markdown
    file is one document: its id is the file's name, or its path relative to the folder that was given; its
        title is the first heading, or the name made readable.

    Args:
        sources: Files ending in one of `DOCUMENT_SUFFIXES`, and folders. A folder is searched to the bottom,
            in the order of its relative paths; hidden files, hidden folders and files of other kinds are
            passed over.
        skip_bad: Leave out records that cannot be used and count them in `report`, where otherwise the first
            one stops the run.
        report: Where to count. Files of other kinds in a folder are counted too, as `other_kind`, whatever
            `skip_bad` is.

    Returns:
        An iterator that reads as it goes. Missing sources are reported before it starts.

    Raises:
        SourceError: A source is missing, of another kind, or without a single document; or, unless
            `skip_bad`, a record is bad: not UTF-8, broken JSON, without text, larger than 64 MiB, a second
            one of the same id, or its file breaks off.
    """
    paths = [Path(source) for source in sources]
    for path in paths:
        _require_source(path)
    return _read_sources(paths, Skipper(skip_bad, report))


def _require_source(path: Path) -> None:
    if not path.exists():
        raise SourceError(f"{path}: there is no such file or folder")
    if not path.is_dir() and not path.name.lower().endswith(DOCUMENT_SUFFIXES):
        raise SourceError(f"{path}: cannot read this kind of file; expected one of {', '.join(DOCUMENT_SUFFIXES)}")


def _read_sources(paths: list[Path], skipper: Skipper) -> Iterator[Document]:
    ids = UniqueIds()
    for source in paths:
        count = 0
        for path, name in _files(source, skipper):
            for document in _read_file(path, name, skipper):
                try:
                    ids.claim(document.id)
                except BadRecord as bad:
                    skipper.handle(document.source, bad)
                    continue
                count += 1
                yield document
        if not count:
            left_out = f" ({skipper.report.summary()})" if skipper.report.total else ""
            raise SourceError(
                f"{source}: no documents found{left_out}; expected {', '.join(DOCUMENT_SUFFIXES)} with text"
            )


def _files(source: Path, skipper: Skipper) -> Iterator[tuple[Path, str]]:
    """Files of a source with the name their ids are made of."""
    if not source.is_dir():
        yield source, source.name
        return
    names: list[str] = []
    for folder, folders, files in os.walk(source, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            relative = (Path(folder) / name).relative_to(source).as_posix()
            if name.startswith("."):
                continue
            if name.lower().endswith(DOCUMENT_SUFFIXES):
                names.append(relative)
            else:
                skipper.report.add(
                    "other_kind", f"{source / relative}: not a kind of file that documents are read from"
                )
    for relative in sorted(names):
        yield source / relative, relative


def _refuse(exc: OSError) -> None:
    raise SourceError(f"{exc.filename}: cannot be opened: {exc.strerror or exc}") from exc


def _read_file(path: Path, name: str, skipper: Skipper) -> Iterator[Document]:
    if name.lower().endswith(JSON_LINES_SUFFIXES):
        yield from read_records(path, _document_of_record, skipper, name=name)
        return
    try:
        yield _document_of_file(path, require_unicode(name, "file name", "bad_id"))
    except BadRecord as bad:
        skipper.handle(str(path), bad)


def _document_of_record(record: Record) -> Document:
    fields = record.fields
    return Document(
        id=record_id(record.fields, record.default_id),
        title=optional_text(fields, "title", "bad_title"),
        text=require_text(fields, "text", "no_text"),
        source=record.place,
        metadata={key: _scalar(key, value) for key, value in fields.items() if _is_metadata(key, value)},
    )


def _is_metadata(key: str, value: Any) -> bool:
    return key not in ("id", "title", "text") and isinstance(value, str | int | float)


def _scalar(key: str, value: str | int | float) -> str:
    require_unicode(key, "a name", "bad_metadata")
    if isinstance(value, bool):
        return "true" if value else "false"
    return require_unicode(str(value), key, "bad_metadata")


def _document_of_file(path: Path, name: str) -> Document:
    with open_source(path) as file:
        try:
            data = file.read(MAX_RECORD_BYTES + 1)
        except OSError as exc:
            raise BadRecord("unreadable", f"cannot be read: {exc.strerror or exc}") from exc
    if len(data) > MAX_RECORD_BYTES:
        raise BadRecord(
            "too_long", f"larger than {MAX_RECORD_BYTES >> 20} MiB, the most one document may have: split it"
        )
    text = require_text({"text": decode(data, 0)}, "text", "no_text")
    title = _first_heading(text) if name.lower().endswith(".md") else ""
    return Document(id=name, title=title or _readable(path.stem), text=text, source=str(path))


def _readable(stem: str) -> str:
    return stem.replace("_", " ").replace("-", " ").strip()


def _first_heading(text: str) -> str:
    """The first heading of a Markdown text that is not part of a code block, or ""."""
    previous, is_code = "", False
    for line in text.splitlines():
        if _FENCE.match(line):
            is_code = not is_code
            previous = ""
        elif not is_code:
            heading = _HEADING.fullmatch(line)
            if heading and heading[1]:
                return heading[1].strip()
            if previous and _UNDERLINE.fullmatch(line):
                return previous
            previous = line.strip()
    return ""
