"""Exact match and token F1 of answers, as ORQA and SQuAD define them.

Knows texts only. `compare` gives all three at once and normalises every text once; the others are one of them.
"""

from __future__ import annotations

import functools
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


class Comparison(NamedTuple):
    """One prediction against its references.

    Attributes:
        exact: Equal to a reference by ORQA's normalisation.
        squad_exact: Equal to a reference by SQuAD's.
        f1: Best token F1 over the references, by SQuAD's normalisation.
    """

    exact: bool
    squad_exact: bool
    f1: float


def compare(prediction: str, references: Iterable[str]) -> Comparison:
    """Exact match by both rules, and F1. Without references nothing is right."""
    references = tuple(references)
    normalized = normalize_squad_answer(prediction)
    candidates = [_normalize_reference(reference) for reference in references]
    squad_exact = normalized in candidates
    f1 = max((_f1(normalized, candidate) for candidate in candidates), default=0.0)
    if prediction.isascii() and all(reference.isascii() for reference in references):
        return Comparison(squad_exact, squad_exact, f1)  # decomposition changes no ASCII text
    return Comparison(exact_match(prediction, references), squad_exact, f1)


def normalize_answer(text: str) -> str:
    """NFD, lower case, ASCII punctuation deleted, articles removed, white space collapsed.

    Source: google-research `language/orqa/utils/eval_utils.py` (865fae6), as of SQuAD's script.
    """
    return normalize_squad_answer(unicodedata.normalize("NFD", text))


def normalize_squad_answer(text: str) -> str:
    """Lower case, ASCII punctuation deleted, articles removed, white space collapsed.

    Source: SQuAD's evaluation scripts, 1.1 and 2.0.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, references: Iterable[str]) -> bool:
    """Whether a prediction equals any reference once both are normalised as ORQA does."""
    normalized = normalize_answer(prediction)
    return any(normalize_answer(reference) == normalized for reference in references)


def squad_exact_match(prediction: str, references: Iterable[str]) -> bool:
    """Whether a prediction equals any reference once both are normalised as SQuAD does."""
    return compare(prediction, references).squad_exact


def token_f1(prediction: str, references: Iterable[str]) -> float:
    """Best harmonic mean of token precision and recall over the references, in [0, 1], by SQuAD's normalisation.

    Source: SQuAD's evaluation scripts.
    Differs: where prediction and reference both have no tokens, version 1.1 gives 0; 2.0 and we give 1.
    """
    return compare(prediction, references).f1


@functools.lru_cache(maxsize=1 << 16)
def _normalize_reference(text: str) -> str:
    """Two files that are compared have the same references."""
    return normalize_squad_answer(text)


def _f1(predicted: str, reference: str) -> float:
    if predicted == reference:
        return 1.0
    ours, theirs = predicted.split(), reference.split()
    if set(ours).isdisjoint(theirs):
        return 0.0
    shared = sum((Counter(ours) & Counter(theirs)).values())
    precision, recall = shared / len(ours), shared / len(theirs)
    return 2 * precision * recall / (precision + recall)
