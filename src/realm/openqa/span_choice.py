"""Which span of the blocks read is the answer: the text that the spans of all blocks say with the highest total
probability, at its likeliest place.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from realm.corpus.block_store import StoredBlock
from realm.features.inputs import Row
from realm.features.spans import Offsets, characters_of_pieces
from realm.models.spans import allowed_spans, span_candidates
from realm.openqa.model_folder import ModelFolder
from realm.records import Block
from realm.text.sentences import sentence_spans

_LIKELY_SPANS = 64


class Reading(NamedTuple):
    """What is read for one question.

    Attributes:
        question_ids: Word pieces of the question.
        blocks: The blocks.
        relevance: What each block adds to the scores of its spans.
    """

    question_ids: list[int]
    blocks: Sequence[StoredBlock]
    relevance: NDArray[np.float32]


class Span(NamedTuple):
    """A span of a block that was read.

    Attributes:
        place: Which of the blocks.
        start: First character in the block's text.
        end: One past the last.
        text: The characters.
    """

    place: int
    start: int
    end: int
    text: str


class Choice(NamedTuple):
    """The answer to a question, as far as the reader can tell.

    Attributes:
        span: Where it stands; None where no block has a span that may be an answer.
        probability: Of what it says, among all spans of all blocks read.
        place_probability: Of the span alone.
        reader_score: The reader's own score of the span.
        overlap: Share of the question's word pieces, each by its rarity, that stand in the span's sentence or in the
            title.
        title_ids: Word pieces of the title.
        sentence_ids: Word pieces of the sentence.
    """

    span: Span | None
    probability: float = 0.0
    place_probability: float = 0.0
    reader_score: float = 0.0
    overlap: float = 0.0
    title_ids: Sequence[int] = ()
    sentence_ids: Sequence[int] = ()


class SpanScores(NamedTuple):
    """All spans of a block's body, by the reader alone.

    Attributes:
        firsts: First piece of each span, counted in the body.
        lasts: Last piece, inclusive.
        scores: float32.
    """

    firsts: NDArray[np.int64]
    lasts: NDArray[np.int64]
    scores: NDArray[np.float32]


def choose_spans(model: ModelFolder, readings: Sequence[Reading]) -> list[Choice]:
    """For each question the span most likely to be the answer. Blocks of all questions are read together; a block that
    stands in several readings of one question is read once.
    """
    rows = [[_row(model, reading, stored) for stored in reading.blocks] for reading in readings]
    distinct = {tuple(row.ids): row for of_one in rows for row in of_one}
    scored = dict(zip(distinct, span_scores(model, list(distinct.values())), strict=True))
    return [
        _choose(model, reading, [scored[tuple(row.ids)] for row in own])
        for reading, own in zip(readings, rows, strict=True)
    ]


def span_scores(model: ModelFolder, rows: Sequence[Row]) -> list[SpanScores]:
    """Scores of all spans that may be answers, for each row of reader inputs."""
    found: dict[int, SpanScores] = {}
    reader = model.networks.reader

    def score(numbers: list[int]) -> None:
        inputs = model.inputs.pad([rows[number] for number in numbers]).to(model.device)
        candidates = span_candidates(inputs.input_ids.size(1), reader.config.max_span_width, model.device)
        with torch.inference_mode():
            hidden = reader.realm(**inputs.for_trunk(), return_dict=True).last_hidden_state
            scores = reader.span_scores(hidden).float()
            allowed = allowed_spans(inputs.body_mask, candidates)
        for place, number in enumerate(numbers):
            of_row = allowed[place]
            firsts, lasts = (side[of_row].cpu().numpy() - rows[number].body_start for side in candidates)
            found[number] = SpanScores(firsts, lasts, scores[place, of_row].cpu().numpy())

    model.in_batches(score, rows)
    return [found[number] for number in range(len(rows))]


def _row(model: ModelFolder, reading: Reading, stored: StoredBlock) -> Row:
    config = model.networks.config
    length = min(config.reader_seq_len + len(reading.question_ids), config.max_position_embeddings)
    return model.inputs.reader(reading.question_ids, stored.block.token_ids, length)


def _choose(model: ModelFolder, reading: Reading, scored: Sequence[SpanScores]) -> Choice:
    scores = [own.scores + relevance for own, relevance in zip(scored, reading.relevance, strict=True)]
    together = np.concatenate([np.empty(0, np.float32), *scores])
    if not len(together):
        return Choice(None)
    probabilities = np.exp(together - together.max())
    probabilities /= probabilities.sum(dtype=np.float64)
    likely = np.argsort(-probabilities, kind="stable")[:_LIKELY_SPANS]
    begins = np.cumsum([0, *map(len, scores)])
    texts = [stored.block.text for stored in reading.blocks]
    offsets = [pieces.offsets for pieces in model.tokenizer.encode_batch(texts)]
    spans: dict[str, tuple[Span, int]] = {}
    beliefs: dict[str, float] = {}
    for number in likely.tolist():
        place = int(np.searchsorted(begins, number, side="right")) - 1
        own, which = scored[place], number - begins[place]
        start, end = whole_words(
            texts[place], *characters_of_pieces(offsets[place], int(own.firsts[which]), int(own.lasts[which]))
        )
        said = texts[place][start:end].casefold()
        spans.setdefault(said, (Span(place, start, end, texts[place][start:end]), number))
        beliefs[said] = beliefs.get(said, 0.0) + float(probabilities[number])
    best = max(beliefs, key=beliefs.__getitem__)
    span, likeliest = spans[best]
    block = reading.blocks[span.place].block
    title, sentence = model.tokenizer.ids_of(block.title), _sentence_ids(block, offsets[span.place], span)
    return Choice(
        span,
        probability=min(1.0, beliefs[best]),
        place_probability=float(probabilities[likeliest]),
        reader_score=float(scored[span.place].scores[likeliest - begins[span.place]]),
        overlap=_overlap(model, reading.question_ids, {*title, *sentence}),
        title_ids=title,
        sentence_ids=sentence,
    )


def _sentence_ids(block: Block, offsets: Offsets, span: Span) -> list[int]:
    """Word pieces of the sentence a span begins in."""
    first, last = next(
        (sentence for sentence in sentence_spans(block.text) if sentence[0] <= span.start < sentence[1]),
        (0, len(block.text)),
    )
    return [id for id, (start, _) in zip(block.token_ids, offsets, strict=False) if first <= start < last]


def _overlap(model: ModelFolder, question_ids: list[int], near: set[int]) -> float:
    asked = sorted(set(question_ids))
    weights = model.tokenizer.rarities[asked]
    if not weights.any():
        weights = np.ones_like(weights)
    return float(weights[[id in near for id in asked]].sum() / weights.sum())


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
