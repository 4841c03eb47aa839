"""OpenQA: ask a knowledge base; the answer is a span of a document with its evidence and confidence."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from realm.corpus.block_store import StoredBlock
from realm.errors import KnowledgeBaseError, QuestionError
from realm.features.inputs import Inputs
from realm.features.spans import characters_of_pieces
from realm.models.spans import SpanCandidates, allowed_spans, span_candidates
from realm.openqa.knowledge_base import KnowledgeBase
from realm.openqa.model_folder import ModelFolder
from realm.records import Answer, Evidence

MAX_QUESTION_PIECES = 128
_LIKELY_SPANS = 64
_BLOCKS_AT_ONCE = 32


class _Span(NamedTuple):
    """A span as characters of its document."""

    place: int
    start: int
    end: int
    text: str


class OpenQA:
    """Answers questions from a knowledge base.

    Args:
        knowledge_base: An open version of it; later versions are not seen until it is loaded again.
        model: The model it was made with.

    Raises:
        KnowledgeBaseError: The knowledge base was made with another model.
    """

    def __init__(self, knowledge_base: KnowledgeBase, model: ModelFolder) -> None:
        made_with = knowledge_base.manifest.model
        if made_with.digest != model.reference.digest:
            raise KnowledgeBaseError(
                f"{knowledge_base.folder} was made with the model {made_with.name} ({made_with.digest[:12]}...); "
                f"{model.name} is now {model.reference.digest[:12]}.... Make it again with: realm index"
            )
        self.knowledge_base = knowledge_base
        self.model = model

    @classmethod
    def load(cls, folder: str | Path) -> OpenQA:
        """Open a knowledge base with the model it names.

        Raises:
            KnowledgeBaseError: There is no complete knowledge base, or its model has changed.
            ModelError: Its model is not where it was.
        """
        knowledge_base = KnowledgeBase.open(folder)
        return cls(knowledge_base, ModelFolder.open(knowledge_base.manifest.model.name))

    def ask(self, question: str, *, top: int = 5, min_confidence: float = 0.0) -> Answer:
        """Answer one question; see `ask_many`."""
        return self.ask_many([question], top=top, min_confidence=min_confidence)[0]

    def ask_many(self, questions: Sequence[str], *, top: int = 5, min_confidence: float = 0.0) -> list[Answer]:
        """Answer several questions; they share embedding and search.

        Args:
            questions: As typed.
            top: How many blocks to read and to give as evidence.
            min_confidence: Below it the answer is None, with the evidence still given.

        Raises:
            QuestionError: A question is empty or too long.
            ValueError: `top` is less than 1.
        """
        if top < 1:
            raise ValueError(f"top must be at least 1; found {top}.")
        if not questions:
            return []
        begin = time.perf_counter()
        pieces = [self._question_pieces(question) for question in questions]
        vectors = self.model.embed([self.model.inputs.question(ids, MAX_QUESTION_PIECES + 2) for ids in pieces])
        embedded = time.perf_counter()
        hits = self.knowledge_base.search(vectors, top)
        searched = time.perf_counter()
        shared = {"embed": (embedded - begin) / len(questions), "search": (searched - embedded) / len(questions)}
        return [
            self._read(question, ids, rows, scores, shared, min_confidence)
            for question, ids, rows, scores in zip(questions, pieces, hits.rows, hits.scores, strict=True)
        ]

    def _question_pieces(self, question: str) -> list[int]:
        try:
            question.encode()
        except UnicodeEncodeError as exc:
            raise QuestionError(f"The question is not UTF-8 text at character {exc.start}. Type it anew.") from exc
        ids = self.model.tokenizer.ids_of(question)
        if not ids:
            raise QuestionError("The question is empty. Ask something, such as: who wrote Middlemarch?")
        most = min(MAX_QUESTION_PIECES, self.model.networks.config.max_position_embeddings // 2)
        if len(ids) > most:
            raise QuestionError(f"The question has {len(ids):,} word pieces; at most {most} are read. Shorten it.")
        return ids

    def _read(
        self,
        question: str,
        question_ids: list[int],
        rows: NDArray[np.int64],
        scores: NDArray[np.float32],
        seconds: dict[str, float],
        min_confidence: float,
    ) -> Answer:
        begin = time.perf_counter()
        blocks = self.knowledge_base.take_blocks(rows.tolist())
        if not blocks:
            return Answer(question, None, 0.0, (), seconds)
        span, confidence = self._best_span(question_ids, blocks, scores)
        if span is not None and confidence < min_confidence:
            span = None
        evidence = self._evidence(blocks, scores, span)
        took = {**seconds, "read": time.perf_counter() - begin}
        return Answer(question, None if span is None else span.text, confidence, evidence, took)

    def _best_span(
        self, question_ids: list[int], blocks: Sequence[StoredBlock], scores: NDArray[np.float32]
    ) -> tuple[_Span | None, float]:
        """What the spans of all blocks say with the highest total probability, at its likeliest place."""
        model = self.model
        config = model.networks.config
        length = min(config.reader_seq_len + len(question_ids), config.max_position_embeddings)
        inputs = model.inputs.pad(
            [model.inputs.reader(question_ids, stored.block.token_ids, length) for stored in blocks]
        ).to(model.device)
        span_scores, candidates = self._span_scores(inputs, torch.from_numpy(scores).to(model.device))
        # Where no span is allowed at all, softmax gives NaN.
        probabilities = span_scores.flatten().softmax(-1).nan_to_num(0.0)
        likely = probabilities.topk(min(_LIKELY_SPANS, len(probabilities)))
        offsets = [pieces.offsets for pieces in model.tokenizer.encode_batch([stored.block.text for stored in blocks])]
        spans: dict[str, _Span] = {}
        beliefs: dict[str, float] = {}
        for probability, number in zip(likely.values.tolist(), likely.indices.tolist(), strict=True):
            if probability == 0.0:
                break
            place, candidate = divmod(number, span_scores.size(1))
            first, last = (int(side[candidate]) - len(question_ids) - 2 for side in candidates)
            text = blocks[place].block.text
            start, end = whole_words(text, *characters_of_pieces(offsets[place], first, last))
            said = text[start:end].casefold()
            spans.setdefault(said, _Span(place, start, end, text[start:end]))
            beliefs[said] = beliefs.get(said, 0.0) + probability
        if not beliefs:
            return None, 0.0
        best = max(beliefs, key=beliefs.__getitem__)
        return spans[best], min(1.0, beliefs[best])

    def _span_scores(self, inputs: Inputs, relevance: Tensor) -> tuple[Tensor, SpanCandidates]:
        """Score of every span of every block, reader and retriever together; -inf where no span may be."""
        reader = self.model.networks.reader
        candidates = span_candidates(inputs.input_ids.size(1), reader.config.max_span_width, inputs.input_ids.device)
        parts = []
        with torch.inference_mode():
            for start in range(0, len(relevance), _BLOCKS_AT_ONCE):
                rows = slice(start, start + _BLOCKS_AT_ONCE)
                arguments = {name: tensor[rows] for name, tensor in inputs.for_trunk().items()}
                hidden = reader.realm(**arguments, return_dict=True).last_hidden_state
                allowed = allowed_spans(inputs.body_mask[rows], candidates)
                scores = reader.span_scores(hidden, candidates).float() + relevance[rows, None]
                parts.append(scores.masked_fill(~allowed, -torch.inf))
        return torch.cat(parts), candidates

    def _evidence(
        self, blocks: Sequence[StoredBlock], scores: NDArray[np.float32], span: _Span | None
    ) -> tuple[Evidence, ...]:
        versions = self.knowledge_base.document_versions([stored.block.document_id for stored in blocks])
        shifted = np.exp(scores - scores.max())
        shares = shifted / shifted.sum()
        return tuple(
            Evidence(
                title=stored.block.title,
                document_id=stored.block.document_id,
                document_version=versions.get(stored.block.document_id, 0),
                block_id=stored.block.id,
                text=stored.block.text,
                block_start=stored.block.start,
                score=float(scores[place]),
                probability=float(shares[place]),
                start=stored.block.start + span.start if span is not None and span.place == place else None,
                end=stored.block.start + span.end if span is not None and span.place == place else None,
            )
            for place, stored in enumerate(blocks)
        )


def whole_words(text: str, start: int, end: int) -> tuple[int, int]:
    """Widen a range to the borders of the words it begins and ends in."""
    while start > 0 and _is_of_word(text[start - 1]) and _is_of_word(text[start]):
        start -= 1
    while end < len(text) and _is_of_word(text[end - 1]) and _is_of_word(text[end]):
        end += 1
    return start, end


def _is_of_word(character: str) -> bool:
    """Letters, digits, and the accents that stand behind their letter as characters of their own."""
    return character.isalnum() or unicodedata.combining(character) > 0
