"""The layouts that question files come in, told apart by their content and brought to one form: records.

    JSON lines    ours, NQ-open and DrQA (`answer`), reading examples (`context`), BEIR queries (`_id`, `text`)
    SQuAD JSON    versions 1.1 and 2.0, one record a question
    tables        DPR: question, tab or comma, list of answers

Knows files and layouts, not what a record means: `questions` says that. Read `question_records` first.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from realm.corpus.fields import kind_of
from realm.corpus.lines import JSON_LINES_SUFFIXES, MAX_RECORD_BYTES, Record, json_problem, open_source, read_records
from realm.corpus.list_literal import parse_string_list
from realm.corpus.skips import BadRecord, Skipper
from realm.errors import SourceError

Layout = Literal["json_lines", "squad", "table"]

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_EXPECTED = (
    "expected JSON lines with question and answers, SQuAD JSON, or a table of question, tab or comma, and "
    "['answer', ...]"
)


def question_records(path: Path, skipper: Skipper) -> Iterator[Record]:
    """The questions of a file as records of one form, whatever its layout.

    SQuAD questions become records with `id`, `title`, `context`, `question` and `answers`; rows of a table records
    with `question` and `answers`.

    Raises:
        SourceError: The file is missing or of no known layout; or, unless bad records are skipped, a record
            cannot be read.
    """
    layout = detect_layout(path)
    if layout == "squad":
        return _squad_records(path, skipper)
    if layout == "table":
        return _table_records(path, skipper)
    return read_records(path, lambda record: record, skipper)


def detect_layout(path: Path) -> Layout:
    """What the file's first line shows it to be.

    Raises:
        SourceError: The file is missing, or its first line is that of no known layout.
    """
    if not path.is_file():
        raise SourceError(f"{path}: there is no such file")
    first = _first_line(path)
    is_json_lines = _uncompressed_name(path).endswith(".jsonl")
    if not first.startswith(b"{"):
        if is_json_lines or not first:
            return "json_lines"
        shown = first[:40].decode("utf-8", "replace")
        is_row = not first.startswith(b"[") and (b"\t" in first or b",[" in first or b',"[' in first)
        if is_row or _is_header(shown.split(",")):
            return "table"
        raise SourceError(f"{path}: no known layout of questions: it begins with {shown!r}; {_EXPECTED}")
    try:
        value = json.loads(first)
    except (ValueError, RecursionError):
        return "json_lines" if is_json_lines else "squad"
    return "squad" if isinstance(value, dict) and "data" in value and "question" not in value else "json_lines"


def _uncompressed_name(path: Path) -> str:
    name = path.name.lower()
    return name.removesuffix(".gz").removesuffix(".zst")


def _first_line(path: Path) -> bytes:
    """The first line that is not blank, without white space around it; empty if there is none."""
    with open_source(path) as file:
        try:
            while line := file.readline(MAX_RECORD_BYTES):
                if found := line.removeprefix(_BYTE_ORDER_MARK).strip():
                    return found
        except OSError as exc:
            raise SourceError(f"{path}: the file breaks off: {exc}") from exc
    return b""


def _squad_records(path: Path, skipper: Skipper) -> Iterator[Record]:
    try:
        with open_source(path) as file:
            whole = json.loads(file.read().removeprefix(_BYTE_ORDER_MARK))
    except (OSError, ValueError, RecursionError) as exc:
        names = ", ".join(JSON_LINES_SUFFIXES)
        raise SourceError(
            f"{path}: broken JSON: {json_problem(exc)}. JSON lines must be named {names}; other JSON must be SQuAD's"
        ) from exc
    if not isinstance(whole, dict) or not isinstance(whole.get("data"), list):
        raise SourceError(f'{path}: not SQuAD JSON: there is no list "data"; {_EXPECTED}')
    for place, article in _parts(whole, "data", str(path), skipper):
        for where, paragraph in _parts(article, "paragraphs", place, skipper):
            for here, asked in _parts(paragraph, "qas", where, skipper):
                shared = {"title": article.get("title"), "context": paragraph.get("context")}
                fields = {
                    **asked,
                    **shared,
                    "answers": [] if asked.get("is_impossible") is True else asked.get("answers"),
                }
                yield Record(fields, here, here.replace(str(path), path.name, 1))


def _parts(whole: dict[str, Any], key: str, place: str, skipper: Skipper) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of the list under `key`, each with its place, such as `dev.json:data[0].paragraphs[3]`."""
    parts = whole.get(key)
    if not isinstance(parts, list):
        skipper.handle(place, BadRecord("bad_squad", f'"{key}" is {_kind(parts)}; it must be a list'))
        return
    border = ":" if key == "data" else "."
    for number, part in enumerate(parts):
        here = f"{place}{border}{key}[{number}]"
        if isinstance(part, dict):
            yield here, part
        else:
            skipper.handle(here, BadRecord("bad_squad", f"it is {_kind(part)}; it must be an object"))


def _kind(value: Any) -> str:
    return "missing or null" if value is None else kind_of(value)


def _table_records(path: Path, skipper: Skipper) -> Iterator[Record]:
    """Rows of DPR's tables: as its own reader does, by the rules of CSV."""
    delimiter = "\t" if b"\t" in _first_line(path) else ","
    with io.TextIOWrapper(open_source(path), encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, delimiter=delimiter)
        try:
            for number, row in enumerate(rows):
                if not row or (number == 0 and _is_header(row)):
                    continue
                place = f"{path}:{rows.line_num}"
                try:
                    yield Record(_fields_of_row(row), place, f"{path.name}:{rows.line_num}")
                except BadRecord as bad:
                    skipper.handle(place, bad)
        except (UnicodeDecodeError, csv.Error, OSError) as exc:
            raise SourceError(f"{path}:{rows.line_num + 1}: cannot be read: {exc}") from exc


_HEADERS = (["question", "answer"], ["question", "answers"])


def _is_header(cells: list[str]) -> bool:
    return [cell.strip(' \t"').lower() for cell in cells] in _HEADERS


def _fields_of_row(row: list[str]) -> dict[str, Any]:
    if len(row) != 2:
        raise BadRecord("bad_row", f"{len(row)} columns; there must be two: question, and list of answers")
    try:
        return {"question": row[0], "answers": parse_string_list(row[1])}
    except ValueError as exc:
        raise BadRecord("bad_answers", f"the answers {row[1][:60]!r} are no list of strings: {exc}") from exc
