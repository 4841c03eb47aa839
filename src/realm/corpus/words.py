"""The words of texts as numbers: each distinct word gets one, and a text's words are looked up all at once.

Natural text repeats its words, and a look-up by arrays costs a small part of what one `dict` access for each word does.
Words of up to 15 bytes of UTF-8, nearly all of English, are packed into two integers and found in a hash table of
arrays, by comparing all of their bytes; longer ones are found in a `dict`. Knows no word pieces. Read
`WordNumbers.of_texts` first.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

_SPACE = b" \t\n\r"
_PACKED_BYTES = 15  # and one for the length, so that "a" and "a\0" differ
_KEY_BYTES = 16
_LONGEST_KEPT_BYTES = 100  # a longer word, a megabyte of encoded image say, hardly comes twice
_FEWEST_SLOTS = 1 << 12
_FREE = -1
_BETWEEN, _INSIDE, _ALONE = range(3)  # what a byte is: between words, inside one, a word by itself

Scalar = TypeVar("Scalar", bound=np.generic)
Numbers = NDArray[np.int64]
# A word as it is compared: its bytes in two little-endian integers, zeros behind them, its length in the last byte.
Keys = NDArray[np.uint64]


class Found(NamedTuple):
    """Words of several texts in a row.

    Attributes:
        numbers: The number of each word.
        borders: Where each text's words begin, and the end of the last.
        new: Words that have been given a number just now, in the order of their numbers.
    """

    numbers: Numbers
    borders: Numbers
    new: list[str]


class WordNumbers:
    """Gives every distinct word a number, counted up from 0."""

    def __init__(self, signs: bytes = b"") -> None:
        """Words end at ASCII white space; `signs` are ASCII characters that are words by themselves as well."""
        kinds = {**dict.fromkeys(_SPACE, _BETWEEN), **dict.fromkeys(signs, _ALONE)}
        self._kinds = bytes(kinds.get(byte, _INSIDE) for byte in range(256))
        # By chance, so that no text can be made whose words all meet in one place.
        self._factors = np.array([secrets.randbits(64) | 1, secrets.randbits(64) | 1], np.uint64)
        self._slots = np.full(_FEWEST_SLOTS, _FREE, np.int32)
        self._keys: Keys = np.zeros((_FEWEST_SLOTS, 2), np.uint64)  # by number; zeros for longer words
        self._long: dict[bytes, int] = {}
        self._given = 0

    def __len__(self) -> int:
        """How many numbers have been given."""
        return self._given

    def of_texts(self, texts: Sequence[str]) -> Found:
        """The words of each text. Those over 100 bytes are forgotten at once: they are new every time."""
        raw, ends = _joined(texts)
        starts, stops = _runs(np.frombuffer(raw.translate(self._kinds), np.uint8)[:-_KEY_BYTES])
        lengths = stops - starts
        keys = _keys(raw, starts, lengths)
        numbers = self._find(keys)
        is_long = lengths > _PACKED_BYTES
        numbers[is_long] = _FREE
        unknown = np.flatnonzero(numbers == _FREE)
        words = [raw[start:stop] for start, stop in zip(starts[unknown].tolist(), stops[unknown].tolist(), strict=True)]
        new = self._number(words, unknown, numbers, keys)
        borders = np.concatenate([[0], np.searchsorted(starts, ends)])
        return Found(numbers, borders, [word.decode("utf-8", "surrogatepass") for word in new])

    def _number(self, words: list[bytes], places: Numbers, numbers: Numbers, keys: Keys) -> list[bytes]:
        """Number words that the arrays do not hold: new ones, repeated ones among them, and long ones."""
        met = self._long
        new: list[bytes] = []
        packed: list[int] = []
        first = self._given
        found = []
        for place, word in zip(places.tolist(), words, strict=True):
            number = met.get(word)
            if number is None:
                number = met[word] = first + len(new)
                new.append(word)
                if len(word) <= _PACKED_BYTES:
                    packed.append(place)
            found.append(number)
        numbers[places] = found
        self._given += len(new)
        self._insert(numbers[packed], keys[packed])
        for word in new:
            if not _PACKED_BYTES < len(word) <= _LONGEST_KEPT_BYTES:
                del met[word]
        return new

    def _homes(self, keys: Keys) -> Numbers:
        """The slot where a key is looked for first."""
        shift = np.uint64(64 - (len(self._slots).bit_length() - 1))
        mixed = keys[:, 0] * self._factors[0] + keys[:, 1] * self._factors[1]
        homes: Numbers = (mixed >> shift).astype(np.int64)
        return homes

    def _find(self, keys: Keys) -> Numbers:
        """The number of each key, or `_FREE`."""
        slots = self._homes(keys)
        numbers = self._slots[slots]
        others = np.flatnonzero(self._are_others(numbers, keys))
        while len(others):
            slots[others] = (slots[others] + 1) % len(self._slots)
            numbers[others] = self._slots[slots[others]]
            others = others[self._are_others(numbers[others], keys[others])]
        return numbers.astype(np.int64)

    def _are_others(self, numbers: NDArray[np.int32], keys: Keys) -> NDArray[np.bool_]:
        """Where the number is that of another key."""
        differences = np.take(self._keys, numbers, axis=0) ^ keys
        are_others: NDArray[np.bool_] = (numbers != _FREE) & ((differences[:, 0] | differences[:, 1]) != 0)
        return are_others

    def _insert(self, numbers: Numbers, keys: Keys) -> None:
        """Put in keys that are not there yet."""
        self._keys = with_room(self._keys, self._given)
        self._keys[numbers] = keys
        if 2 * self._given > len(self._slots):
            self._slots = np.full(1 << (3 * self._given).bit_length(), _FREE, np.int32)
            numbers = np.flatnonzero(self._keys[: self._given, 1])
            keys = self._keys[numbers]
        slots = self._homes(keys)
        while len(numbers):
            is_free = self._slots[slots] == _FREE
            # Of several keys for one slot the last stays; the others go on to the next.
            self._slots[slots[is_free]] = numbers[is_free]
            lost = self._slots[slots] != numbers
            numbers, slots = numbers[lost], (slots[lost] + 1) % len(self._slots)


def with_room(array: NDArray[Scalar], rows: int) -> NDArray[Scalar]:
    """The array, or one that begins with it and has at least so many rows, and twice as many as before."""
    if rows <= len(array):
        return array
    larger = np.zeros((max(rows, 2 * len(array)), *array.shape[1:]), array.dtype)
    larger[: len(array)] = array
    return larger


def _joined(texts: Sequence[str]) -> tuple[bytes, Numbers]:
    """The texts as UTF-8, each with a line break behind it and some zeros behind all, and where each ends."""
    text = "\n".join([*texts, "\0" * _KEY_BYTES])
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)) + 1)
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) != len(text):
        is_first = (np.frombuffer(raw, np.uint8) & 0xC0) != 0x80  # first byte of a character
        ends = np.flatnonzero(is_first)[ends]
    return raw, ends


def _runs(kinds: NDArray[np.uint8]) -> tuple[Numbers, Numbers]:
    """Start and end of each word."""
    is_inside = kinds == _INSIDE
    is_start = kinds == _ALONE
    is_last = is_start.copy()
    is_start[:1] |= is_inside[:1]
    is_start[1:] |= is_inside[1:] > is_inside[:-1]
    is_last[:-1] |= is_inside[:-1] > is_inside[1:]  # what comes last is a line break
    return np.flatnonzero(is_start), np.flatnonzero(is_last) + 1


def _masks() -> tuple[Keys, Keys]:
    """For each length of a word, which bits of its key are of it, and those that hold the length."""
    lengths = np.arange(_PACKED_BYTES + 2)
    is_own = np.arange(_KEY_BYTES) < lengths[:, None]
    own = (is_own * np.uint8(255)).view("<u8").astype(np.uint64)
    return own, lengths.astype(np.uint64) << np.uint64(56)


_OWN_BITS, _LENGTH_BITS = _masks()


def _keys(raw: bytes, starts: Numbers, lengths: Numbers) -> Keys:
    """The keys of words; of longer ones, something that is no word's."""
    windows = np.ndarray(len(raw) - _KEY_BYTES + 1, f"V{_KEY_BYTES}", raw, strides=(1,))
    keys = windows[starts].view("<u8").reshape(-1, 2).astype(np.uint64, copy=False)
    kinds = np.minimum(lengths, _PACKED_BYTES + 1)
    keys &= np.take(_OWN_BITS, kinds, axis=0)
    keys[:, 1] |= np.take(_LENGTH_BITS, kinds)
    return keys
