"""Questions with reference answers, and questions with the passage that answers them.

Knows what the records of a question file mean; how files are laid out is in `question_formats`, how answers are
compared in `answers`, what a model makes of them elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from realm.corpus.fields import optional_text, record_id, require_text, require_unicode
from realm.corpus.lines import Record
from realm.corpus.question_formats import detect_layout, question_records
from realm.corpus.skips import BadRecord, Skipper, SkipReport, UniqueIds
from realm.errors import SourceError
from realm.records import Question, ReadingExample

AnswerType = Literal["string", "regex"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ReferenceQuestion:
    """A question as it is evaluated.

    Attributes:
        question: With its reference answers. The only answer `""` says that no answer is right; no answers at all, that
            the right one is unknown.
        passage: The text it was asked about; empty where that is unknown.
    """

    question: Question
    passage: str = ""


def read_questions(
    path: Path, *, skip_bad: bool = False, report: SkipReport | None = None, answer_type: AnswerType | None = None
) -> Iterator[Question]:
    """Read the questions of a file; see `read_reference_questions`."""
    asked = read_reference_questions(path, skip_bad=skip_bad, report=report, answer_type=answer_type)
    return (reference.question for reference in asked)


def read_reference_questions(
    path: Path, *, skip_bad: bool = False, report: SkipReport | None = None, answer_type: AnswerType | None = None
) -> Iterator[ReferenceQuestion]:
    """Read questions with all that is known of their answers. The layout is told by the content:

        {"id", "question", "answers": [...], "answer_type"}      JSON lines; all but the question may be missing
        {"question", "answer": [...]}                            JSON lines of NQ-open, EfficientQA and DrQA
        {"id", "question", "context", "answers": [{"text"}]}     JSON lines of reading examples
        {"_id", "text"}                                          JSON lines of BEIR queries: no answers
        {"data": [...]}                                          SQuAD 1.1 and 2.0
        question<TAB>['answer', ...]                             tables of DPR; a comma will do

    A question without id gets `<file name>:<line>`. A reading example without answers says that none is right.

    Args:
        path: The file; .gz and .zst are decompressed.
        skip_bad: Leave out records that cannot be used and count them in `report`, where otherwise the first
            one stops the run.
        report: Where to count.
        answer_type: What the answers are where a record does not say; strings unless given.

    Raises:
        SourceError: The file is missing, of no known layout, or holds no question; or, unless `skip_bad`, a
            record is bad or an id occurs twice.
    """
    default = answer_type or "string"
    return _read(
        path,
        lambda record: _reference(record, default),
        lambda r: r.question.id,
        Skipper(skip_bad, report),
        "questions",
    )


def read_reading_examples(
    path: Path, *, skip_bad: bool = False, report: SkipReport | None = None
) -> Iterator[ReadingExample]:
    """Read questions with their passage, from JSON lines or SQuAD JSON.

    A record has `question`, `context`, `answers` (a list of `{"text", "answer_start"}`, where the text stands
    in the context from that character on; empty where the passage does not answer), and optionally `id`, `title` and
    `hard_negatives` (a list of `{"title", "text"}`).

    Args and errors are those of `read_reference_questions`; an answer that does not stand where it says is a bad
    record, too.
    """
    skipper = Skipper(skip_bad, report)
    return _read(path, _reading_example, lambda example: example.question.id, skipper, "reading examples")


def _read(
    path: Path, convert: Callable[[Record], T], id_of: Callable[[T], str], skipper: Skipper, plural: str
) -> Iterator[T]:
    """Check the path at once; read on demand."""
    path = Path(path)
    detect_layout(path)

    def read() -> Iterator[T]:
        ids = UniqueIds()
        count = 0
        for record in question_records(path, skipper):
            try:
                noun = convert(record)
                ids.claim(id_of(noun))
            except BadRecord as bad:
                skipper.handle(record.place, bad)
                continue
            count += 1
            yield noun
        if not count:
            left_out = f" ({skipper.report.summary()})" if skipper.report.total else ""
            raise SourceError(f"{path}: no {plural} found{left_out}")

    return read()


def _reference(record: Record, default: AnswerType) -> ReferenceQuestion:
    fields = record.fields
    if "_id" in fields and "question" not in fields:
        key = record_id({"id": fields["_id"]}, record.default_id)
        return ReferenceQuestion(Question(key, require_text(fields, "text", "no_question")))
    if "context" in fields:
        return _reference_of_reading(record)
    answers = fields.get("answers", fields.get("answer", []))
    if isinstance(answers, str) and "answers" not in fields:
        answers = [answers]
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        raise BadRecord("bad_answers", '"answers" must be a list of strings')
    question = Question(
        id=record_id(fields, record.default_id),
        text=require_text(fields, "question", "no_question"),
        answers=tuple(require_unicode(answer, "answers", "bad_answers") for answer in answers),
        answer_type=_answer_type(fields.get("answer_type", default)),
    )
    return ReferenceQuestion(question)


def _answer_type(value: object) -> AnswerType:
    if value == "string":
        return "string"
    if value == "regex":
        return "regex"
    raise BadRecord("bad_answers", f'"answer_type" is {value!r}; it must be "string" or "regex"')


def _reference_of_reading(record: Record) -> ReferenceQuestion:
    """Texts of the answers; where they stand does not matter to who compares answers."""
    found = record.fields.get("answers")
    texts = [answer.get("text") if isinstance(answer, dict) else None for answer in found or ()]
    if not isinstance(found, list) or not all(isinstance(text, str) for text in texts):
        raise BadRecord("bad_answers", '"answers" must be a list of {"text", "answer_start"}')
    question = Question(
        id=record_id(record.fields, record.default_id),
        text=require_text(record.fields, "question", "no_question"),
        answers=tuple(require_unicode(text, "answers", "bad_answers") for text in texts if isinstance(text, str))
        or ("",),
    )
    return ReferenceQuestion(question, require_text(record.fields, "context", "no_context"))


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
    starts = tuple(start for _, start in places)
    return ReadingExample(question, title, context, starts, _hard_negatives(record.fields.get("hard_negatives", [])))


def reading_record(example: ReadingExample) -> dict[str, Any]:
    """The record that `read_reading_examples` reads as this example."""
    question = example.question
    return {
        "id": question.id,
        "title": example.title,
        "question": question.text,
        "context": example.context,
        "answers": [
            {"text": text, "answer_start": start}
            for text, start in zip(question.answers, example.answer_starts, strict=True)
        ],
        "hard_negatives": [{"title": title, "text": text} for title, text in example.hard_negatives],
    }


def _hard_negatives(found: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(found, list) or not all(isinstance(block, dict) for block in found):
        raise BadRecord("bad_negatives", '"hard_negatives" must be a list of {"title", "text"}')
    return tuple(
        (optional_text(block, "title", "bad_negatives"), require_text(block, "text", "bad_negatives"))
        for block in found
    )


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
