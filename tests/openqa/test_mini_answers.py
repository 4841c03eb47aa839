"""What realm-mini, the model that ships, is worth on its own documents; skipped where its trunk is not installed."""

from __future__ import annotations

from importlib import resources

import pytest

from realm.corpus.questions import read_questions
from realm.evaluation.exact_match import exact_match
from realm.openqa.ask import OpenQA
from realm.openqa.indexing import index_sources
from realm.openqa.model_folder import ModelFolder
from realm.records import Answer, Question


@pytest.fixture(scope="module")
def qa(tmp_path_factory: pytest.TempPathFactory) -> OpenQA:
    kb = tmp_path_factory.mktemp("demo") / "kb"
    with resources.as_file(resources.files("realm.demo") / "documents.jsonl") as documents:
        index_sources(kb, [documents], ModelFolder.open())
    return OpenQA.load(kb)


@pytest.mark.parametrize(("questions", "least"), [("questions.jsonl", 6), ("more_questions.jsonl", 28)])
def test_most_questions_about_the_demo_documents_are_answered_right(qa: OpenQA, questions: str, least: int) -> None:
    asked, answers = asked_and_answered(qa, questions)
    wrong = [(answer.question, answer.text) for answer in answers if not is_right(asked, answer)]
    assert len(answers) - len(wrong) >= least, wrong


def test_at_its_own_threshold_it_gives_most_right_answers_and_withholds_wrong_ones(qa: OpenQA) -> None:
    assert qa.model.calibration is not None
    given: dict[bool, list[bool]] = {True: [], False: []}
    for questions in ("questions.jsonl", "more_questions.jsonl"):
        asked, answers = asked_and_answered(qa, questions)
        for answer in answers:
            given[is_right(asked, answer)].append(answer.confidence >= qa.model.calibration.words.threshold)
    assert sum(given[True]) >= 0.8 * len(given[True])
    assert sum(given[False]) <= 0.7 * len(given[False])


def asked_and_answered(qa: OpenQA, questions: str) -> tuple[dict[str, Question], list[Answer]]:
    with resources.as_file(resources.files("realm.demo") / questions) as path:
        asked = {question.text: question for question in read_questions(path)}
    return asked, qa.ask_many(list(asked), min_confidence=0.0)


def is_right(asked: dict[str, Question], answer: Answer) -> bool:
    return answer.text is not None and bool(exact_match(answer.text, asked[answer.question].answers))
