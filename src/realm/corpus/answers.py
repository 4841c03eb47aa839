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
# Greek question mark, Greek varia, Kelvin sign: decomposed they are ; ` K.
_BECOME_ASCII = tuple(sign.encode() for sign in "\u037e\u1fef\u212a")
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
    return any(token in text and _compiled(pattern).search(text) for token, pattern in _patterns(tuple(answers)))


def which_contain_answer(
    texts: Sequence[bytes], answers: Sequence[str], answer_type: Literal["string", "regex"] = "string"
) -> list[bool]:
    """`contains_answer` for many texts in UTF-8: most that hold no answer are told without decoding them.

    Args:
        texts: The passages, verbatim.
        answers: See `contains_answer`.
        answer_type: The same.
    """
    needed = _needed_words(tuple(answers)) if answer_type == "string" else None
    if needed is None:
        return [contains_answer(text.decode(), answers, answer_type) for text in texts]
    possible: set[int] = set()
    lower = [text.lower() for text in texts]  # ASCII letters alone
    for word in needed:
        possible.update(place for place, text in enumerate(lower) if word in text)
    for sign in _BECOME_ASCII:
        possible.update(place for place, text in enumerate(lower) if sign in text)
    return [place in possible and contains_answer(texts[place].decode(), answers) for place in range(len(texts))]


@functools.lru_cache(maxsize=4096)
def _needed_words(answers: tuple[str, ...]) -> tuple[bytes, ...] | None:
    """A word of each answer that must stand in a text, whatever its case; None where no such words are known.

    A word of ASCII letters and digits with no mark after it comes from such letters and digits in the text: by
    canonical decomposition and lower case all other characters give none, or one with a mark after it; but for
    `_BECOME_ASCII`.
    """
    words = [word for word, _ in _patterns(answers)]
    if not all(word.isascii() and word.isalnum() for word in words):
        return None
    return tuple(word.encode() for word in words)


@functools.lru_cache(maxsize=4096)
def _patterns(answers: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
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
    return tuple((token, pattern) for pattern, token in found.items())


@functools.lru_cache(maxsize=4096)
def _compiled(pattern: str) -> Any:
    import regex

    return regex.compile(pattern)


def _bounded(token: str) -> str:
    import regex

    escaped = regex.escape(token, special_only=True)
    is_word = regex.match(f"[{_WORD}]", token)
    return rf"(?<![{_WORD}]){escaped}(?![{_WORD}])" if is_word else escaped
