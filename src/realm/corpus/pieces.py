"""Word pieces for the corpus: the tokenizer is handed in, and sees each distinct word once.

Knows that the pieces of a tokenizer of BERT's kind do not reach across white space, which makes a text's pieces
those of its words in a row; checks that of every tokenizer it gets. Knows no vocabulary and no network. Natural
text repeats its words, so looking them up is several times faster than tokenising all of it. Read `WordPieces`
first.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import Protocol

from realm.errors import ModelError

# BERT's normaliser deletes control characters, form feeds among them, and so joins what stood on both sides
# of one: they are white space to Python, but no word borders here.
_SPACE = " \t\n\r\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_NO_BORDER = re.compile("[\x0b\x0c\x1c-\x1f\x85]")
WORD = re.compile(f"[^{_SPACE}]+")

_PROBE = "Naïve readers\tdon't\nmind U.S. wörds\u00a0like 東京 or antidisestablishmentarianism."
_PIECE_BYTES = array("H").itemsize
_WORDS_PER_TEXT = 512
_LONGEST_KEPT = 100  # characters; a longer word, a megabyte of encoded image say, hardly comes twice
_CHARACTERS_PER_PIECE = 8  # how far a cut looks ahead, so that it takes linear time


class PieceTokenizer(Protocol):
    """What the corpus asks of a tokenizer; `realm.text.pieces` has one."""

    def encode_batch(self, texts: list[str]) -> Sequence[tuple[Sequence[int], Sequence[tuple[int, int]]]]:
        """Ids of every text's pieces, and the characters `[start, end)` of each; no special tokens."""
        ...


class _Known(dict[str, bytes]):
    """Pieces by word. Asked for a word it does not have, it says so in `missed` and goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.missed: list[str] = []

    def __missing__(self, word: str) -> bytes:
        self.missed.append(word)
        return b""


class WordPieces:
    """Looks up the pieces of words, and has those tokenised that it has not met.

    Pieces are handed out as `bytes` of native 16-bit ids, which join and measure quickly: see `count` and `ids`.
    """

    def __init__(self, tokenizer: PieceTokenizer, *, max_words: int = 1_000_000) -> None:
        """Hold `tokenizer`, and remember up to `max_words` words (some 150 bytes each) from one call to the next.

        Raises:
            ModelError: The tokenizer's pieces reach across white space, or its ids do not fit 16 bits.
        """
        self._tokenizer = tokenizer
        self._max_words = max_words
        self._known = _Known()
        (found,) = self.of_texts([_PROBE])
        if found != _pack(tokenizer.encode_batch([_PROBE])[0][0]):
            raise ModelError(
                "this tokenizer's pieces reach across white space, or it adds special tokens; blocks are cut with a "
                "tokenizer of BERT's kind that adds none"
            )

    def of_texts(self, texts: Sequence[str]) -> list[bytes]:
        """Pieces of every text. New words of all of them are tokenised together, so many texts at once are quick."""
        # `split` is quicker, and means the same unless one of these rare characters occurs.
        words = WORD.findall if _NO_BORDER.search("".join(texts)) else str.split
        known, look_up = self._known, self._known.__getitem__
        found: list[bytes] = []
        new: set[str] = set()
        waiting: list[int] = []
        for place, text in enumerate(texts):
            found.append(b"".join(map(look_up, words(text))))
            if known.missed:
                waiting.append(place)
                new.update(known.missed)
                known.missed.clear()
        if len(known) + len(new) > self._max_words:
            known.clear()
            new.update(word for place in waiting for word in words(texts[place]))
        self._learn(sorted(new))
        for place in waiting:
            found[place] = b"".join(map(look_up, words(texts[place])))
        for word in new:
            if len(word) > _LONGEST_KEPT:
                del known[word]
        return found

    def _learn(self, words: list[str]) -> None:
        """Tokenise words, many in one text, which is cheaper than one text each; offsets tell them apart."""
        groups = [words[start : start + _WORDS_PER_TEXT] for start in range(0, len(words), _WORDS_PER_TEXT)]
        encodings = self._tokenizer.encode_batch([" ".join(group) for group in groups])
        for group, (piece_ids, offsets) in zip(groups, encodings, strict=True):
            starts = [start for start, _ in offsets]
            first = 0
            for word, end in zip(group, accumulate(len(word) + 1 for word in group), strict=True):
                last = bisect_left(starts, end, first)
                self._known[word] = _pack(piece_ids[first:last])
                first = last

    def cut(self, word: str, max_pieces: int) -> list[tuple[int, int, bytes]]:
        """Cut a word of too many pieces between characters.

        Returns:
            Start, end and pieces of parts that make up the word. Each has at most `max_pieces`, tokenised by
            itself.
        """
        cuts = []
        start = 0
        while start < len(word):
            end = min(len(word), start + _CHARACTERS_PER_PIECE * max_pieces)
            piece_ids, offsets = self._tokenizer.encode_batch([word[start:end]])[0]
            while len(piece_ids) > max_pieces and end > start + 1:
                # By itself, what was the start of a word may have more pieces than it had there: then try
                # fewer characters.
                end = start + max(1, min(offsets[max_pieces][0], end - start - 1))
                piece_ids, offsets = self._tokenizer.encode_batch([word[start:end]])[0]
            cuts.append((start, end, _pack(piece_ids)))
            start = end
        return cuts


def count(pieces: bytes) -> int:
    """How many word pieces there are."""
    return len(pieces) // _PIECE_BYTES


def ids(pieces: bytes) -> tuple[int, ...]:
    """The ids of word pieces."""
    return tuple(array("H", pieces))


def _pack(piece_ids: Sequence[int]) -> bytes:
    try:
        return array("H", piece_ids).tobytes()
    except OverflowError as exc:
        raise ModelError(
            f"word-piece id {max(piece_ids):,} is over 65,535: vocabularies of up to 65,536 pieces fit"
        ) from exc
