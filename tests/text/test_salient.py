"""Salient sentences: names of any tagger and dates, each inside one sentence."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from realm.text.dates import date_spans
from realm.text.names import RuleTagger
from realm.text.salient import (
    DATE,
    SalientSpan,
    salient_sentences,
    sentences_with_spans,
    with_dates,
    without_overlap,
)
from realm.text.sentences import sentence_spans


class FixedTagger:
    """Gives the spans it was made with."""

    finds_dates = False

    def __init__(self, *spans: SalientSpan) -> None:
        self.given = list(spans)

    def spans(self, texts: Sequence[str]) -> list[list[SalientSpan]]:
        return [self.given for _ in texts]


SPANS = st.lists(
    st.builds(
        lambda start, length, kind: SalientSpan(start, start + length, kind),
        st.integers(0, 40), st.integers(1, 12), st.sampled_from(["name", DATE]),
    ),
    max_size=12,
)  # fmt: skip


def test_a_sentence_has_the_names_and_dates_inside_it() -> None:
    text = "Ada left. She saw Paris in May 1867. Nobody came. Bob did."
    found = salient_sentences([text, ""], RuleTagger())
    assert [[text[span.start : span.end] for span in sentence.spans] for sentence in found[0]] == [
        ["Ada"],
        ["Paris", "May 1867"],
        ["Bob"],
    ]
    assert [text[sentence.start : sentence.end] for sentence in found[0]] == [
        "Ada left.",
        "She saw Paris in May 1867.",
        "Bob did.",
    ]
    assert found[1] == []


def test_dates_are_added_to_what_any_tagger_finds() -> None:
    text = "It was Ely in 1867. Yes."
    (found,) = salient_sentences([text], FixedTagger(SalientSpan(7, 10, "LOC")))
    assert [tuple(span) for span in found[0].spans] == [(7, 10, "LOC"), (14, 18, DATE)]


def test_span_over_the_border_of_a_sentence_is_left_out() -> None:
    text = "He met Ada. Bob came."
    assert salient_sentences([text], FixedTagger(SalientSpan(7, 15, "PER"))) == [[]]


def test_white_space_at_the_ends_of_a_span_is_trimmed_and_spans_of_it_alone_are_dropped() -> None:
    text = "He met  Ada now."
    spans = with_dates(text, [SalientSpan(6, 12, "PER"), SalientSpan(6, 8, "PER")])
    assert spans == [SalientSpan(8, 11, "PER")]


def test_the_longest_of_overlapping_spans_is_kept_and_of_equal_ones_the_date() -> None:
    spans = [SalientSpan(0, 4, "name"), SalientSpan(0, 4, DATE), SalientSpan(5, 9, DATE), SalientSpan(5, 12, "name")]
    assert without_overlap(spans) == [SalientSpan(0, 4, DATE), SalientSpan(5, 12, "name")]


@given(SPANS)
def test_without_overlap_is_what_the_slow_way_gives(spans: list[SalientSpan]) -> None:
    kept: list[SalientSpan] = []
    for span in sorted(spans, key=lambda s: (s.start - s.end, s.kind != DATE, s.start)):
        if all(span.end <= other.start or other.end <= span.start for other in kept):
            kept.append(span)
    assert without_overlap(spans) == sorted(kept)


@given(SPANS, st.sets(st.integers(0, 50), max_size=8))
def test_sentences_have_exactly_the_spans_inside_them(spans: list[SalientSpan], borders: set[int]) -> None:
    ordered = without_overlap(spans)
    edges = sorted(borders)
    sentences = list(zip(edges[::2], edges[1::2], strict=False))
    expected = [
        (start, end, tuple(span for span in ordered if start <= span.start and span.end <= end))
        for start, end in sentences
    ]
    found = sentences_with_spans(sentences, ordered)
    assert [tuple(sentence) for sentence in found] == [sentence for sentence in expected if sentence[2]]


@given(st.text(alphabet="Ab 19MayBC.\n'-") | st.text())
def test_every_date_inside_a_sentence_is_in_its_sentence(text: str) -> None:
    (found,) = salient_sentences([text], FixedTagger())
    borders = sentence_spans(text)
    inside = [d for d in date_spans(text) if any(start <= d[0] and d[1] <= end for start, end in borders)]
    assert [(span.start, span.end) for sentence in found for span in sentence.spans] == inside
    for sentence in found:
        assert (sentence.start, sentence.end) in borders
