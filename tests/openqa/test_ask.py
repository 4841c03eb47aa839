"""Asking: the best span of all blocks read, as a place in a document."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tiny_model import write_jsonl, write_tiny_model

from realm.errors import KnowledgeBaseError, ModelError, QuestionError
from realm.openqa import span_choice
from realm.openqa.ask import MAX_QUESTION_PIECES, OpenQA, Searching
from realm.openqa.asked import STANDING_WEIGHT
from realm.openqa.indexing import index_sources, remove_documents
from realm.openqa.knowledge_base import KnowledgeBase
from realm.openqa.manifest import PUBLISHED, write_manifest
from realm.openqa.model import RealmForOpenQA
from realm.openqa.model_folder import ModelFolder
from realm.openqa.span_choice import whole_words
from realm.records import Document

LIKELY_SPANS = 64
QUESTIONS = [
    "Who wrote the opera?",
    "Which river crossed São Paulo in winter",
    "who guarded the castle of the dragon, and when?",
    "東京",
    "x",
]


@pytest.fixture(scope="module")
def qa(shared_kb: Path) -> OpenQA:
    return OpenQA.load(shared_kb)


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_answer_is_a_place_in_a_document(qa: OpenQA, question: str) -> None:
    answer = qa.ask(question)
    assert answer.question == question
    assert answer.text
    answering = [evidence for evidence in answer.evidence if evidence.start is not None]
    assert len(answering) == 1
    for evidence in answer.evidence:
        document = qa.knowledge_base.document(evidence.document_id)
        block_end = evidence.block_start + len(evidence.text)
        assert document.text[evidence.block_start : block_end] == evidence.text
        assert evidence.title == document.title
        assert evidence.document_version == 1
    place = answering[0]
    document = qa.knowledge_base.document(place.document_id)
    assert document.text[place.start : place.end] == answer.text


@pytest.mark.parametrize("question", QUESTIONS)
def test_evidence_is_what_search_finds_with_its_share_of_belief(qa: OpenQA, question: str) -> None:
    model, base = qa.model, qa.knowledge_base
    vector = model.embed([model.inputs.question(model.tokenizer.ids_of(question), 130)])
    hits = base.search(vector, 4)
    evidence = qa.ask(question, top=4, searching=Searching(hybrid=False)).evidence
    assert [e.block_id for e in evidence] == [found.block.id for found in base.take_blocks(hits.rows[0].tolist())]
    scores = [float(score) for score in hits.scores[0]]
    np.testing.assert_allclose([e.score for e in evidence], scores, rtol=1e-5)
    whole = sum(math.exp(score - max(scores)) for score in scores)
    expected = [math.exp(score - max(scores)) / whole for score in scores]
    np.testing.assert_allclose([e.probability for e in evidence], expected, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_evidence_is_in_the_order_of_its_fused_scores(qa: OpenQA, weight: float) -> None:
    evidence = qa.ask(QUESTIONS[0], top=6, searching=Searching(weight=weight)).evidence
    fused = [e.fused_score for e in evidence]
    assert fused == sorted(fused, reverse=True)
    assert any(e.lexical_score > 0 for e in evidence) == (weight > 0)
    if weight == 0.0:
        assert fused == [e.score for e in evidence]
    if weight == 1.0:
        best = evidence[0].lexical_score
        assert fused == pytest.approx([e.lexical_score / best for e in evidence])


def spans_written_out(qa: OpenQA, question: str, top: int, searching: Searching) -> list[tuple[float, str]]:
    """Score and text of every span of the blocks read, one block at a time, without padding."""
    model, reader = qa.model, qa.model.networks.reader
    question_ids = model.tokenizer.ids_of(question)
    hits = qa.find([question], top, searching)[0].found
    relevances = STANDING_WEIGHT * hits.fused if searching.hybrid else hits.dense
    found = []
    for row, relevance in zip(hits.rows.tolist(), relevances.tolist(), strict=True):
        block = qa.knowledge_base.take_blocks([row])[0].block
        offsets = model.tokenizer.encode_batch([block.text])[0].offsets
        body = block.token_ids[: 320 - 3 - len(question_ids)]
        inputs = model.inputs.pad([model.inputs.reader(question_ids, body, 320)])
        first = len(question_ids) + 2
        places = [(s, e) for s in range(len(body)) for e in range(s, min(s + 6, len(body)))]
        starts, ends = (torch.tensor([place[side] + first for place in places]) for side in (0, 1))
        with torch.inference_mode():
            hidden = reader.realm(**inputs.for_trunk(), return_dict=True).last_hidden_state
            head = reader.qa_outputs
            of_starts, of_ends = head.dense_intermediate(hidden)[0].chunk(2, dim=-1)
            spans = head.layer_normalization(torch.relu(of_starts[starts] + of_ends[ends]))
            scores = head.dense_output(spans)[:, 0].tolist()
        for (start, end), score in zip(places, scores, strict=True):
            left, right = whole_words(block.text, offsets[start][0], offsets[end][1])
            found.append((score + relevance, block.text[left:right]))
    return found


@pytest.mark.parametrize("searching", [Searching(hybrid=False), Searching(hybrid=True, weight=0.4)])
@pytest.mark.parametrize("question", QUESTIONS)
def test_the_answer_is_what_the_likeliest_spans_say_most(qa: OpenQA, question: str, searching: Searching) -> None:
    spans = sorted(spans_written_out(qa, question, 3, searching), key=lambda span: -span[0])
    best = spans[0][0]
    whole = sum(math.exp(score - best) for score, _ in spans)
    beliefs: dict[str, float] = defaultdict(float)
    for score, text in spans[:LIKELY_SPANS]:
        beliefs[text.casefold()] += math.exp(score - best) / whole
    answer = qa.ask(question, top=3, searching=searching)
    assert answer.text is not None
    assert beliefs[answer.text.casefold()] == pytest.approx(max(beliefs.values()), rel=1e-3)
    assert answer.confidence == pytest.approx(max(beliefs.values()), rel=1e-3)
    assert answer.text == next(text for _, text in spans if text.casefold() == answer.text.casefold())


def test_several_questions_get_the_answers_each_gets_alone(qa: OpenQA) -> None:
    together = qa.ask_many(QUESTIONS)
    for question, answer in zip(QUESTIONS, together, strict=True):
        alone = qa.ask(question)
        assert (answer.question, answer.text) == (question, alone.text)
        assert answer.confidence == pytest.approx(alone.confidence, rel=1e-3)
        assert [e.block_id for e in answer.evidence] == [e.block_id for e in alone.evidence]
    assert qa.ask_many([]) == []


def test_below_the_least_confidence_there_is_no_answer_but_its_evidence(qa: OpenQA) -> None:
    sure = qa.ask(QUESTIONS[0])
    unsure = qa.ask(QUESTIONS[0], min_confidence=min(1.0, sure.confidence + 1e-6))
    assert unsure.text is None
    assert unsure.confidence == pytest.approx(sure.confidence)
    assert [e.block_id for e in unsure.evidence] == [e.block_id for e in sure.evidence]
    assert all(e.start is None and e.end is None for e in unsure.evidence)


def test_top_says_how_many_blocks_are_read_as_far_as_there_are_any(qa: OpenQA) -> None:
    assert len(qa.ask("who?", top=1).evidence) == 1
    assert len(qa.ask("who?", top=1000).evidence) == qa.knowledge_base.live_blocks
    with pytest.raises(ValueError, match="top must be at least 1"):
        qa.ask("who?", top=0)


def test_many_blocks_are_read_in_parts_with_the_same_answer(qa: OpenQA, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = qa.ask(QUESTIONS[1], top=9)
    monkeypatch.setattr("realm.openqa.model_folder._PIECES_AT_ONCE", 60)
    in_parts = qa.ask(QUESTIONS[1], top=9)
    assert in_parts.text == at_once.text
    assert in_parts.confidence == pytest.approx(at_once.confidence, rel=1e-3)


def test_a_block_in_several_readings_of_a_question_is_read_once(qa: OpenQA, monkeypatch: pytest.MonkeyPatch) -> None:
    (wide,), (other,) = qa.find(QUESTIONS[:1], 4), qa.find(QUESTIONS[1:2], 4)
    narrow = dataclasses.replace(wide, found=wide.found.at(slice(1, 3)))
    alone = [qa.read([asked], 4)[0] for asked in (wide, narrow, other)]
    read = []
    scores = span_choice.span_scores
    monkeypatch.setattr(span_choice, "span_scores", lambda model, rows: read.extend(rows) or scores(model, rows))
    together = qa.read([wide, narrow, other], 4)
    assert len(read) == 4 + 4
    for one, same in zip(together, alone, strict=True):
        assert (one.text, one.confidence) == (same.text, pytest.approx(same.confidence, abs=1e-5))


def test_blocks_without_a_word_piece_have_no_answer(tmp_path: Path, tiny: ModelFolder) -> None:
    source = write_jsonl(tmp_path / "empty.jsonl", [Document("empty", "Wolf", "\u0301\u0301")])
    index_sources(tmp_path / "kb", [source], tiny)
    answer = OpenQA.load(tmp_path / "kb").ask("who wrote it?")
    assert (answer.text, answer.confidence) == (None, 0.0)
    assert [evidence.document_id for evidence in answer.evidence] in ([], ["empty"])


def test_an_empty_knowledge_base_has_no_answer(tmp_path: Path, shared_kb: Path) -> None:
    kb = shutil.copytree(shared_kb, tmp_path / "kb")
    remove_documents(kb, [f"story/{number}" for number in range(12)])
    answer = OpenQA.load(kb).ask("who wrote it?")
    assert (answer.text, answer.confidence, answer.evidence) == (None, 0.0, ())


@pytest.mark.parametrize("question", ["", "  \n\t", "\u200b"])
def test_a_question_of_nothing_is_refused(qa: OpenQA, question: str) -> None:
    with pytest.raises(QuestionError, match="The question is empty"):
        qa.ask(question)


def test_a_question_is_refused_beyond_its_limit_and_read_whole_up_to_it(qa: OpenQA) -> None:
    assert qa.ask("who " * MAX_QUESTION_PIECES).text
    with pytest.raises(QuestionError, match="129 word pieces; at most 128 are read"):
        qa.ask("who " * (MAX_QUESTION_PIECES + 1))
    with pytest.raises(QuestionError, match="15,000 word pieces"):
        qa.ask("who wrote, " * 5000)


def test_a_question_that_is_not_text_is_refused(qa: OpenQA) -> None:
    with pytest.raises(QuestionError, match="not UTF-8 text at character 4"):
        qa.ask("who \udcff")


def test_a_knowledge_base_is_not_read_with_another_model(tmp_path: Path, shared_kb: Path, tiny: ModelFolder) -> None:
    other = ModelFolder.open(str(write_tiny_model(tmp_path / "other", seed=1)))
    with pytest.raises(KnowledgeBaseError, match=r"was made with the model .*tiny.*realm index"):
        OpenQA(KnowledgeBase.open(shared_kb), other)


def test_a_model_that_has_moved_is_named(tmp_path: Path, shared_kb: Path, tiny: ModelFolder) -> None:
    kb = shutil.copytree(shared_kb, tmp_path / "kb")
    manifest = KnowledgeBase.open(kb).manifest
    moved = dataclasses.replace(manifest.model, name=str(tmp_path / "moved"))
    write_manifest(kb, dataclasses.replace(manifest, model=moved), PUBLISHED)
    with pytest.raises(
        ModelError, match=r"made with the model .*moved, which is not there, nor at .*kb-model.*--model"
    ):
        OpenQA.load(kb)


def test_a_model_that_was_moved_with_its_knowledge_base_is_found_beside_it(
    tmp_path: Path, shared_kb: Path, tiny: ModelFolder
) -> None:
    kb = shutil.copytree(shared_kb, tmp_path / "kb")
    manifest = KnowledgeBase.open(kb).manifest
    moved = dataclasses.replace(manifest.model, name=str(tmp_path / "elsewhere"))
    write_manifest(kb, dataclasses.replace(manifest, model=moved), PUBLISHED)
    write_tiny_model(tmp_path / "kb-model", seed=9)
    with pytest.raises(ModelError, match="which is not there, nor at"):
        OpenQA.load(kb)
    shutil.rmtree(tmp_path / "kb-model")
    shutil.copytree(tiny.folder, tmp_path / "kb-model")
    assert OpenQA.load(kb).model.folder == tmp_path / "kb-model"


@given(st.text("ab é́-. ", max_size=20), st.data())
def test_whole_words_widens_to_the_borders_of_words_and_no_further(text: str, data: st.DataObject) -> None:
    def of_word(character: str) -> bool:
        return character.isalnum() or character == "\u0301"

    start = data.draw(st.integers(0, max(0, len(text) - 1)))
    end = data.draw(st.integers(min(start + 1, len(text)), len(text)))
    left, right = whole_words(text, start, end)
    assert left <= start <= end <= right
    assert all(of_word(character) for character in text[left:start] + text[end:right])
    if start < end:
        assert left == 0 or not (of_word(text[left - 1]) and of_word(text[left]))
        assert right == len(text) or not (of_word(text[right - 1]) and of_word(text[right]))


@pytest.fixture
def fine_tuned(tmp_path: Path, tiny_folder: Path) -> Path:
    """The tiny model with an embedder of its own for questions."""
    folder = shutil.copytree(tiny_folder, tmp_path / "fine-tuned")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "separate_query_embedder": True}))
    weights = load_file(folder / "model.safetensors")
    other = load_file(write_tiny_model(tmp_path / "other", seed=1) / "model.safetensors")
    own = {f"query_{key}": value for key, value in other.items() if key.startswith("embedder.")}
    save_file({**weights, **own}, folder / "model.safetensors")
    return folder


def test_a_model_with_its_own_embedder_of_questions_searches_the_same_blocks(
    fine_tuned: Path, shared_kb: Path, tmp_path: Path
) -> None:
    qa = OpenQA.load(shared_kb, str(fine_tuned))
    other = ModelFolder.open(str(tmp_path / "other"))
    base = qa.knowledge_base
    for question in QUESTIONS:
        row = other.inputs.question(other.tokenizer.ids_of(question), 130)
        hits = base.search(other.embed([row]), 3)
        found = qa.ask(question, top=3, searching=Searching(hybrid=False)).evidence
        assert [e.block_id for e in found] == [b.block.id for b in base.take_blocks(hits.rows[0].tolist())]
        np.testing.assert_allclose([e.score for e in found], hits.scores[0], rtol=1e-4)
    plain = OpenQA.load(shared_kb)
    row = plain.model.inputs.block([7], [8, 9], 30)
    np.testing.assert_array_equal(qa.model.embed([row]), plain.model.embed([row]))


def test_a_model_with_its_own_embedder_of_questions_survives_saving(fine_tuned: Path, tmp_path: Path) -> None:
    loaded = RealmForOpenQA.from_pretrained(fine_tuned)
    loaded.save_pretrained(tmp_path / "again")
    again = RealmForOpenQA.from_pretrained(tmp_path / "again")
    for key, value in loaded.question_embedder.state_dict().items():
        assert torch.equal(again.question_embedder.state_dict()[key], value), key
    assert not torch.equal(again.question_embedder.cls.dense.weight, again.embedder.cls.dense.weight)
