"""A knowledge base in a chain of LangChain, with the real library."""

from __future__ import annotations

import asyncio

import pytest
from tiny_model import stories, write_jsonl, write_tiny_model

pytest.importorskip("langchain_core", reason="langchain-core is not installed: pip install 'realm-lm[langchain]'")

from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda

from realm.errors import QuestionError
from realm.openqa.ask import OpenQA, Searching
from realm.openqa.indexing import index_sources
from realm.openqa.langchain import KnowledgeBaseRetriever
from realm.openqa.model_folder import ModelFolder

QUESTIONS = ["who found the gold?", "where is the clock?"]


@pytest.fixture(scope="module")
def qa(tmp_path_factory: pytest.TempPathFactory) -> OpenQA:
    """Six stories."""
    folder = tmp_path_factory.mktemp("langchain")
    model = ModelFolder.open(str(write_tiny_model(folder / "tiny")))
    index_sources(folder / "kb", [write_jsonl(folder / "stories.jsonl", stories(6))], model)
    return OpenQA.load(folder / "kb")


def test_passages_in_a_chain_are_those_of_the_knowledge_base(qa: OpenQA) -> None:
    chain = KnowledgeBaseRetriever(qa=qa, k=3) | RunnableLambda(lambda documents: [one.id for one in documents])
    expected = [[one.block_id for one in evidence] for evidence in qa.retrieve(QUESTIONS, 3)]
    assert [chain.invoke(question) for question in QUESTIONS] == expected
    assert chain.batch(QUESTIONS) == expected
    assert asyncio.run(chain.abatch(QUESTIONS)) == expected


def test_a_document_says_where_it_stands(qa: OpenQA) -> None:
    for found in KnowledgeBaseRetriever(qa=qa).invoke(QUESTIONS[0]):
        assert isinstance(found, Document)
        text = qa.knowledge_base.document(found.metadata["document_id"]).text
        start = found.metadata["block_start"]
        assert text[start : start + len(found.page_content)] == found.page_content


def test_a_condition_holds_and_a_bad_question_is_refused(qa: OpenQA) -> None:
    retriever = KnowledgeBaseRetriever(qa=qa, where="id = 'story/2'")
    [evidence] = qa.retrieve(QUESTIONS[:1], 5, Searching(where="id = 'story/2'"))
    assert [one.id for one in retriever.invoke(QUESTIONS[0])] == [one.block_id for one in evidence]
    with pytest.raises(QuestionError):
        retriever.invoke(" ")
