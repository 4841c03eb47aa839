"""Predictions on disk: what is written comes back, and damage is named by its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from predicted import block, prediction, write_predictions

from realm.errors import SourceError
from realm.evaluation.predictions import is_answer_file, prediction_line, read_answer_file, read_predictions

GOOD: dict[str, Any] = {"id": "a", "question": "Who?", "prediction": None}
WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda word: not word.isspace()
)


def test_predictions_come_back_as_they_were_written(tmp_path: Path) -> None:
    written = [
        prediction("1", "Eliot", ["Eliot", "Evans"], confidence=0.25, evidence=(block(0, text="x", start=3, end=8),)),
        prediction("2", None, [], confidence=0.0, problem="too long", seconds={"read": 0.5}),
        prediction("3", "1492", ["14\\d\\d"], answer_type="regex", read=1,
                   evidence=(block(0, has_answer=True), block(1, is_gold=False))),
    ]  # fmt: skip
    path = write_predictions(tmp_path / "p.jsonl", *written)
    assert list(read_predictions(path)) == written


@given(WORDS, st.none() | st.text(st.characters(exclude_categories=["Cs"])), st.lists(WORDS, max_size=2))
def test_a_prediction_is_one_line(key: str, said: str | None, answers: list[str]) -> None:
    line = prediction_line(prediction(key, said, answers))
    assert line.count("\n") == 1
    assert json.loads(line)["prediction"] == said
    assert json.loads(line)["answers"] == answers


def test_all_evidence_was_read_unless_a_file_says_how_much(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({**GOOD, "evidence": [{"text": "a"}, {"text": "b"}]}) + "\n")
    (found,) = read_predictions(path)
    assert found.read == 2
    assert [b.text for b in found.evidence] == ["a", "b"]


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({"question": "Who?", "prediction": "x"}, '"id" is missing'),
        ({"id": "b", "question": "Who?"}, '"prediction" is missing'),
        ({**GOOD, "id": "b", "question": ""}, '"question" is empty'),
        ({**GOOD, "id": "b", "prediction": 3}, '"prediction" is a number'),
        ({**GOOD, "id": "b", "answers": "x"}, '"answers" must be a list'),
        ({**GOOD, "id": "b", "answer_type": "like"}, "\"answer_type\" is 'like'"),
        ({**GOOD, "id": "b", "confidence": 1.5}, '"confidence" is 1.5'),
        ({**GOOD, "id": "b", "confidence": True}, '"confidence" is True'),
        ({**GOOD, "id": "b", "evidence": ["x"]}, '"evidence" holds a string'),
        ({**GOOD, "id": "b", "evidence": [{"text": 1}]}, '"text" is a number'),
        ({**GOOD, "id": "b", "seconds": {"read": "x"}}, '"read" is a string'),
        (GOOD, 'the id "a" stands for an earlier record'),
        ([], "the line is a list"),
    ],
)
def test_damaged_line_is_named(tmp_path: Path, record: Any, problem: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(GOOD) + "\n" + json.dumps(record) + "\n")
    with pytest.raises(SourceError) as caught:
        list(read_predictions(path))
    assert str(caught.value).startswith(f"{path}:2: {problem}")


def test_files_of_answers_are_told_from_predictions(tmp_path: Path) -> None:
    answers = tmp_path / "answers.json"
    answers.write_text('{"a": "x",\n "b": ""}')
    assert is_answer_file(answers)
    assert read_answer_file(answers) == {"a": "x", "b": ""}
    answers.write_text('{"a": "x", "b": ""}')
    assert is_answer_file(answers)
    assert not is_answer_file(write_predictions(tmp_path / "p.jsonl", prediction()))
    assert not is_answer_file(write_predictions(tmp_path / "p.json", prediction()))


@pytest.mark.parametrize(
    ("text", "problem"),
    [("[]", "it is a list"), ('{"a": 1}', 'the answer to "a" is a number'), ('{"a": ', "neither predictions")],
)
def test_damaged_answer_file_is_an_error(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "answers.json"
    path.write_text(text)
    with pytest.raises(SourceError, match=problem):
        read_answer_file(path)
    with pytest.raises(SourceError, match="there is no such file"):
        is_answer_file(tmp_path / "none.json")
