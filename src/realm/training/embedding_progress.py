"""How far the embedding of a corpus is, and when to say so."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

_REPORT_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class EmbeddingProgress:
    """How far this process is with its share.

    Attributes:
        done: Blocks whose vectors are there.
        total: Blocks of its share.
        found: Of those done, how many were there already.
        seconds: Time so far.
    """

    done: int
    total: int
    found: int
    seconds: float

    @property
    def blocks_per_second(self) -> float:
        """Rate of this run."""
        return (self.done - self.found) / max(self.seconds, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """None as long as there is no rate."""
        return (self.total - self.done) / self.blocks_per_second if self.done > self.found else None


class Watch:
    """Counts blocks as threads finish them, and says so now and then."""

    def __init__(self, total: int, found: int, progress: Callable[[EmbeddingProgress], None] | None) -> None:
        self._total, self._found, self._done = total, found, found
        self._progress = progress
        self._lock = threading.Lock()
        self._begin = self._said = time.monotonic()

    def add(self, blocks: int) -> None:
        """So many more are done; say so if it is time."""
        with self._lock:
            self._done += blocks
            if time.monotonic() - self._said >= _REPORT_SECONDS:
                self.say()

    def say(self) -> None:
        """Say how far it is."""
        self._said = time.monotonic()
        if self._progress is not None:
            self._progress(EmbeddingProgress(self._done, self._total, self._found, self._said - self._begin))
