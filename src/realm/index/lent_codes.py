"""Rows that a FAISS fast-scan index reads where they lie, such as in a mapped file, instead of copying them first.

A copy of all rows is as much traffic to memory as the scan itself. FAISS keeps the codes of a fast-scan index in an
aligned table, a pointer and a number of bytes, which its Python names but does not open; so the two words are read and
set with ctypes, after `tables_are_known` has seen that they are what they are taken for. Knows bytes only.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from jaxtyping import UInt8

_ALIGNMENT = 32
_PROBE_BYTES = 4096


class _Table(ctypes.Structure):
    """FAISS's `AlignedTableTightAlloc<uint8_t>`."""

    _fields_ = (("pointer", ctypes.c_void_p), ("bytes", ctypes.c_size_t))


@contextmanager
def lent(index: Any, codes: UInt8[np.ndarray, "*shape"]) -> Iterator[None]:
    """Let an index read these codes, and give it back its own afterwards.

    Args:
        index: A fast-scan index; it must not add or drop rows meanwhile.
        codes: As it lays them out, in one piece.

    Raises:
        ValueError: They are not in one piece, or do not begin where FAISS can load from.
    """
    if not codes.flags.c_contiguous or codes.ctypes.data % _ALIGNMENT:
        raise ValueError(f"codes must be in one piece and begin at a multiple of {_ALIGNMENT} bytes")
    table = _Table.from_address(int(index.codes.tab))
    own = table.pointer, table.bytes
    table.pointer, table.bytes = codes.ctypes.data, codes.nbytes
    try:
        yield
    finally:
        table.pointer, table.bytes = own


def tables_are_known(index: Any) -> bool:
    """Whether this FAISS's tables are laid out as `lent` supposes; `index` is one without rows."""
    try:
        for bytes_ in (_PROBE_BYTES, 2 * _PROBE_BYTES):
            index.codes.resize(bytes_)
            table = _Table.from_address(int(index.codes.tab))
            if (table.pointer, table.bytes) != (int(index.codes.get()), index.codes.size()):
                return False
    except (AttributeError, TypeError, ValueError):
        return False
    return True


def aligned(codes: UInt8[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """A copy that may be lent."""
    memory = np.frombuffer(mmap.mmap(-1, max(1, codes.nbytes)), np.uint8, count=codes.nbytes).reshape(codes.shape)
    memory[...] = codes
    return memory
