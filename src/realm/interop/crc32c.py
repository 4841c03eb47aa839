"""CRC-32C (Castagnoli), the checksum of every TensorFlow file, with numpy alone.

Three ways, by size: a byte loop (under 32 bytes); one table look-up per byte, all at once; and for large
pieces a fold that needs no table, at memory speed. Knows no file format.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

_POLYNOMIAL: Final = 0x82F63B78  # reflected: bit 31 is the constant term
_MASK_DELTA: Final = 0xA282EAD8
_ALL_ONES: Final = 0xFFFFFFFF
_SHORT_BYTES: Final = 32
_CHUNK_BYTES: Final = 4096

# The polynomial divides x^6777 + x^484 + x^100 + 1 (over GF(2)), hence also its 64th power, whose exponents
# are 64 times as large: whole 64-bit words. So a word may be moved 6777, 6777-100 and 6777-484 words towards
# the end without changing the remainder. Four terms are the fewest there can be, and this choice leaves the
# longest first step.
_FOLD_WORDS: Final = 6777
_FOLD_STEPS: Final = (_FOLD_WORDS - 484, _FOLD_WORDS - 100, _FOLD_WORDS)
_FOLD_FROM_BYTES: Final = 3 * 8 * _FOLD_WORDS
_FOLD_PIECE_BYTES: Final = 1 << 23


def _byte_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return table


_BYTE_TABLE: Final = _byte_table()


@cache
def _position_table() -> tuple[NDArray[np.uint32], NDArray[np.intp]]:
    """What byte value v at place p of a chunk adds to the remainder, at [256 p + v]; and every 256 p."""
    last = np.array(_BYTE_TABLE, dtype=np.uint32)
    table = np.empty((_CHUNK_BYTES, 256), dtype=np.uint32)
    row = last
    for place in range(_CHUNK_BYTES - 1, -1, -1):
        table[place] = row
        row = last[row & 0xFF] ^ (row >> 8)
    return table.reshape(-1), np.arange(_CHUNK_BYTES, dtype=np.intp) * 256


def crc32c(data: bytes | bytearray | memoryview | NDArray[np.uint8], crc: int = 0) -> int:
    """CRC-32C of `data`, continuing from `crc`, so that crc32c(a + b) == crc32c(b, crc32c(a)).

    Args:
        data: Contiguous bytes.
        crc: Checksum of what came before; 0 at the start.

    Returns:
        The checksum, 0 to 2**32 - 1. 0 for no bytes at all.
    """
    state = crc ^ _ALL_ONES
    if len(data) < _SHORT_BYTES:
        return _bytewise(data, state) ^ _ALL_ONES
    view = np.frombuffer(data, dtype=np.uint8)
    if len(view) >= _FOLD_FROM_BYTES:
        for start in range(0, len(view), _FOLD_PIECE_BYTES):
            piece = view[start : start + _FOLD_PIECE_BYTES]
            state = _folded(piece, state) if len(piece) >= _FOLD_FROM_BYTES else _by_table(piece, state)
    else:
        state = _by_table(view, state)
    return state ^ _ALL_ONES


def mask(crc: int) -> int:
    """How TensorFlow stores a checksum, so that bytes that hold one can be checksummed in turn."""
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & _ALL_ONES


def unmask(masked: int) -> int:
    """The checksum that `mask` turned into `masked`."""
    rotated = (masked - _MASK_DELTA) & _ALL_ONES
    return ((rotated >> 17) | (rotated << 15)) & _ALL_ONES


def _bytewise(data: bytes | bytearray | memoryview | NDArray[np.uint8], state: int) -> int:
    for byte in bytes(data):
        state = _BYTE_TABLE[(state ^ byte) & 0xFF] ^ (state >> 8)
    return state


def _by_table(view: NDArray[np.uint8], state: int) -> int:
    """Remainder after `view`: an entry per byte, XORed. The old state is as if added to the first four."""
    table, places = _position_table()
    for start in range(0, len(view), _CHUNK_BYTES):
        chunk = view[start : start + _CHUNK_BYTES]
        if len(chunk) < 4:
            return _bytewise(chunk, state)
        rows = places[_CHUNK_BYTES - len(chunk) :]
        remainder = int(np.bitwise_xor.reduce(table.take(rows + chunk)))
        first = int(rows[0])
        for place in range(4):
            remainder ^= int(table[first + 256 * place + ((state >> (8 * place)) & 0xFF)])
        state = remainder
    return state


def _folded(view: NDArray[np.uint8], state: int) -> int:
    """Remainder after `view`, reduced by XOR of long slices to its last words, and these by table."""
    whole = len(view) // 8 * 8
    words = view[:whole].view("<u8").copy()
    words[0] ^= np.uint64(state)
    start, stop = 0, len(words) - _FOLD_WORDS
    while start < stop:
        count = min(_FOLD_STEPS[0], stop - start)
        head = words[start : start + count]
        for step in _FOLD_STEPS:
            words[start + step : start + step + count] ^= head
        start += count
    return _by_table(view[whole:], _by_table(words[stop:].view(np.uint8), 0))
