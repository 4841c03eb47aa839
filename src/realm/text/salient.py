"""Spans worth masking, and the sentences they stand in: names found by a tagger, and dates.

    text ──sentence_spans──────────────> sentences ──┐
      ├────tagger (rules or a network)─> names ──┬───┴─> SalientSentence: a sentence with the spans inside it
      └────date_spans──────────────────> dates ──┘

A salient span needs knowledge of the world to be filled in, which is what makes a retriever useful (Guu et al. 2020,
section 3.4). Knows characters only; taggers that need networks live in `training.taggers`. Read `salient_sentences`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol

from realm.text.dates import date_spans
from realm.text.sentences import sentence_spans

DATE = "date"


class SalientSpan(NamedTuple):
    """A name or a date.

    Attributes:
        start: First character.
        end: One past the last character.
        kind: "date", or what the tagger calls it, such as "name" or "PER".
    """

    start: int
    end: int
    kind: str


class SalientSentence(NamedTuple):
    """A sentence with at least one salient span.

    Attributes:
        start: First character of the sentence in the text.
        end: One past its last character.
        spans: The salient spans inside it, in reading order, without overlap; their characters too are those of
            the text, not of the sentence.
    """

    start: int
    end: int
    spans: tuple[SalientSpan, ...]


class Tagger(Protocol):
    """Finds names.

    Attributes:
        finds_dates: Whether dates are among them and no spans overlap; otherwise both is seen to afterwards.
    """

    @property
    def finds_dates(self) -> bool: ...

    def spans(self, texts: Sequence[str]) -> list[list[SalientSpan]]:
        """Names of each text. What is found in one text must not depend on the others."""
        ...


def salient_sentences(texts: Sequence[str], tagger: Tagger) -> list[list[SalientSentence]]:
    """The sentences of each text that have salient spans, dates among them.

    Args:
        texts: Blocks or documents.
        tagger: Finds the names.

    Returns:
        For each text its sentences in reading order. A span that reaches over the border of a sentence is left
        out. Of spans that overlap the longest is kept, of equally long ones the date.

    Source: google-research `language/realm/preprocessing.py` (865fae6), `text_features_to_query`.
    """
    found = tagger.spans(texts)
    if not tagger.finds_dates:
        found = [with_dates(text, spans) for text, spans in zip(texts, found, strict=True)]
    return [sentences_with_spans(sentence_spans(text), spans) for text, spans in zip(texts, found, strict=True)]


def with_dates(text: str, spans: Iterable[SalientSpan]) -> list[SalientSpan]:
    """`spans` and the dates of `text`, trimmed of white space at their ends, in reading order and without overlap."""
    dates = [SalientSpan(start, end, DATE) for start, end in date_spans(text)]
    return without_overlap([*dates, *(trimmed for span in spans if (trimmed := _trimmed(text, span)))])


def without_overlap(spans: Iterable[SalientSpan]) -> list[SalientSpan]:
    """In reading order; of spans that overlap the longest is kept, of equally long ones a date, then the first."""
    ordered = sorted(spans)
    if all(left.end <= right.start for left, right in pairwise(ordered)):
        return ordered
    kept: list[SalientSpan] = []
    for span in sorted(ordered, key=lambda s: (s.start - s.end, s.kind != DATE, s.start)):
        place = bisect_right(kept, span)
        is_free_before = place == 0 or kept[place - 1].end <= span.start
        if is_free_before and (place == len(kept) or span.end <= kept[place].start):
            kept.insert(place, span)
    return kept


def sentences_with_spans(sentences: Sequence[tuple[int, int]], spans: Sequence[SalientSpan]) -> list[SalientSentence]:
    """Each sentence with the spans that lie wholly inside it; sentences without any are left out.

    Args:
        sentences: Character ranges in reading order, without overlap.
        spans: In reading order, without overlap.
    """
    starts = [start for start, _ in sentences]
    inside: dict[int, list[SalientSpan]] = {}
    for span in spans:
        number = bisect_right(starts, span.start) - 1
        if number >= 0 and span.end <= sentences[number][1]:
            inside.setdefault(number, []).append(span)
    return [SalientSentence(*sentences[number], tuple(found)) for number, found in inside.items()]


def _trimmed(text: str, span: SalientSpan) -> SalientSpan | None:
    words = text[span.start : span.end]
    start = span.start + len(words) - len(words.lstrip())
    end = start + len(words.strip())
    return SalientSpan(start, end, span.kind) if end > start else None
