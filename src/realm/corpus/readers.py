"""Documents from files: one registry of kinds of files, and what holds for all of them.

Knows which reader reads which kind, and that ids are unique; the formats are in the modules beside it. Memory is
bounded by a record or a batch, plus 16 bytes for each id. Read `read_documents` first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from realm.corpus.arrow_files import read_arrow, read_parquet
from realm.corpus.digest_set import DigestSet
from realm.corpus.fields import document_of_fields
from realm.corpus.folders import files_of
from realm.corpus.lines import JSON_LINES_SUFFIXES, Record, read_records
from realm.corpus.skips import BadRecord, Skipper, SkipReport, printable, shortened
from realm.corpus.tables import read_csv, read_tsv
from realm.corpus.whole_files import read_html, read_markdown, read_text
from realm.errors import SourceError
from realm.records import Document

# A reader gets a file, the name its ids are made of, what to do with bad records, and the name of the column of texts.
Reader = Callable[[Path, str, Skipper, str], Iterator[Document]]


def _without_columns(read: Callable[[Path, str, Skipper], Iterator[Document]]) -> Reader:
    return lambda path, name, skipper, text_column: read(path, name, skipper)


def _read_json_lines(path: Path, name: str, skipper: Skipper, text_column: str) -> Iterator[Document]:
    def convert(record: Record) -> Document:
        return document_of_fields(
            record.fields, record.place, record.default_id, report=skipper.report, text_column=text_column
        )

    return read_records(path, convert, skipper, name=name)


def _read_wikipedia(path: Path, name: str, skipper: Skipper) -> Iterator[Document]:
    from realm.corpus.wikipedia import read_wikipedia_dump

    return read_wikipedia_dump(path, skipper)


_COMPRESSED = ("", ".gz", ".zst")
_READERS: dict[str, Reader] = {
    **dict.fromkeys(JSON_LINES_SUFFIXES, _read_json_lines),
    **{f".txt{end}": _without_columns(read_text) for end in _COMPRESSED},
    **{f".md{end}": _without_columns(read_markdown) for end in _COMPRESSED},
    **{f"{kind}{end}": _without_columns(read_html) for kind in (".html", ".htm") for end in _COMPRESSED},
    **{f".csv{end}": read_csv for end in _COMPRESSED},
    **{f".tsv{end}": read_tsv for end in _COMPRESSED},
    ".parquet": read_parquet,
    ".arrow": read_arrow,
    ".xml": _without_columns(_read_wikipedia),
    ".xml.bz2": _without_columns(_read_wikipedia),
}
DOCUMENT_SUFFIXES = tuple(_READERS)


def read_documents(
    sources: Sequence[Path],
    *,
    skip_bad: bool = False,
    report: SkipReport | None = None,
    advice: str = "",
    text_column: str = "text",
) -> Iterator[Document]:
    """Read the documents of several files and folders, in a stable order.

    - Records: JSON lines, CSV and TSV with a header row, Parquet, Arrow, and Hugging Face datasets saved to disk. A
      record has `text` and, optionally, `id` (text or whole number, otherwise `<file name>:<line or row>`) and
      `title`, in any case; other texts, numbers, truth values and short lists of them become metadata, also those in
      an object named `metadata`.
    - Whole files: plain text, Markdown, HTML. The id is the file's name, or its path relative to the folder that was
      given; the title is the first heading or what HTML says it is, or else the name made readable. The text of an
      HTML page is what can be read on it, and offsets count characters of that, not of the markup.
    - Wikipedia dumps: see `realm.corpus.wikipedia`.

    Args:
        sources: Files ending in one of `DOCUMENT_SUFFIXES`, and folders. A folder is searched to the bottom,
            in the order of its relative paths; hidden files, hidden folders, links to folders, knowledge bases,
            models and files of other kinds are passed over.
        skip_bad: Leave out records that cannot be used and count them in `report`, where otherwise the first
            one stops the run.
        report: Where to count. Files of other kinds and links to folders in a folder are counted too, as
            `other_kind` and `link_to_folder`, whatever `skip_bad` is.
        advice: What to do about a record that stops the run.
        text_column: What is called `text` here is called so in the records.

    Returns:
        An iterator that reads as it goes. Missing sources are reported before it starts.

    Raises:
        SourceError: A source is missing, of another kind, or without a single document; or, unless
            `skip_bad`, a file or folder cannot be read, or a record is bad: not UTF-8, not in its format, without
            text, larger than 64 MiB, a second one of the same id, or its file breaks off.
    """
    paths = [Path(source) for source in sources]
    for path in paths:
        _require_source(path)
    return _read_sources(paths, Skipper(skip_bad, report, advice), text_column)


def _require_source(path: Path) -> None:
    shown = printable(str(path))
    try:
        is_there, is_folder = path.exists(), path.is_dir()
    except OSError as exc:
        raise SourceError(f"{shown}: cannot be opened: {exc.strerror or exc}") from exc
    if not is_there:
        raise SourceError(f"{shown}: there is no such file or folder. Check the path")
    if not is_folder and not path.name.lower().endswith(DOCUMENT_SUFFIXES):
        raise SourceError(f"{shown}: cannot read this kind of file; expected one of {', '.join(DOCUMENT_SUFFIXES)}")


def _read_sources(paths: list[Path], skipper: Skipper, text_column: str) -> Iterator[Document]:
    ids = DigestSet()
    for source in paths:
        count = 0
        for document in _read_source(source, skipper, text_column):
            if not ids.add(document.id):
                _handle_duplicate(document, paths, skipper, text_column)
                continue
            count += 1
            yield document
        if not count:
            left_out = f" ({skipper.report.summary()})" if skipper.report.total else ""
            expected = ", ".join(DOCUMENT_SUFFIXES)
            raise SourceError(f"{printable(str(source))}: no documents found{left_out}; expected {expected} with text")


def _read_source(source: Path, skipper: Skipper, text_column: str) -> Iterator[Document]:
    for path, name in files_of(source, DOCUMENT_SUFFIXES, skipper):
        try:
            yield from _reader_of(path)(path, name, skipper, text_column)
        except SourceError as exc:
            if not skipper.skip_bad:
                raise
            # Bad records were counted where they stand; this is a file that cannot be opened.
            skipper.report.add("unreadable", str(exc))


def _reader_of(path: Path) -> Reader:
    name = path.name.lower()
    return next(reader for suffix, reader in _READERS.items() if name.endswith(suffix))


def _handle_duplicate(document: Document, paths: list[Path], skipper: Skipper, text_column: str) -> None:
    """Refuse or count a second document of an id, naming the first.

    Where the first one stands was not kept, which would take more memory than everything else: it is looked for, by
    reading again, when a message needs it.
    """
    reason, first = "duplicate_id", "an earlier one"
    if reason not in skipper.report.examples:
        again = Skipper(True, None)
        others = (other for source in paths for other in _read_source(source, again, text_column))
        first = next((other.source for other in others if other.id == document.id), first)
    problem = f'the id "{shortened(document.id)}" is already that of {first}; ids must be unique'
    if Path(first).resolve() == Path(document.source).resolve():
        problem = "this record was read before: its source was given twice. Give it once"
        if not skipper.skip_bad:
            raise SourceError(printable(f"{document.source}: {problem}"))
    skipper.handle(document.source, BadRecord(reason, problem))
