"""What is known of an answer, worked out by other means."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tiny_model import write_jsonl

from realm.openqa.ask import OpenQA, Searching
from realm.openqa.calibration import Signs
from realm.openqa.encoding import TextEncoder
from realm.openqa.indexing import index_sources
from realm.openqa.model_folder import ModelFolder
from realm.records import Answer, Document
from realm.text.sentences import sentence_spans

QUESTIONS = ["who built the castle?", "which river crossed the town in winter?", "what did the painter sell"]


@pytest.fixture(scope="module")
def qa(tmp_path_factory: pytest.TempPathFactory, tiny: ModelFolder, documents: list[Document]) -> OpenQA:
    folder = tmp_path_factory.mktemp("signs")
    index_sources(folder / "kb", [write_jsonl(folder / "stories.jsonl", documents)], tiny)
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
