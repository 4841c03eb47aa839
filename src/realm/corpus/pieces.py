"""Word pieces for the corpus: the tokenizer is handed in, and sees each distinct word once.

Knows that the pieces of a tokenizer of BERT's kind do not reach across white space, which makes a text's pieces
those of its words in a row; checks that of every tokenizer it gets. Knows no vocabulary and no network. Natural
text repeats its words, so looking them up is several times faster than tokenising all of it. Read `WordPieces`
first.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from realm.errors import ModelError

# BERT's normaliser deletes control characters, form feeds among them, and so joins what stood on both sides
# of one: they are white space to Python, but no word borders here.
_SPACE = " \t\n\r\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_NO_BORDER = "\x0b\x0c\x1c\x1d\x1e\x1f\x85"
WORD = re.compile(f"[^{_SPACE}]+")

_PROBE = "Naïve readers\tdon't\nmind U.S. wörds\u00a0like 東京 or antidisestablishmentarianism."
PIECE_BYTES = array("H").itemsize
_WORDS_PER_TEXT = 128
_PIECES_PER_WORD = 8
_LONGEST_KEPT = 100  # characters; a longer word, a megabyte of encoded image say, hardly comes twice
_CHARACTERS_PER_PIECE = 8  # how far a cut looks ahead, so that it takes linear time


class PieceTokenizer(Protocol):
    """What the corpus asks of a tokenizer; `realm.text.pieces` has one."""

    def encode_batch(self, texts: list[str]) -> Sequence[tuple[Sequence[int], Sequence[tuple[int, int]]]]:
        """Ids of every text's pieces, and the characters `[start, end)` of each; no special tokens."""
        ...


class _Codes(dict[str, int]):
    """Numbers for words, in the order they are first asked for; `missed` collects the new ones."""

    def __init__(self) -> None:
        super().__init__()
        self.given = 0
        self.missed: list[str] = []

    def __missing__(self, word: str) -> int:
        code = self[word] = self.given
        self.given += 1
        self.missed.append(word)
        return code


class WordPieces:
    """Looks up the pieces of words, and has those tokenised that it has not met.

    Pieces are handed out as `bytes` of native 16-bit ids, which join and measure quickly: see `count` and `ids`.
    """

    def __init__(self, tokenizer: PieceTokenizer, *, max_words: int = 1_000_000) -> None:
        """Hold `tokenizer`, and remember about `max_words` words (some 150 bytes each) from one call to the next.

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

    def _forget(self) -> None:
        # The word of code c has the pieces `_table[_borders[c] : _borders[c + 1]]`.
        self._codes = _Codes()
        self._table = np.empty(0, np.uint16)
        self._borders = np.zeros(1, np.int64)

    def of_texts(self, texts: Sequence[str]) -> list[bytes]:
        """Pieces of every text. New words of all of them are tokenised together, so many texts at once are quick."""
        if self._codes.given > self._max_words or len(self._table) > _PIECES_PER_WORD * self._max_words:
            self._forget()
        ends: list[int] = []
        codes = np.fromiter(map(self._codes.__getitem__, chain.from_iterable(_words(texts, ends))), np.int64)
        self._learn(self._codes.missed)
        self._codes.missed = []
        firsts = self._borders[codes]
        counts = self._borders[codes + 1] - firsts
        borders = np.concatenate([[0], np.cumsum(counts)])
        # Where each piece stands in the table: its place in the result, moved by as much as its word is.
        places = np.arange(borders[-1]) + np.repeat(firsts - borders[:-1], counts)
        found = self._table[places].tobytes()
        limits = (borders[[0, *ends]] * PIECE_BYTES).tolist()
        return [found[first:last] for first, last in pairwise(limits)]

    def _learn(self, words: list[str]) -> None:
        """Tokenise new words, many in one text, which is cheaper than one text each; offsets tell them apart."""
        groups = [words[start : start + _WORDS_PER_TEXT] for start in range(0, len(words), _WORDS_PER_TEXT)]
        tables, borders, size = [self._table], [self._borders], len(self._table)
        for group, (piece_ids, offsets) in zip(groups, self._encode(groups), strict=True):
            starts = np.fromiter((start for start, _ in offsets), np.int64, len(offsets))
            ends = np.cumsum([len(word) + 1 for word in group])
            tables.append(_pack(piece_ids))
            borders.append(size + np.searchsorted(starts, ends))
            size += len(piece_ids)
        self._table, self._borders = np.concatenate(tables), np.concatenate(borders)
        for word in words:
            if len(word) > _LONGEST_KEPT:
                del self._codes[word]

    def _encode(self, groups: list[list[str]]) -> Sequence[tuple[Sequence[int], Sequence[tuple[int, int]]]]:
        return self._tokenizer.encode_batch([" ".join(group) for group in groups]) if groups else []

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
            cuts.append((start, end, _pack(piece_ids).tobytes()))
            start = end
        return cuts


def count(pieces: bytes) -> int:
    """How many word pieces there are."""
    return len(pieces) // PIECE_BYTES


def first_pieces(pieces: bytes, max_pieces: int) -> bytes:
    """At most the first `max_pieces` word pieces."""
    return pieces[: max_pieces * PIECE_BYTES]


def ids(pieces: bytes) -> tuple[int, ...]:
    """The ids of word pieces."""
    return tuple(array("H", pieces))


def _words(texts: Sequence[str], ends: list[int]) -> Iterator[list[str]]:
    """The words of each text. `ends` gets the number of words up to the end of each."""
    total = 0
    # `split` is quicker, and means the same unless one of these rare characters occurs.
    is_odd = any(map("".join(texts).__contains__, _NO_BORDER))
    split = WORD.findall if is_odd else str.split
    for text in texts:
        words = split(text)
        total += len(words)
        ends.append(total)
        yield words


def _pack(piece_ids: Sequence[int]) -> NDArray[np.uint16]:
    try:
        return np.frombuffer(array("H", piece_ids), np.uint16)
    except OverflowError as exc:
        raise ModelError(
            f"word-piece id {max(piece_ids):,} is over 65,535: vocabularies of up to 65,536 pieces fit"
        ) from exc
