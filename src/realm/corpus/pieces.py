"""Word pieces for the corpus: the tokenizer is handed in, and sees each distinct word once.

Knows that the pieces of a tokenizer of BERT's kind do not reach across white space, which makes a text's pieces
those of its words in a row; checks that of every tokenizer it gets. Where the tokenizer says that pieces do not reach
across ASCII punctuation either, each such sign is a word by itself, and far fewer words are distinct. Knows no
vocabulary and no network. Natural text repeats its words, so looking them up is several times faster than tokenising
all of it. Read `WordPieces` first.
"""

from __future__ import annotations

import functools
import re
import string
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from itertools import chain, pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from realm.corpus.words import WordNumbers, with_room
from realm.errors import ModelError

# BERT's normaliser deletes control characters, form feeds among them, and so joins what stood on both sides
# of one: they are white space to Python, but no word borders here.
_SPACE = " \t\n\r\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
WORD = re.compile(f"[^{_SPACE}]+")

_PROBE = "Naïve readers\tdon't\nmind U.S. wörds\u00a0like 東京 or (antidisestablishmentarianism)."
PIECE_BYTES = array("H").itemsize
_WORDS_PER_TEXT = 128
_PIECES_PER_WORD = 8
_CHARACTERS_PER_PIECE = 8  # how far a cut looks ahead, so that it takes linear time
_CHINESE = "一-\u9fff"
_NEVER = "(?!)"


class PieceTokenizer(Protocol):
    """What the corpus asks of a tokenizer; `realm.text.pieces` has one."""

    @property
    def splits_at_signs(self) -> bool:
        """Whether the pieces of a text are those of its parts before, in and behind every ASCII punctuation sign."""
        ...

    def encode_batch(self, texts: list[str]) -> Sequence[tuple[Sequence[int], Sequence[tuple[int, int]]]]:
        """Ids of every text's pieces, and the characters `[start, end)` of each; no special tokens."""
        ...


class PieceRows(NamedTuple):
    """Pieces of several texts in a row.

    Attributes:
        pieces: 16-bit ids.
        borders: Where the pieces of each text begin, and the end of the last.
    """

    pieces: NDArray[np.uint16]
    borders: NDArray[np.int64]


