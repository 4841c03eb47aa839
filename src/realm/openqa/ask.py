"""OpenQA: ask a knowledge base; the answer is a span of a document with its evidence and confidence."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from realm.corpus.block_store import StoredBlock
from realm.errors import QuestionError
from realm.openqa.answer_signs import signs_of
from realm.openqa.asked import Asked
from realm.openqa.calibration import Signs
from realm.openqa.evidence import evidence_for
from realm.openqa.knowledge_base import KnowledgeBase
from realm.openqa.manifest import require_model
from realm.openqa.model_choice import model_for
from realm.openqa.model_folder import ModelFolder
from realm.openqa.search import BlockSearch, Found, fusion_weight
from realm.openqa.span_choice import Choice, Reading, Span, choose_spans
from realm.records import Answer, Evidence

MAX_QUESTION_PIECES = 128


@dataclass(frozen=True, slots=True)
class Searching:
    """How blocks are looked for; what is None is as the knowledge base says.

    Attributes:
        where: Only documents that fit this condition, such as `source = 'x' AND year >= 1990`; see
            `realm.corpus.conditions`.
        hybrid: By words and vectors, or by vectors alone.
        weight: Share of the words in the order of blocks, 0 to 1.
    """

    where: str | None = None
    hybrid: bool | None = None
    weight: float | None = None


class OpenQA:
    """Answers questions from a knowledge base.

    Args:
        knowledge_base: An open version of it; later versions are not seen until it is loaded again.
        model: The model it was made with.
        hides_folders: Whether conditions, and who reads the evidence, see of a source path its last name alone: for
            askers elsewhere.

    Raises:
        KnowledgeBaseError: The knowledge base was made with another model.
    """

    def __init__(self, knowledge_base: KnowledgeBase, model: ModelFolder, *, hides_folders: bool = False) -> None:
        require_model(knowledge_base.folder, knowledge_base.manifest, model.reference, "Leave --model out")
        self.knowledge_base = knowledge_base
        self.search = BlockSearch(knowledge_base, hides_folders=hides_folders)
        self._hides_folders = hides_folders
        self.model = model

    @classmethod
    def load(cls, folder: str | Path, model: str | None = None) -> OpenQA:
        """Open a knowledge base.

        Args:
            folder: The knowledge base.
            model: A model with the same embedder of blocks, such as a fine-tuned one; the one it names unless given.

        Raises:
            KnowledgeBaseError: There is no complete knowledge base, or its model has changed.
            ModelError: Its model is not where it was.
        """
        knowledge_base = KnowledgeBase.open(folder)
        return cls(knowledge_base, model_for(knowledge_base, model))

    def ask(
        self, question: str, *, top: int = 5, min_confidence: float | None = None, searching: Searching | None = None
    ) -> Answer:
        """Answer one question; see `ask_many`."""
        return self.ask_many([question], top=top, min_confidence=min_confidence, searching=searching)[0]

    def ask_many(
        self,
        questions: Sequence[str],
        *,
        top: int = 5,
        retrieve: int | None = None,
        min_confidence: float | None = None,
        searching: Searching | None = None,
    ) -> list[Answer]:
        """Answer several questions; they share embedding and search.

        Args:
            questions: As typed.
            top: How many blocks to read.
            retrieve: How many to give as evidence, at least `top`; as many as are read unless given.
            min_confidence: Below it the answer is None, with the evidence still given; as the model's calibration
                says unless given, and without one every answer is given.
            searching: How blocks are looked for; as the knowledge base says unless given.

        Raises:
            QuestionError: A question is empty or too long.
            UsageError: The condition, or the weight, cannot be used.
            ValueError: `top` is less than 1.
        """
        if top < 1:
            raise ValueError(f"top must be at least 1; found {top}.")
        return self.read(self.find(questions, max(top, retrieve or 0), searching), top, min_confidence)

    def retrieve(
        self, questions: Sequence[str], k: int, searching: Searching | None = None
    ) -> list[tuple[Evidence, ...]]:
        """The best `k` blocks of each question, best first, without reading them. Raises like `ask_many`."""
        return [self.evidence_of(one) for one in self.find(questions, k, searching)]

    def find(
        self,
        questions: Sequence[str],
        k: int,
        searching: Searching | None = None,
        *,
        without: NDArray[np.int64] | None = None,
    ) -> list[Asked]:
        """The first half of answering: the best `k` blocks of each question, searched as if the rows in `without` were
        not there. Raises like `ask_many`.
        """
        searching = searching or Searching()
        share = fusion_weight(self.knowledge_base.manifest, hybrid=searching.hybrid, weight=searching.weight)
        if not questions:
            return []
        begin = time.perf_counter()
        pieces = [self._question_pieces(question) for question in questions]
        rows = [self.model.inputs.question(ids, MAX_QUESTION_PIECES + 2) for ids in pieces]
        vectors = self.model.embed(rows, questions=True)
        embedded = time.perf_counter()
        retrieval = self.search.search(questions, vectors, k, weight=share, where=searching.where, without=without)
        searched = time.perf_counter()
        seconds = {"embed": (embedded - begin) / len(questions), "search": (searched - embedded) / len(questions)}
        return [
            Asked(question, ids, vector, found, share > 0.0, retrieval.note, seconds)
            for question, ids, vector, found in zip(questions, pieces, vectors, retrieval.found, strict=True)
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

    def blocks_of(self, asked: Asked) -> list[StoredBlock]:
        """The blocks found for a question."""
        return self.knowledge_base.take_blocks(asked.found.rows.tolist())

    def evidence_of(self, asked: Asked) -> tuple[Evidence, ...]:
        """The blocks found for a question as evidence, before any is read."""
        blocks = self.blocks_of(asked)
        [found] = self._with_inner_products([asked], [blocks])
        return self._evidence(blocks, found, None)

    def read(
        self, asked: Sequence[Asked], top: int, min_confidence: float | Sequence[float | None] | None = None
    ) -> list[Answer]:
        """The second half of answering: the best `top` blocks of each are read, with one threshold or one for each."""
        begin = time.perf_counter()
        blocks = [self.blocks_of(one) for one in asked]
        scored = self._with_inner_products(asked, blocks)
        asked = [replace(one, found=found) for one, found in zip(asked, scored, strict=True)]
        readings = [
            Reading(one.ids, found[:top], one.relevance[:top]) for one, found in zip(asked, blocks, strict=True)
        ]
        choices = choose_spans(self.model, readings)
        signs = signs_of(self.model, asked, readings, choices)
        seconds = (time.perf_counter() - begin) / max(1, len(asked))
        least = min_confidence if isinstance(min_confidence, Sequence) else [min_confidence] * len(asked)
        return [self._answer(*each, top, seconds) for each in zip(asked, blocks, choices, signs, least, strict=True)]

    def _with_inner_products(self, asked: Sequence[Asked], blocks: Sequence[Sequence[StoredBlock]]) -> list[Found]:
        """What was found for each question; blocks that have no vector yet are embedded for it."""
        missing: dict[int, StoredBlock] = {}
        for one, stored in zip(asked, blocks, strict=True):
            unknown = np.isnan(one.found.dense)
            missing |= {int(one.found.rows[place]): stored[place] for place in np.flatnonzero(unknown).tolist()}
        if not missing:
            return [one.found for one in asked]
        pieces = self.knowledge_base.manifest.max_block_pieces
        vectors = self.model.embed_blocks(list(missing.values()), pieces)
        vector_of = dict(zip(missing, vectors, strict=True))
        return [one.found.with_inner_products(one.vector, vector_of) for one in asked]

    def _answer(
        self,
        asked: Asked,
        blocks: Sequence[StoredBlock],
        choice: Choice,
        signs: Signs | None,
        min_confidence: float | None,
        top: int,
        seconds: float,
    ) -> Answer:
        confidence, least = choice.probability, 0.0
        if self.model.calibration is not None and signs is not None:
            calibrated = self.model.calibration.words if asked.by_words else self.model.calibration.vectors
            confidence, least = calibrated(signs), calibrated.threshold
        span = choice.span if confidence >= (least if min_confidence is None else min_confidence) else None
        read = self._evidence(blocks[:top], asked.found.at(slice(top)), span)
        further = self._evidence(blocks[top:], asked.found.at(slice(top, None)), None)
        return Answer(
            asked.text,
            None if span is None else span.text,
            confidence,
            (*read, *(replace(each, probability=0.0) for each in further)),
            {**asked.seconds, "read": seconds},
            asked.note,
            {} if signs is None else signs._asdict(),
        )

    def _evidence(self, blocks: Sequence[StoredBlock], found: Found, span: Span | None) -> tuple[Evidence, ...]:
        return evidence_for(self.knowledge_base, blocks, found, span, hides_folders=self._hides_folders)
