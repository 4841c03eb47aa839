"""What a job tells the person who started it, besides the figures of its steps."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass

from realm.corpus.skips import SkipReport
from realm.training.distributed import Processes
from realm.training.embedding_progress import EmbeddingProgress

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobReport:
    """Called while a job reads its sources and embeds its corpus, which can take longer than training.

    Attributes:
        opening: With what is being made of the sources, and how many blocks are done.
        embedding: With how far the embedding of all blocks is; from several threads in turn.
        say: With what a person should know.
    """

    opening: Callable[[str, int], None] = lambda what, blocks: None
    embedding: Callable[[EmbeddingProgress], None] = lambda progress: None
    say: Callable[[str], None] = _LOG.warning

    def opening_of(self, what: str) -> Callable[[int], None]:
        """`opening` of one thing."""
        return functools.partial(self.opening, what)

    def say_skipped(self, what: str, skipped: SkipReport) -> None:
        """Say on the first process how many of something were left out, and why, if any were."""
        if skipped.total and Processes.current().is_first:
            self.say(f"{what}: {skipped.summary()}")


QUIET = JobReport()
"""Tells nothing but warnings."""
