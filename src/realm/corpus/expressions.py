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
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

SECONDS_PER_MATCH = 1.0

T = TypeVar("T")


def invalid_expressions(expressions: Iterable[str]) -> set[str]:
    """Those that are no regular expressions, as they are or decomposed: they are never found, or not anywhere."""
    return {
        expression
        for expression in expressions
        if _compiled(expression) is None or _compiled(unicodedata.normalize("NFD", expression)) is None
    }


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

    def places(self, text: str, expressions: Sequence[str]) -> list[tuple[int, int]]:
        """Half-open character ranges of all matches that are not empty, in the text as it is.

        Differs: `anywhere` decomposes the text, which moves its characters; what it finds may have no place here.
        """
        found: list[tuple[int, int]] = []
        for expression in expressions:
            found += self._tried(expression, lambda pattern: self._spans(pattern, text)) or []
        return found

    def _spans(self, pattern: Any, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in pattern.finditer(text, timeout=self._seconds) if match.group()]

    def _finds(self, expression: str, text: str, method: str) -> bool:
        found = self._tried(expression, lambda pattern: getattr(pattern, method)(text, timeout=self._seconds))
        return found is not None

    def _tried(self, expression: str, use: Callable[[Any], T]) -> T | None:
        """What is made of an expression; None if it is invalid or takes too long, now or earlier."""
        pattern = None if expression in self.given_up else _compiled(expression)
        if pattern is None:
            return None
        try:
            return use(pattern)
        except TimeoutError:
            self.given_up.add(expression)
            return None


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
