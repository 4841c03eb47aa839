"""Blocks cut the slow way, asking the tokenizer anew for every text: the oracle for the quick way."""

from __future__ import annotations

import re
from collections.abc import Iterator

from realm.records import Document
from realm.text.pieces import PieceTokenizer
from realm.text.sentences import sentence_spans

WORD = re.compile(r"[^ \t\n\r\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
CHARACTERS_PER_PIECE = 8

Span = tuple[int, int]


def slow_blocks(document: Document, tokenizer: PieceTokenizer, max_pieces: int) -> list[tuple[int, int, list[int]]]:
    """Start, end and pieces of each block."""
    text = document.text
    budget = max_pieces - 3 - min(len(tokenizer.ids_of(document.title)), (max_pieces - 3) // 2)
    blocks: list[Span] = []
    for (start, end), may_join in parts_to_pack(text, budget, tokenizer):
        if may_join and blocks and len(tokenizer.ids_of(text[blocks[-1][0] : end])) <= budget:
            blocks[-1] = (blocks[-1][0], end)
        else:
            blocks.append((start, end))
    return [(start, end, tokenizer.ids_of(text[start:end])) for start, end in blocks]


def parts_to_pack(text: str, budget: int, tokenizer: PieceTokenizer) -> Iterator[tuple[Span, bool]]:
    """Sentences, words of over-long sentences, parts of over-long words; and whether they may join what is before."""
    for start, end in sentence_spans(text):
        if len(tokenizer.ids_of(text[start:end])) <= budget:
            yield (start, end), True
            continue
        may_join = False
        for word in WORD.finditer(text, start, end):
            if len(tokenizer.ids_of(word[0])) <= budget:
                yield word.span(), may_join
            else:
                yield from ((part, False) for part in parts_of_word(text, word.span(), budget, tokenizer))
            may_join = True


def parts_of_word(text: str, word: Span, budget: int, tokenizer: PieceTokenizer) -> Iterator[Span]:
    start, word_end = word
    while start < word_end:
        end = min(word_end, start + CHARACTERS_PER_PIECE * budget)
        found = tokenizer.encode_batch([text[start:end]])[0]
        while len(found.ids) > budget and end > start + 1:
            end = start + max(1, min(found.offsets[budget][0], end - start - 1))
            found = tokenizer.encode_batch([text[start:end]])[0]
        yield start, end
        start = end
