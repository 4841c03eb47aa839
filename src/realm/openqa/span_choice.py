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
from torch import Tensor

from realm.corpus.block_store import StoredBlock
from realm.features.inputs import Inputs
from realm.features.spans import characters_of_pieces
from realm.models.reader import RealmReader
from realm.models.spans import SpanCandidates, allowed_spans, span_candidates
from realm.openqa.model_folder import ModelFolder

_LIKELY_SPANS = 64
_BLOCKS_AT_ONCE = 32


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


def best_span(
    model: ModelFolder, question_ids: list[int], blocks: Sequence[StoredBlock], relevance: NDArray[np.float32]
) -> tuple[Span | None, float]:
    """The span most likely to be the answer, and the probability of what it says.

    Args:
        model: Reads.
        question_ids: Word pieces of the question.
        blocks: At least one.
        relevance: Inner product of question and each block.

    Returns:
        None and 0.0 where no block has a span that may be an answer.
    """
    config = model.networks.config
    length = min(config.reader_seq_len + len(question_ids), config.max_position_embeddings)
    rows = [model.inputs.reader(question_ids, stored.block.token_ids, length) for stored in blocks]
    inputs = model.inputs.pad(rows).to(model.device)
    scores, candidates = _span_scores(model.networks.reader, inputs, torch.from_numpy(relevance).to(model.device))
    # Where no span is allowed at all, softmax gives NaN.
    probabilities = scores.flatten().softmax(-1).nan_to_num(0.0)
    likely = probabilities.topk(min(_LIKELY_SPANS, len(probabilities)))
    offsets = [pieces.offsets for pieces in model.tokenizer.encode_batch([stored.block.text for stored in blocks])]
    spans: dict[str, Span] = {}
    beliefs: dict[str, float] = {}
    for probability, number in zip(likely.values.tolist(), likely.indices.tolist(), strict=True):
        if probability == 0.0:
            break
        place, candidate = divmod(number, scores.size(1))
        first, last = (int(side[candidate]) - len(question_ids) - 2 for side in candidates)
        text = blocks[place].block.text
        start, end = whole_words(text, *characters_of_pieces(offsets[place], first, last))
        said = text[start:end].casefold()
        spans.setdefault(said, Span(place, start, end, text[start:end]))
        beliefs[said] = beliefs.get(said, 0.0) + probability
    if not beliefs:
        return None, 0.0
    best = max(beliefs, key=beliefs.__getitem__)
    return spans[best], min(1.0, beliefs[best])


def _span_scores(reader: RealmReader, inputs: Inputs, relevance: Tensor) -> tuple[Tensor, SpanCandidates]:
    """Score of every span of every block, reader and retriever together; -inf where no span may be."""
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
