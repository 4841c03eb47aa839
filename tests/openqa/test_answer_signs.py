"""What is known of an answer, worked out by other means."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tiny_model import write_jsonl

from realm.openqa.answer_signs import numbers_of
from realm.openqa.ask import OpenQA, Searching
from realm.openqa.calibration import Signs
from realm.openqa.encoding import TextEncoder
from realm.openqa.indexing import index_sources
from realm.openqa.model_folder import ModelFolder
from realm.records import Answer, Document
from realm.text.sentences import sentence_spans

QUESTIONS = ["who built the castle?", "which river crossed the town in winter?", "what did the painter sell"]

BRIDGE = Document("bridge", "Bridge of 1905", "The bridge was opened on 3 May 1907 by the mayor of the town.")


@pytest.fixture(scope="module")
def qa(tmp_path_factory: pytest.TempPathFactory, tiny: ModelFolder, documents: list[Document]) -> OpenQA:
    folder = tmp_path_factory.mktemp("signs")
    index_sources(folder / "kb", [write_jsonl(folder / "stories.jsonl", [*documents, BRIDGE])], tiny)
    return OpenQA.load(folder / "kb", str(tiny.folder))


def asked(qa: OpenQA, question: str, top: int = 5) -> Answer:
    return qa.ask(question, top=top, min_confidence=0.0, searching=Searching(hybrid=True))


def title_and_sentence(answer: Answer) -> tuple[str, str]:
    evidence = next(one for one in answer.evidence if one.start is not None)
    at = (evidence.start or 0) - evidence.block_start
    sentences = [evidence.text[begin:end] for begin, end in sentence_spans(evidence.text) if begin <= at < end]
    return evidence.title, sentences[0]


@pytest.mark.parametrize("question", QUESTIONS)
def test_likeness_is_the_inner_product_of_question_and_sentence(qa: OpenQA, question: str) -> None:
    answer = asked(qa, question)
    title, sentence = title_and_sentence(answer)
    encoder = TextEncoder(qa.model)
    expected = encoder.encode_query(question) @ encoder.encode_document(sentence, titles=title)
    assert answer.signs["likeness"] == pytest.approx(float(expected), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_likeness_of_the_block_is_its_score_by_vectors(qa: OpenQA, question: str, weight: float) -> None:
    answer = qa.ask(question, min_confidence=0.0, searching=Searching(weight=weight))
    block = next(one for one in answer.evidence if one.start is not None)
    encoder = TextEncoder(qa.model)
    expected = encoder.encode_query(question) @ encoder.encode_document(block.text, titles=block.title)
    assert answer.signs["block_likeness"] == pytest.approx(float(expected), rel=2e-3, abs=2e-3)  # vectors are fp16


@pytest.mark.parametrize(
    ("question", "missing"),
    [("who opened the bridge?", 0.0), ("what opened in 1907?", 0.0), ("which bridge of 1,905 or 1907?", 0.0),
     ("who opened it in 2031?", 1.0), ("which bridge of 1905 fell in 190?", 1.0)],
)  # fmt: skip
def test_a_number_that_the_block_lacks_is_missing(qa: OpenQA, question: str, missing: float) -> None:
    answer = qa.ask(question, min_confidence=0.0, searching=Searching(where=f"title = '{BRIDGE.title}'"))
    assert [one.document_id for one in answer.evidence] == [BRIDGE.id]
    assert answer.signs["missing_number"] == missing


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("In 1912, on 15 April", {"1912", "15"}),
        ("1,200,000 people", {"1200000"}),
        ("the 19th of 3,14", {"19", "3", "14"}),
        ("3.5 km", {"3", "5"}),
        ("none", set()),
    ],
)
def test_numbers_are_whole_and_without_commas(text: str, numbers: set[str]) -> None:
    assert numbers_of(text) == numbers


@pytest.mark.parametrize("question", QUESTIONS)
def test_agreement_counts_the_other_blocks_with_the_answer(qa: OpenQA, question: str) -> None:
    for top in (1, 5):
        answer = asked(qa, question, top)
        assert answer.text is not None
        others = [one.text for one in answer.evidence if one.start is None]
        words = " ".join(answer.text.lower().split())
        least = sum(f" {words} " in " ".join(text.lower().split()) for text in others)
        assert least <= answer.signs["agreement"] <= len(others)
        assert answer.signs["agreement"] <= sum(words in " ".join(text.lower().split()) for text in others)


def test_an_answer_that_the_question_holds_is_an_echo(qa: OpenQA) -> None:
    answer = asked(qa, QUESTIONS[0])
    assert answer.text is not None
    assert answer.signs["echo"] == float(f" {answer.text.lower()} " in f" {QUESTIONS[0].rstrip('?')} ")
    repeated = f"{QUESTIONS[0]} {answer.text}"
    (found,) = qa.find([QUESTIONS[0]], 5, Searching(hybrid=True))
    assert qa.read([replace(found, text=repeated)], 5)[0].signs["echo"] == 1.0


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_other_signs_fit_together(qa: OpenQA, question: str) -> None:
    signs = Signs(**asked(qa, question).signs)
    assert signs.place_log_odds <= signs.log_odds
    assert signs.question_pieces == len(set(qa.model.tokenizer.ids_of(question)))
    assert 0 < signs.standing <= 1
    assert np.isfinite(signs).all()
