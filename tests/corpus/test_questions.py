"""Questions and reading examples from every layout they come in."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from realm.corpus.questions import (
    ReferenceQuestion,
    read_questions,
    read_reading_examples,
    read_reference_questions,
    reading_record,
)
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


def test_what_a_reading_example_is_written_as_is_read_again(tmp_path: Path) -> None:
    questions = [Question("r", "Who?", ("Mary Ann Evans", "Evans")), Question("none", "Who?")]
    examples = [
        ReadingExample(questions[0], "T", CONTEXT, (0, 9), (("U", "She was not."), ("", "Nor was he."))),
        ReadingExample(questions[1], "", CONTEXT, ()),
    ]
    path = write(tmp_path / "r.jsonl", *map(reading_record, examples))
    assert list(read_reading_examples(path)) == examples


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
        ({**READING, "hard_negatives": "x"}, '"hard_negatives" must be a list of {"title", "text"}'),
        ({**READING, "hard_negatives": ["x"]}, '"hard_negatives" must be a list of {"title", "text"}'),
        ({**READING, "hard_negatives": [{"title": "x"}]}, '"text" is missing'),
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
    (tmp_path / "q.txt").write_text("Who wrote Middlemarch?\nGeorge Eliot\n")
    with pytest.raises(
        SourceError, match=r"q\.txt: no known layout of questions: it begins with 'Who wrote .*expected JSON"
    ):
        read_questions(tmp_path / "q.txt")
    (tmp_path / "list.json").write_text("[1, 2]")
    with pytest.raises(SourceError, match=r"list\.json: no known layout"):
        read_questions(tmp_path / "list.json")
    (tmp_path / "q.json").write_text('{"version": "1.1",\n "rows": []}')
    with pytest.raises(SourceError, match='not SQuAD JSON: there is no list "data"'):
        list(read_questions(tmp_path / "q.json"))
    (tmp_path / "q.json").write_text('{"data": [\n')
    with pytest.raises(SourceError, match="broken JSON"):
        list(read_questions(tmp_path / "q.json"))
    for name in ("q.jsonl", "q.csv"):
        with pytest.raises(SourceError, match="no reading examples found"):
            list(read_reading_examples(write(tmp_path / name)))


def test_nq_open_drqa_and_beir_lines_are_questions(tmp_path: Path) -> None:
    path = write(
        tmp_path / "nq.jsonl",
        {"question": "who", "answer": ["a", "b"]},
        {"question": "when", "answer": "14\\d\\d"},
        {"_id": 7, "text": "0-dimensional biomaterials", "metadata": {}},
    )
    assert list(read_questions(path)) == [
        Question("nq.jsonl:1", "who", ("a", "b")),
        Question("nq.jsonl:2", "when", ("14\\d\\d",)),
        Question("7", "0-dimensional biomaterials"),
    ]
    assert [q.answer_type for q in read_questions(path, answer_type="regex")] == ["regex"] * 2 + ["string"]


def test_reading_examples_are_questions_that_know_their_passage(tmp_path: Path) -> None:
    path = write(
        tmp_path / "r.jsonl", {**READING, "answers": [{"text": "Evans", "answer_start": 999}]}, {**READING, "id": "s"}
    )
    assert list(read_reference_questions(path)) == [
        ReferenceQuestion(Question("r", "Who?", ("Evans",)), CONTEXT),
        ReferenceQuestion(Question("s", "Who?", ("",)), CONTEXT),  # nothing is right
    ]


def squad(*qas: Any, context: Any = CONTEXT) -> str:
    return json.dumps(
        {"version": "v2.0", "data": [{"title": "T", "paragraphs": [{"context": context, "qas": list(qas)}]}]}
    )


EVANS = {"text": "Evans", "answer_start": 9}


@pytest.mark.parametrize("indent", [None, 1])
def test_squad_json_gives_questions_and_reading_examples(tmp_path: Path, indent: int | None) -> None:
    asked = {"id": "a", "question": "Who?", "answers": [EVANS, EVANS]}
    impossible = {"id": "b", "question": "Why?", "answers": [], "is_impossible": True, "plausible_answers": [EVANS]}
    path = tmp_path / "dev.json"
    path.write_text(json.dumps(json.loads(squad(asked, impossible)), indent=indent))
    first, second = Question("a", "Who?", ("Evans", "Evans")), Question("b", "Why?")
    assert list(read_reading_examples(path)) == [
        ReadingExample(first, "T", CONTEXT, (9, 9)),
        ReadingExample(second, "T", CONTEXT, ()),
    ]
    assert [r.question.answers for r in read_reference_questions(path)] == [("Evans", "Evans"), ("",)]


def test_bad_parts_of_squad_json_are_named_by_their_place(tmp_path: Path) -> None:
    path = tmp_path / "dev.json"
    path.write_text(squad({"id": "a", "question": "Who?", "answers": [EVANS]}, {"id": "b"}, 3))
    with pytest.raises(SourceError, match=r'dev\.json:data\[0\]\.paragraphs\[0\]\.qas\[1\]: "answers" must be a list'):
        list(read_questions(path))
    report = SkipReport()
    assert [q.id for q in read_questions(path, skip_bad=True, report=report)] == ["a"]
    assert report.reasons == {"bad_answers": 1, "bad_squad": 1}
    path.write_text('{"data": [{"paragraphs": 4}]}')
    with pytest.raises(SourceError, match=r'dev\.json:data\[0\]: "paragraphs" is a number; it must be a list'):
        list(read_questions(path))


@pytest.mark.parametrize("header", ["", "question\tanswers\n"])
def test_dpr_tables_are_questions(tmp_path: Path, header: str) -> None:
    rows = """who sings\t['Linda Davis']\nwhose\t"[""St. John's"", 'b']"\nwhat\t["x", "y"]\n"""
    path = tmp_path / "nq-test.qa.csv"
    path.write_text("\ufeff" + header + rows, encoding="utf-8")
    first = 2 if header else 1
    assert list(read_questions(path)) == [
        Question(f"nq-test.qa.csv:{first}", "who sings", ("Linda Davis",)),
        Question(f"nq-test.qa.csv:{first + 1}", "whose", ("St. John's", "b")),
        Question(f"nq-test.qa.csv:{first + 2}", "what", ("x", "y")),
    ]


@pytest.mark.parametrize("header", ["question,answer", "\ufeffQuestion, Answers", '"question", "answer"'])
def test_comma_separated_tables_may_have_a_header(tmp_path: Path, header: str) -> None:
    path = tmp_path / "q.csv"
    path.write_text(f"{header}\r\nwho sings,\"['Linda Davis', 'b']\"\r\n", encoding="utf-8")
    assert list(read_questions(path)) == [Question("q.csv:2", "who sings", ("Linda Davis", "b"))]


def test_comma_separated_and_compressed_tables_are_questions(tmp_path: Path) -> None:
    path = tmp_path / "q.csv.gz"
    path.write_bytes(gzip.compress(b"""who,"['a', 'b']"\n"where, then",['c']\n"""))
    assert [(q.text, q.answers) for q in read_questions(path)] == [("who", ("a", "b")), ("where, then", ("c",))]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("why\t[1]", "the answers '[1]' are no list of strings"),
        ("why\tx", "the answers 'x' are no list of strings"),
        ("why", "1 columns; there must be two"),
        ("\t['a']", '"question" is empty'),
    ],
)
def test_bad_row_of_a_table_is_an_error_or_is_counted(tmp_path: Path, row: str, problem: str) -> None:
    path = tmp_path / "q.tsv"
    path.write_text(f"who\t['a']\n{row}\nwhen\t['b']\n")
    with pytest.raises(SourceError) as caught:
        list(read_questions(path))
    assert str(caught.value).startswith(f"{path}:2: {problem}")
    report = SkipReport()
    assert [q.text for q in read_questions(path, skip_bad=True, report=report)] == ["who", "when"]
    assert report.total == 1
