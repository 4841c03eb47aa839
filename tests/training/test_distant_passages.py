"""Passages for questions that have answers alone, against a search looked through by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from told_stories import TOLD, told_stories

from realm.cli.main import main
from realm.corpus.questions import read_reading_examples
from realm.openqa.ask import OpenQA, Searching
from realm.records import Question
from realm.training.distant_passages import find_passages

DEPTH = 12
SEARCHES = {"words": Searching(weight=1.0), "vectors": Searching(weight=0.0), "both": Searching(weight=0.5)}


@pytest.fixture(scope="module")
def qa(tmp_path_factory: pytest.TempPathFactory) -> OpenQA:
    return told_stories(tmp_path_factory.mktemp("passages"))


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    """Of each story one in its own words; the answer, in another case, is of this story or of the next one, and stands
    in others, too. Two questions have none.
    """
    made = []
    for number, told in enumerate(TOLD):
        answer = re.findall(r"\b[a-z]{4,}\b", TOLD[(number + number % 2) % len(TOLD)].text)[2]
        made.append(Question(f"q{number}", f"who {' '.join(told.text.split()[3:9])}?", (answer.upper(), "nowhere")))
    return [*made, Question("never", "who was never named?", ("nowhere",)), Question("none", "who knows?")]


def words_of(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


@pytest.mark.parametrize("by", sorted(SEARCHES))
def test_the_best_block_that_holds_an_answer_is_the_passage(qa: OpenQA, questions: list[Question], by: str) -> None:
    found = list(find_passages(qa, questions, by=by, depth=DEPTH, negatives=2))  # type: ignore[arg-type]
    assert len(found) == len(questions)
    later = 0
    for question, example in zip(questions, found, strict=True):
        [blocks] = qa.retrieve([question.text], DEPTH, SEARCHES[by])
        answer = question.answers[0].lower() if question.answers else ""
        right = [one for one in blocks if answer in words_of(one.text)]
        if not right:
            assert example is None
            continue
        assert example is not None
        assert (example.title, example.context) == (right[0].title, right[0].text)
        assert (example.question.id, example.question.text) == (question.id, question.text)
        wrong = [(one.title, one.text) for one in blocks if answer not in words_of(one.text)]
        assert example.hard_negatives == tuple(wrong[:2])
        later += right[0] != blocks[0]
    assert found[-2:] == [None, None]
    assert later


def test_answers_are_what_stands_in_the_passage(qa: OpenQA, questions: list[Question]) -> None:
    several = 0
    for question, example in zip(questions, find_passages(qa, questions, depth=DEPTH), strict=True):
        if example is not None:
            places = list(zip(example.answer_starts, example.question.answers, strict=True))
            expected = [
                (match.start(), match.group())
                for match in re.finditer(rf"\b{question.answers[0]}\b", example.context, re.IGNORECASE)
            ]
            assert places == expected[:4]
            several += len(places) > 1
    assert several


def test_regular_expressions_are_found_in_the_text_as_it_is(qa: OpenQA) -> None:
    told = next(one for one in TOLD if re.search(r"\bin (\w+)", one.text))
    question = Question("regex", told.text.split(".")[0], (r"\bin\s+\w+",), "regex")
    [example] = find_passages(qa, [question], depth=DEPTH)
    assert example is not None
    assert example.question.answer_type == "string"
    for start, text in zip(example.answer_starts, example.question.answers, strict=True):
        assert example.context[start : start + len(text)] == text
        assert re.fullmatch(r"in\s+\w+", text, re.IGNORECASE)


def test_a_question_that_cannot_be_asked_stops_no_others(qa: OpenQA, questions: list[Question]) -> None:
    long, empty = Question("long", "river " * 200, ("alps",)), Question("empty", "", ("alps",))
    asked = [questions[0], long, questions[1], empty]
    first, of_long, second, of_empty = find_passages(qa, asked, depth=DEPTH)
    assert (of_long, of_empty) == (None, None)
    assert [first, second] == list(find_passages(qa, questions[:2], depth=DEPTH))


def test_the_command_writes_reading_examples(
    qa: OpenQA,
    questions: list[Question],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked, out = tmp_path / "asked.jsonl", tmp_path / "found.jsonl"
    records = [{"id": one.id, "question": one.text, "answers": list(one.answers)} for one in questions]
    asked.write_text("".join(json.dumps(record) + "\n" for record in records))
    command = ["realm", "train", "passages", str(asked), "--kb", str(qa.knowledge_base.folder), "--out", str(out)]
    monkeypatch.setattr("sys.argv", [*command, "--by", "words", "--negatives", "1"])
    assert main() == 0
    expected = [one for one in find_passages(qa, questions, by="words", negatives=1) if one is not None]
    assert list(read_reading_examples(out)) == expected
    share = sum(len(one.hard_negatives) for one in expected) / len(expected)
    said = f"{out}: passages for {len(expected)} of 32 questions, {share:.1f} hard negatives each\n"
    assert capsys.readouterr().out == said

    asked.write_text("".join(json.dumps(record) + "\n" for record in records[-2:]))
    monkeypatch.setattr("sys.argv", [*command[:-1], str(tmp_path / "nothing.jsonl")])
    assert main() == 2
    assert "None of 2 questions has an answer in the passages found" in capsys.readouterr().err
    assert not (tmp_path / "nothing.jsonl").exists()
