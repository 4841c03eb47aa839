"""Inverse cloze: a sentence of a block as a question to the block it was taken from.

Knows documents and word pieces, no networks.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from realm.corpus.chunking import chunk_documents
from realm.corpus.readers import read_documents
from realm.text.pieces import PieceTokenizer
from realm.text.sentences import sentence_spans

_MIN_SENTENCE_PIECES = 6


class SentenceBlock(NamedTuple):
    """A block as word pieces, with the piece range of each of its sentences."""

    title_ids: list[int]
    body_ids: list[int]
    sentences: list[tuple[int, int]]


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
                starts = [start for start, _ in pieces.offsets]
                ranges = []
                for first, last in sentence_spans(text):
                    inside = [n for n, start in enumerate(starts) if first <= start < last]
                    if len(inside) >= _MIN_SENTENCE_PIECES:
                        ranges.append((inside[0], inside[-1] + 1))
                if len(ranges) > 1:
                    yield SentenceBlock(list(cut.title_ids), pieces.ids, ranges)


def sentence_and_rest(
    block: SentenceBlock, keep_share: float, choice: random.Random
) -> tuple[list[int], tuple[list[int], list[int]]]:
    """A random sentence, and title and body of its block, mostly without the sentence.

    Args:
        block: The block.
        keep_share: How often the body keeps the sentence.
        choice: Source of randomness.

    Source: ORQA, Lee et al. 2019, section 5 (the sentence stays in 10 % of examples).
    """
    first, last = choice.choice(block.sentences)
    body = block.body_ids
    if choice.random() >= keep_share:
        body = body[:first] + body[last:]
    return block.body_ids[first:last], (block.title_ids, body)
