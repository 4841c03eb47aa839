"""Questions and reading examples from JSON lines."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from realm.corpus.questions import read_questions, read_reading_examples
from realm.corpus.skips import SkipReport
from realm.errors import SourceError
from realm.records import Question, ReadingExample

CONTEXT = "Mary Ann Evans wrote Middlemarch."
READING = {"id": "r", "title": "T", "context": CONTEXT, "question": "Who?", "answers": []}


def write(path: Path, *records: dict[str, Any]) -> Path:
    data = "".join(json.dumps(record) + "\n" for record in records).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def answer(text: Any, start: Any) -> dict[str, Any]:
    return {**READING, "answers": [{"text": text, "answer_start": start}]}


def test_questions_come_with_their_answers(tmp_path: Path) -> None:
    path = write(
        tmp_path / "questions.jsonl.gz",
        {"id": "q", "question": "Who wrote Middlemarch?", "answers": ["George Eliot", "Mary Ann Evans"]},
        {"id": 2, "question": "When?", "answers": ["18[0-9]{2}"], "answer_type": "regex", "more": 1},
        {"question": "Why?"},
    )
    assert list(read_questions(path)) == [
        Question("q", "Who wrote Middlemarch?", ("George Eliot", "Mary Ann Evans")),
        Question("2", "When?", ("18[0-9]{2}",), "regex"),
        Question("questions.jsonl.gz:3", "Why?"),
    ]


@pytest.mark.parametrize(
    ("record", "reason", "problem"),
    [
        ({"answers": ["a"]}, "no_question", '"question" is missing'),
        ({"question": "Who?", "answers": "a"}, "bad_answers", '"answers" must be a list of strings'),
        ({"question": "Who?", "answers": [1]}, "bad_answers", '"answers" must be a list of strings'),
        ({"question": "Who?", "answer_type": "like"}, "bad_answers", "\"answer_type\" is 'like'"),
        ({"question": "Who?", "id": "first"}, "duplicate_id", 'the id "first"'),
    ],
)
def test_bad_question_is_an_error_or_is_counted(
    tmp_path: Path, record: dict[str, Any], reason: str, problem: str
) -> None:
    first = {"id": "first", "question": "What?"}
    path = write(tmp_path / "q.jsonl", first, record, {**first, "id": "last"})
    with pytest.raises(SourceError) as caught:
        list(read_questions(path))
    assert str(caught.value).startswith(f"{path}:2: {problem}")
    report = SkipReport()
    kept = [question.id for question in read_questions(path, skip_bad=True, report=report)]
    assert kept == ["first", "last"]
    assert report.reasons == {reason: 1}


def test_reading_examples_say_where_their_answers_stand(tmp_path: Path) -> None:
    answers = [{"text": "Mary Ann Evans", "answer_start": 0}, {"text": "Evans", "answer_start": 9}]
    path = write(tmp_path / "r.jsonl", {**READING, "answers": answers}, {**READING, "id": "none", "title": None})
    assert list(read_reading_examples(path)) == [
        ReadingExample(Question("r", "Who?", ("Mary Ann Evans", "Evans")), "T", CONTEXT, (0, 9)),
        ReadingExample(Question("none", "Who?"), "", CONTEXT, ()),
    ]


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (answer("Evans", 8), 'the answer "Evans" does not stand at character 8 of the context'),
        (answer("Evans", -24), 'the answer "Evans" does not stand at character -24'),
        (answer("evans", 9), 'the answer "evans" does not stand at character 9'),
        (answer("Evans", True), "an answer must have"),
        (answer("", 0), "an answer must have"),
        ({**READING, "answers": ["Evans"]}, "an answer must have"),
        ({**READING, "answers": None}, '"answers" must be a list of'),
        ({**READING, "context": ""}, '"context" is empty'),
    ],
)
def test_bad_reading_example_is_an_error(tmp_path: Path, record: dict[str, Any], problem: str) -> None:
    path = write(tmp_path / "r.jsonl", record)
    with pytest.raises(SourceError) as caught:
        list(read_reading_examples(path))
    assert str(caught.value).startswith(f"{path}:1: {problem}")


def test_missing_foreign_and_empty_files_are_errors(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="there is no such file"):
        read_questions(tmp_path / "q.jsonl")
    with pytest.raises(SourceError, match=r"q\.csv: questions are read from \.jsonl, "):
        read_questions(write(tmp_path / "q.csv"))
    with pytest.raises(SourceError, match="no reading examples found"):
        list(read_reading_examples(write(tmp_path / "q.jsonl")))
