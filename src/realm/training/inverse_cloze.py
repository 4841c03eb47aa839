"""Inverse cloze: a sentence of a block as a question to the block it was taken from.

Knows documents and word pieces, no networks. Read `inverse_cloze` first.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from realm.corpus.chunking import chunk_documents
from realm.corpus.readers import read_documents
from realm.text.pieces import Pieces, PieceTokenizer
from realm.text.sentences import sentence_spans

_MIN_SENTENCE_PIECES = 6


class SentenceBlock(NamedTuple):
    """A block as word pieces, with the piece range of each of its sentences."""

    title_ids: list[int]
    body_ids: list[int]
    sentences: list[tuple[int, int]]


class Cloze(NamedTuple):
    """A sentence as question, its block as answer; `removed` says whether the body has lost the sentence."""

    sentence_ids: list[int]
    title_ids: list[int]
    body_ids: list[int]
    removed: bool


def sentence_ranges(text: str, pieces: Pieces, min_pieces: int = 1) -> list[tuple[int, int]]:
    """Half-open piece ranges of a text's sentences that have at least so many word pieces, in reading order."""
    starts = [start for start, _ in pieces.offsets]
    ranges = ((bisect_left(starts, first), bisect_left(starts, last)) for first, last in sentence_spans(text))
    return [(first, last) for first, last in ranges if last - first >= min_pieces]


def inverse_cloze(block: SentenceBlock, keep_share: float, choice: random.Random) -> Cloze | None:
    """A random sentence, and its block, mostly without the sentence; the title always stays.

    Args:
        block: The block, with at least one sentence.
        keep_share: How often the body keeps the sentence.
        choice: Source of randomness.

    Returns:
        None where the block's only sentence would have to be removed.

    Source: ORQA, Lee et al. 2019, section 5 (the sentence stays in 10 % of examples).
    """
    first, last = choice.choice(block.sentences)
    body = block.body_ids
    removed = choice.random() >= keep_share
    if removed and len(block.sentences) == 1:
        return None
    left = body[:first] + body[last:] if removed else body
    return Cloze(body[first:last], block.title_ids, left, removed)


def sentence_blocks(paths: Sequence[Path], max_documents: int, tokenizer: PieceTokenizer) -> Iterator[SentenceBlock]:
    """Blocks of documents that have at least two sentences of at least six word pieces.

    Args:
        paths: Document files.
        max_documents: Of each file, at most this many documents are used.
        tokenizer: Of the model.
    """
    for path in paths:
        for cut in chunk_documents(islice(read_documents([path]), max_documents), tokenizer):
            texts = [block.text for block in cut.blocks]
            for text, pieces in zip(texts, tokenizer.encode_batch(texts), strict=True):
                ranges = sentence_ranges(text, pieces, _MIN_SENTENCE_PIECES)
                if len(ranges) > 1:
                    yield SentenceBlock(list(cut.title_ids), pieces.ids, ranges)


def sentence_and_rest(
    block: SentenceBlock, keep_share: float, choice: random.Random
) -> tuple[list[int], tuple[list[int], list[int]]]:
    """`inverse_cloze` of a block with several sentences, as the sentence and the (title, body) of its block."""
    cloze = inverse_cloze(block, keep_share, choice)
    if cloze is None:
        raise ValueError("the block has one sentence only, which cannot be taken out of it")
    return cloze.sentence_ids, (cloze.title_ids, cloze.body_ids)
