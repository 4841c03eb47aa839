"""Exact match and token F1 of answers, as ORQA and SQuAD define them."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_answer(text: str) -> str:
    """NFD, lower case, ASCII punctuation deleted, articles removed, white space collapsed.

    Source: google-research `language/orqa/utils/eval_utils.py` (865fae6), as of SQuAD's script.
    """
    lowered = unicodedata.normalize("NFD", text).lower()
    return " ".join(_ARTICLES.sub(" ", lowered.translate(_PUNCTUATION)).split())


def exact_match(prediction: str, references: Iterable[str]) -> bool:
    """Whether a prediction equals any reference once both are normalised."""
    normalized = normalize_answer(prediction)
    return any(normalize_answer(reference) == normalized for reference in references)


def token_f1(prediction: str, references: Iterable[str]) -> float:
    """Best harmonic mean of token precision and recall over the references, in [0, 1]."""
    return max(
        (_f1(normalize_answer(prediction).split(), normalize_answer(r).split()) for r in references), default=0.0
    )


def _f1(predicted: list[str], reference: list[str]) -> float:
    shared = sum((Counter(predicted) & Counter(reference)).values())
    if not shared:
        return float(predicted == reference)
    precision, recall = shared / len(predicted), shared / len(reference)
    return 2 * precision * recall / (precision + recall)
