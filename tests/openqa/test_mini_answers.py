"""What realm-mini, the model that ships, is worth on its own documents; skipped where its trunk is not installed."""

from __future__ import annotations

from importlib import resources

import pytest

from realm.corpus.questions import read_questions
from realm.evaluation.exact_match import exact_match
from realm.openqa.ask import OpenQA
from realm.openqa.indexing import index_sources
from realm.openqa.model_folder import ModelFolder


@pytest.fixture(scope="module")
def qa(tmp_path_factory: pytest.TempPathFactory) -> OpenQA:
    kb = tmp_path_factory.mktemp("demo") / "kb"
    with resources.as_file(resources.files("realm.demo") / "documents.jsonl") as documents:
        index_sources(kb, [documents], ModelFolder.open())
    return OpenQA.load(kb)


@pytest.mark.parametrize(("questions", "least"), [("questions.jsonl", 7), ("more_questions.jsonl", 30)])
def test_most_questions_about_the_demo_documents_are_answered_right(qa: OpenQA, questions: str, least: int) -> None:
    with resources.as_file(resources.files("realm.demo") / questions) as path:
        asked = list(read_questions(path))
    answers = qa.ask_many([question.text for question in asked])
    wrong = [
        (question.text, answer.text)
        for question, answer in zip(asked, answers, strict=True)
        if answer.text is None or not exact_match(answer.text, question.answers)
    ]
    assert len(asked) - len(wrong) >= least, wrong
