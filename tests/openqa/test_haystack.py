"""A knowledge base in a pipeline of Haystack, with the real library."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tiny_model import stories, write_jsonl, write_tiny_model

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"  # read when it is first imported
pytest.importorskip("haystack", reason="haystack-ai is not installed: pip install 'realm-lm[haystack]'")

from haystack import Pipeline

from realm.openqa.ask import OpenQA
from realm.openqa.haystack import KnowledgeBaseAnswerer
from realm.openqa.indexing import index_sources
from realm.openqa.model_folder import ModelFolder

QUESTION = "who found the gold?"


@pytest.fixture(scope="module")
def kb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six stories."""
    folder = tmp_path_factory.mktemp("haystack")
    model = ModelFolder.open(str(write_tiny_model(folder / "tiny")))
    index_sources(folder / "kb", [write_jsonl(folder / "stories.jsonl", stories(6))], model)
    return folder / "kb"


def pipeline_of(kb: Path, min_confidence: float) -> Pipeline:
    """A pipeline that was written down and read again."""
    pipeline = Pipeline()
    pipeline.add_component("realm", KnowledgeBaseAnswerer(str(kb), top_k=3, min_confidence=min_confidence))
    return Pipeline.loads(pipeline.dumps(), allowed_modules=[KnowledgeBaseAnswerer.__module__])


def test_an_answer_of_a_pipeline_is_that_of_the_knowledge_base_with_its_place(kb: Path) -> None:
    qa = OpenQA.load(kb)
    expected = qa.ask(QUESTION, top=3, min_confidence=0.0)
    found = pipeline_of(kb, 0.0).run({"realm": {"query": QUESTION}})["realm"]
    assert [one.id for one in found["documents"]] == [one.block_id for one in expected.evidence]
    [answer] = found["answers"]
    assert (answer.query, answer.data) == (QUESTION, expected.text)
    assert answer.score == pytest.approx(expected.confidence, abs=0.02)
    span = answer.document_offset
    assert answer.document.content[span.start : span.end] == answer.data
    document = qa.knowledge_base.document(answer.document.meta["document_id"])
    start = answer.document.meta["block_start"] + span.start
    assert document.text[start : start + len(answer.data)] == answer.data


def test_no_answer_is_an_empty_list_and_a_condition_holds(kb: Path) -> None:
    pipeline = pipeline_of(kb, 1.0)
    found = pipeline.run({"realm": {"query": QUESTION, "where": "id = 'story/2'"}})["realm"]
    assert found["answers"] == []
    assert {one.meta["document_id"] for one in found["documents"]} == {"story/2"}
