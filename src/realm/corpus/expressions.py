"""Answers that are regular expressions, as CuratedTREC gives them, matched in bounded time.

Two published readings of the same references, which give different figures:

    at the start    ORQA and DrQA's reader score a prediction so: `match` on the text as it is
    anywhere        DrQA's retriever looks for answers so: `search`, both sides canonically decomposed

Knows texts only. An expression that takes too long is given up and counts as no match from then on.
"""

from __future__ import annotations

import contextlib
import functools
import unicodedata
import warnings
from collections.abc import Sequence
from typing import Any

SECONDS_PER_MATCH = 1.0


class ExpressionMatcher:
    """Matches expressions, each with a time limit.

    Args:
        seconds: How long one match may take.

    Attributes:
        given_up: Expressions that took longer. They are not tried again.
    """

    def __init__(self, seconds: float = SECONDS_PER_MATCH) -> None:
        self._seconds = seconds
        self.given_up: set[str] = set()

    def at_start(self, text: str, expressions: Sequence[str]) -> bool:
        """Whether any of the expressions matches from the first character of the text on, ignoring case.

        Source: google-research `language/orqa/utils/eval_utils.py` (865fae6). An invalid expression never matches.
        """
        return any(self._finds(expression, text, "match") for expression in expressions)

    def anywhere(self, text: str, expressions: Sequence[str]) -> bool:
        """Whether any of the expressions is found in the text, ignoring case; see `corpus.answers.contains_answer`.

        Source: DrQA `scripts/retriever/eval.py`, DPR `dpr/data/qa_validation.py`.
        """
        text = unicodedata.normalize("NFD", text)
        return any(self._finds(unicodedata.normalize("NFD", expression), text, "search") for expression in expressions)

    def _finds(self, expression: str, text: str, method: str) -> bool:
        if expression in self.given_up:
            return False
        pattern = _compiled(expression)
        if pattern is None:
            return False
        try:
            return getattr(pattern, method)(text, timeout=self._seconds) is not None
        except TimeoutError:
            self.given_up.add(expression)
            return False


@functools.lru_cache(maxsize=1 << 14)
def _compiled(expression: str) -> Any:
    """The expression as `re` would understand it, by the library that knows time limits; None where it is invalid."""
    import regex

    flags = regex.IGNORECASE | regex.UNICODE | regex.MULTILINE | regex.VERSION0
    # Python doubts some patterns of other people's question files, such as "[[a]"; they mean what they meant.
    with warnings.catch_warnings(), contextlib.suppress(regex.error, OverflowError, RecursionError):
        warnings.simplefilter("ignore")
        return regex.compile(expression, flags)
    return None
