"""A set of strings at 16 bytes each: their digests, in sorted runs.

Knows no documents. A Python set of ids takes seven times as much: for millions of documents, more than all the rest
of reading. Strings that were added last wait in a small Python set; from time to time they are sorted into runs,
and runs of similar length are merged, so that there are few to search and adding stays cheap.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

_DIGEST_BYTES = 16
_WAITING = 1 << 15
_GROWTH = 4


class DigestSet:
    """Strings that were added, known by 128 bits of BLAKE2b.

    Two different strings of equal digest would be taken for one. For 10^12 strings the probability that any two
    of them are is below 10^-14; with 64 bits it would be next to certain.
    """

    def __init__(self) -> None:
        self._waiting: set[bytes] = set()
        # By first byte, so that merging copies a 256th at a time.
        self._runs: list[list[NDArray[np.bytes_]]] = [[] for _ in range(256)]

    def add(self, text: str) -> bool:
        """Add a string; whether it is new."""
        digest = _digest(text)
        if self._has(digest):
            return False
        self._waiting.add(digest)
        if len(self._waiting) >= _WAITING:
            self._settle()
        return True

    def __contains__(self, text: object) -> bool:
        """Whether a string was added."""
        return isinstance(text, str) and self._has(_digest(text))

    def _has(self, digest: bytes) -> bool:
        return digest in self._waiting or any(_holds(run, digest) for run in self._runs[digest[0]])

    def _settle(self) -> None:
        """Sort what waits into the runs."""
        waiting = np.sort(np.frombuffer(b"".join(self._waiting), dtype=f"S{_DIGEST_BYTES}"))
        self._waiting.clear()
        first_bytes = waiting.view(np.uint8)[::_DIGEST_BYTES]
        ends = np.searchsorted(first_bytes, np.arange(256), side="right")
        for runs, new in zip(self._runs, np.split(waiting, ends[:-1]), strict=True):
            run = new.copy()
            while runs and len(runs[-1]) < _GROWTH * len(run):
                run = np.concatenate([runs.pop(), run])
                run.sort(kind="stable")
            runs.append(run)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).digest()


def _holds(run: NDArray[np.bytes_], digest: bytes) -> bool:
    place = int(run.searchsorted(digest))
    # NumPy hands out byte strings without the zeros at their end.
    return place < len(run) and bool(run[place] == digest.rstrip(b"\0"))
