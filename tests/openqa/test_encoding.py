"""Texts to vectors: the same that a knowledge base is made of and asked with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_model import stories, write_jsonl, write_tiny_model

from realm.openqa.ask import OpenQA
from realm.openqa.encoding import TextEncoder
from realm.openqa.indexing import index_sources

QUESTIONS = ["who found the gold?", "where did the old king go in winter?", "who?"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> TextEncoder:
    """The tiny model's."""
    return TextEncoder.load(str(write_tiny_model(tmp_path_factory.mktemp("encoder") / "tiny")))


def test_inner_products_are_the_scores_of_a_knowledge_base(encoder: TextEncoder, tmp_path: Path) -> None:
    index_sources(tmp_path / "kb", [write_jsonl(tmp_path / "stories.jsonl", stories(6))], encoder.model)
    qa = OpenQA.load(tmp_path / "kb")
    queries = encoder.encode_query(QUESTIONS)
    for query, evidence in zip(queries, qa.retrieve(QUESTIONS, 6), strict=True):
        passages = encoder.encode_document([one.text for one in evidence], titles=[one.title for one in evidence])
        assert passages @ query == pytest.approx([one.score for one in evidence], abs=0.02, rel=0.01)  # stored as fp16


def test_one_text_gives_one_vector_and_several_keep_their_order_whatever_the_batches(encoder: TextEncoder) -> None:
    for encode in (encoder.encode_query, encoder.encode_document):
        together = encode(QUESTIONS)
        assert (together.dtype, together.shape) == (np.float32, (3, encoder.dim))
        assert encode([]).shape == (0, encoder.dim)
        for batch_size in (1, 2):
            assert encode(QUESTIONS, batch_size=batch_size) == pytest.approx(together, abs=0.02)
        for text, vector in zip(QUESTIONS, together, strict=True):
            assert encode(text).shape == (encoder.dim,)
            assert encode(text) == pytest.approx(vector, abs=0.02)


def test_normalised_vectors_have_length_one_and_the_same_direction(encoder: TextEncoder) -> None:
    plain = encoder.encode_query(QUESTIONS)
    normal = encoder.encode_query(QUESTIONS, normalize_embeddings=True)
    assert np.linalg.norm(normal, axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    assert normal * np.linalg.norm(plain, axis=1, keepdims=True) == pytest.approx(plain, abs=1e-4)


def test_what_is_too_long_is_cut_as_a_knowledge_base_would_read_it(encoder: TextEncoder) -> None:
    long = "gold " * 1000
    kept = "gold " * (encoder.max_document_pieces - 3)
    assert encoder.encode_document(long) == pytest.approx(encoder.encode_document(kept), abs=1e-5)
    kept = "gold " * (encoder.max_query_pieces - 2)
    assert encoder.encode_query(long) == pytest.approx(encoder.encode_query(kept), abs=1e-5)


def test_titles_and_batches_that_do_not_fit_are_refused(encoder: TextEncoder) -> None:
    with pytest.raises(ValueError, match="batch_size"):
        encoder.encode_query(QUESTIONS, batch_size=0)
    with pytest.raises(ValueError):
        encoder.encode_document(QUESTIONS, titles=["one"])
    with pytest.raises(ValueError):
        encoder.encode_document(QUESTIONS, titles=[])
