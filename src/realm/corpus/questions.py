"""Questions with reference answers, and questions with the passage that answers them, from JSON lines.

Knows the two formats; how answers are compared is in `answers`, what a model makes of them elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, TypeVar

from realm.corpus.fields import optional_text, record_id, require_text, require_unicode
from realm.corpus.lines import JSON_LINES_SUFFIXES, Record, read_records
from realm.corpus.skips import BadRecord, Skipper, SkipReport, UniqueIds
from realm.errors import SourceError
from realm.records import Question, ReadingExample

T = TypeVar("T", Question, ReadingExample)


def read_questions(path: Path, *, skip_bad: bool = False, report: SkipReport | None = None) -> Iterator[Question]:
    """Read questions, one JSON object a line.

    A line has `question`, and optionally `id` (otherwise `<file name>:<line>`), `answers` (a list of texts;
    without it the question has no reference) and `answer_type` (`"string"`, or `"regex"` where answers are
    regular expressions).

    Args:
        path: A file ending in .jsonl, .jsonl.zst or .jsonl.gz.
        skip_bad: Leave out lines that cannot be used and count them in `report`, where otherwise the first
            one stops the run.
        report: Where to count.

    Raises:
        SourceError: The file is missing or holds no question; or, unless `skip_bad`, a line is bad or an id
            occurs twice.
    """
    return _read(path, _question, lambda question: question.id, Skipper(skip_bad, report), "questions")


def read_reading_examples(
    path: Path, *, skip_bad: bool = False, report: SkipReport | None = None
) -> Iterator[ReadingExample]:
    """Read questions with their passage, one JSON object a line.

    A line has `question`, `context`, `answers` (a list of `{"text", "answer_start"}`, where the text stands
    in the context from that character on; empty where the passage does not answer), and optionally `id` and
    `title`.

    Args and errors are those of `read_questions`; an answer that does not stand where it says is a bad line,
    too.
    """
    skipper = Skipper(skip_bad, report)
    return _read(path, _reading_example, lambda example: example.question.id, skipper, "reading examples")


def _read(
    path: Path, convert: Callable[[Record], T], id_of: Callable[[T], str], skipper: Skipper, plural: str
) -> Iterator[T]:
    """Check the path at once; read on demand."""
    path = Path(path)
    if not path.is_file():
        raise SourceError(f"{path}: there is no such file")
    if not path.name.lower().endswith(JSON_LINES_SUFFIXES):
        raise SourceError(f"{path}: {plural} are read from {', '.join(JSON_LINES_SUFFIXES)}")
    ids = UniqueIds()

    def convert_unique(record: Record) -> T:
        noun = convert(record)
        ids.claim(id_of(noun))
        return noun

    def read() -> Iterator[T]:
        count = 0
        for noun in read_records(path, convert_unique, skipper):
            count += 1
            yield noun
        if not count:
            left_out = f" ({skipper.report.summary()})" if skipper.report.total else ""
            raise SourceError(f"{path}: no {plural} found{left_out}")

    return read()


def _question(record: Record) -> Question:
    answers = record.fields.get("answers", [])
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        raise BadRecord("bad_answers", '"answers" must be a list of strings')
    return Question(
        id=record_id(record.fields, record.default_id),
        text=require_text(record.fields, "question", "no_question"),
        answers=tuple(require_unicode(answer, "answers", "bad_answers") for answer in answers),
        answer_type=_answer_type(record.fields.get("answer_type", "string")),
    )


def _answer_type(value: object) -> Literal["string", "regex"]:
    if value == "string":
        return "string"
    if value == "regex":
        return "regex"
    raise BadRecord("bad_answers", f'"answer_type" is {value!r}; it must be "string" or "regex"')


def _reading_example(record: Record) -> ReadingExample:
    context = require_text(record.fields, "context", "no_context")
    found = record.fields.get("answers")
    if not isinstance(found, list):
        raise BadRecord("bad_answers", '"answers" must be a list of {"text", "answer_start"}')
    places = [_place(answer, context) for answer in found]
    question = Question(
        id=record_id(record.fields, record.default_id),
        text=require_text(record.fields, "question", "no_question"),
        answers=tuple(text for text, _ in places),
    )
    title = optional_text(record.fields, "title", "bad_title")
    return ReadingExample(question, title, context, tuple(start for _, start in places))


def _place(answer: object, context: str) -> tuple[str, int]:
    """Text and first character of an answer, which must stand there."""
    text = answer.get("text") if isinstance(answer, dict) else None
    start = answer.get("answer_start") if isinstance(answer, dict) else None
    if not isinstance(text, str) or not text or not isinstance(start, int) or isinstance(start, bool):
        raise BadRecord("bad_answers", 'an answer must have "text" (not empty) and "answer_start" (a whole number)')
    if start < 0 or context[start : start + len(text)] != text:
        raise BadRecord(
            "answer_misplaced",
            f'the answer "{text[:60]}" does not stand at character {start:,} of the context',
        )
    return text, start