class WordPieces:
    """Looks up the pieces of words, and has those tokenised that it has not met.

    Pieces are handed out as `bytes` of native 16-bit ids, which join and measure quickly: see `count` and `ids`.
    """

    def __init__(self, tokenizer: PieceTokenizer, *, max_words: int = 1_000_000) -> None:
        """Hold `tokenizer`, and remember about `max_words` words (some 60 bytes each) from one call to the next.

        Raises:
            ModelError: The tokenizer's pieces reach across white space, or its ids do not fit 16 bits.
        """
        self._tokenizer = tokenizer
        self._max_words = max_words
        self._forget()
        # Learnt in another order than they stand in, so that pieces that belong to no word show.
        self.of_texts(sorted(_PROBE.split()))
        (found,) = self.of_texts([_PROBE])
        if found != _pack(tokenizer.encode_batch([_PROBE])[0][0]).tobytes():
            raise ModelError(
                "this tokenizer's pieces reach across white space, or it adds special tokens; blocks are cut with a "
                "tokenizer of BERT's kind that adds none"
            )
        signs = self._signs()
        self._sign, self._to_last_sign = re.compile(signs), re.compile(f"(?s:.*){signs}")

    def _signs(self) -> str:
        """Characters that are words by themselves to the tokenizer, as far as that is known; a regular expression."""
        if not self._tokenizer.splits_at_signs:
            return _NEVER
        *parts, whole = self.of_texts(["a", "東", "b", "a東b"])
        chinese = _CHINESE if b"".join(parts) == whole else ""
        return f"[{re.escape(string.punctuation)}{chinese}]"

    def _forget(self) -> None:
        signs = string.punctuation.encode() if self._tokenizer.splits_at_signs else b""
        self._numbers = WordNumbers(signs)
        # The word of number n has the pieces `_table[_borders[n] : _borders[n + 1]]`.
        self._table: NDArray[np.uint16] = np.zeros(_WORDS_PER_TEXT, np.uint16)
        self._borders: NDArray[np.int64] = np.zeros(_WORDS_PER_TEXT, np.int64)
        self._learnt = 0

    def of_texts(self, texts: Sequence[str]) -> list[bytes]:
        """Pieces of every text. New words of all of them are tokenised together, so many texts at once are quick."""
        pieces, borders = self.rows_of_texts(texts)
        found = pieces.tobytes()
        return [found[first:last] for first, last in pairwise((borders * PIECE_BYTES).tolist())]

    def rows_of_texts(self, texts: Sequence[str]) -> PieceRows:
        """Pieces of every text, as one array."""
        most_pieces = _PIECES_PER_WORD * self._max_words
        if len(self._numbers) > self._max_words or self._borders[self._learnt] > most_pieces:
            self._forget()
        numbers, word_borders, new = self._numbers.of_texts(texts)
        self._learn(new)
        firsts = self._borders[numbers]
        counts = self._borders[numbers + 1] - firsts
        borders = np.concatenate([[0], np.cumsum(counts)])
        # Where each piece stands in the table: its place in the result, moved by as much as its word is.
        places = np.arange(borders[-1]) + np.repeat(firsts - borders[:-1], counts)
        return PieceRows(self._table[places], borders[word_borders])

    def _learn(self, words: list[str]) -> None:
        """Tokenise new words, many in one text, which is cheaper than one text each; offsets tell them apart."""
        groups = [words[start : start + _WORDS_PER_TEXT] for start in range(0, len(words), _WORDS_PER_TEXT)]
        for group, (piece_ids, offsets) in zip(groups, self._encode(groups), strict=True):
            size = int(self._borders[self._learnt])
            starts = np.fromiter(chain.from_iterable(offsets), np.int64, 2 * len(offsets))[::2]
            ends = np.cumsum([len(word) + 1 for word in group])
            self._table = with_room(self._table, size + len(piece_ids))
            self._table[size : size + len(piece_ids)] = _pack(piece_ids)
            self._borders = with_room(self._borders, self._learnt + len(group) + 1)
            borders = size + np.searchsorted(starts, ends)
            self._borders[self._learnt + 1 : self._learnt + len(group) + 1] = borders
            self._learnt += len(group)

    def _encode(self, groups: list[list[str]]) -> Sequence[tuple[Sequence[int], Sequence[tuple[int, int]]]]:
        return self._tokenizer.encode_batch([" ".join(group) for group in groups]) if groups else []

    def cut(self, word: str, max_pieces: int) -> list[tuple[int, int, bytes]]:
        """Cut a word of too many pieces between characters.

        Returns:
            Start, end and pieces of parts that make up the word. Each has at most `max_pieces`, tokenised by
            itself.
        """
        cuts = []
        start, ahead = 0, max_pieces
        while start < len(word):
            limit = min(len(word), start + _CHARACTERS_PER_PIECE * max_pieces)
            end = start
            piece_ids: list[int] = []
            starts: list[int] = []  # where each piece begins
            while end < limit and len(piece_ids) <= max_pieces:
                border, end = end, self._border_from(word, end + ahead, limit)
                self._add(word, border, end, piece_ids, starts)
                ahead = max_pieces // 4 + 1
            while len(piece_ids) > max_pieces and end > start + 1:
                # By itself, what was the start of a word may have more pieces than it had there: then try
                # fewer characters.
                end = max(start + 1, min(starts[max_pieces], end - 1))
                border = self._border_before(word, start, end)
                kept = bisect_left(starts, border)
                del piece_ids[kept:], starts[kept:]
                self._add(word, border, end, piece_ids, starts)
            cuts.append((start, end, _pack(piece_ids).tobytes()))
            # The next part will be about as long.
            start, ahead = end, end - start
        return cuts

    def _border_from(self, word: str, wanted: int, limit: int) -> int:
        """The first place from `wanted` to `limit` that pieces do not reach across, as far as known; else `limit`."""
        sign = self._sign.search(word, wanted - 1, limit) if wanted < limit else None
        return sign.end() if sign else limit

    def _border_before(self, word: str, start: int, end: int) -> int:
        """The last place from `start` to `end` that pieces do not reach across, as far as known; else `start`."""
        if self._sign.match(word, end):
            return end
        sign = self._to_last_sign.match(word, start, end)
        return sign.end() if sign else start

    def _add(self, word: str, start: int, end: int, piece_ids: list[int], starts: list[int]) -> None:
        """Tokenise part of a word."""
        if start < end:
            found, offsets = self._tokenizer.encode_batch([word[start:end]])[0]
            piece_ids += found
            starts += [start + first for first, _ in offsets]


def count(pieces: bytes) -> int:
    """How many word pieces there are."""
    return len(pieces) // PIECE_BYTES


def first_pieces(pieces: bytes, max_pieces: int) -> bytes:
    """At most the first `max_pieces` word pieces."""
    return pieces[: max_pieces * PIECE_BYTES]


def ids(pieces: bytes) -> tuple[int, ...]:
    """The ids of word pieces. Equal ones are one object: a number by itself takes 28 bytes, a document has millions."""
    return tuple(_numbers()[np.frombuffer(pieces, np.uint16)].tolist())


@functools.cache
def _numbers() -> NDArray[Any]:
    return np.arange(1 << 16).astype(object)


def _pack(piece_ids: Sequence[int]) -> NDArray[np.uint16]:
    try:
        return np.frombuffer(array("H", piece_ids), np.uint16)
    except OverflowError as exc:
        raise ModelError(
            f"word-piece id {max(piece_ids):,} is over 65,535: vocabularies of up to 65,536 pieces fit"
        ) from exc
