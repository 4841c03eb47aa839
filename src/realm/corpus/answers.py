"""Whether a passage holds an answer: the test behind retrieval metrics and behind the supervision of
fine-tuning.

Knows texts only. Read `contains_answer` first. The pattern for an answer is made once and kept, so that
testing one question against thousands of blocks costs little more than searching them.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence
from typing import Any, Literal

from realm.corpus.expressions import ExpressionMatcher

# A letter, digit or combining mark makes words; a sign stands for itself; white space and control characters
# separate.
_WORD = r"\p{L}\p{N}\p{M}"
_TOKEN = rf"[{_WORD}]+|[^\p{{Z}}\p{{C}}{_WORD}]"
_GAP = r"[\p{Z}\p{C}]*"
# Remembers expressions that take too long, so that no second passage waits for them.
_MATCHER = ExpressionMatcher()


def contains_answer(text: str, answers: Sequence[str], answer_type: Literal["string", "regex"] = "string") -> bool:
    """Whether any of `answers` occurs in `text`.

    A string occurs if its tokens (words, and single signs) stand in the text in that order with nothing but
    white space between, in lower case and after canonical decomposition. A regular expression occurs if it is
    found anywhere, ignoring case, `^` and `$` at line borders, both sides canonically decomposed.

    Args:
        text: The passage, verbatim.
        answers: Any of them counts. One without tokens, or an invalid expression, never occurs; nor does an
            expression that once took longer than a second.
        answer_type: What the answers are.

    Source: DPR `dpr/data/qa_validation.py` (`has_answer`), with the tokens of its `SimpleTokenizer`.
    """
    if answer_type == "regex":
        return _MATCHER.anywhere(text, answers)
    text = unicodedata.normalize("NFD", text).lower()
    return any(token in text and pattern.search(text) for token, pattern in _token_patterns(tuple(answers)))


@functools.lru_cache(maxsize=4096)
def _token_patterns(answers: tuple[str, ...]) -> tuple[tuple[str, Any], ...]:
    """For each answer that has tokens its longest one, which is quick to rule out, and a pattern over lower-case
    decomposed text.

    Finding the pattern is the same as finding the answer's tokens in the text's: a word must end where its letters end,
    a sign is a token wherever it stands, and between tokens only separators may stand.
    """
    import regex

    found = {}
    for answer in answers:
        tokens = regex.findall(_TOKEN, unicodedata.normalize("NFD", answer).lower())
        if tokens:
            found[_GAP.join(_bounded(token) for token in tokens)] = max(tokens, key=len)
    return tuple((token, regex.compile(pattern)) for pattern, token in found.items())


def _bounded(token: str) -> str:
    import regex

    escaped = regex.escape(token, special_only=True)
    is_word = regex.match(f"[{_WORD}]", token)
    return rf"(?<![{_WORD}]){escaped}(?![{_WORD}])" if is_word else escaped
