"""Texts whose salient spans others have marked: sentences of EMDR2, passages of Google's REALM.

    EMDR2    JSON lines {"doc_id", "sent_text", "linguistic_ent": [[text, type, start, end], …]}, offsets in characters
    Google   TFRecords of tf.Example: bytes title, text; int64 sentence_byte_start, sentence_byte_limit,
             span_byte_start, span_byte_limit, offsets in bytes of UTF-8; may be packed with gzip

Both come one at a time. A span that cannot be used is counted in a `SkipReport`; a record that is damaged stops the
reading with one line. Knows files, no word pieces. Read `read_annotated` first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from realm.corpus.fields import kind_of, optional_text, record_id, require_text
from realm.corpus.lines import JSON_LINES_SUFFIXES, Record, read_records
from realm.corpus.skips import BadRecord, Skipper, SkipReport, shortened
from realm.errors import SourceError
from realm.interop.tfexample import Feature, parse_example
from realm.interop.tfrecord import iterate_tfrecord
from realm.text.salient import SalientSentence, SalientSpan, sentences_with_spans, without_overlap

_SPAN: Final = "span"
_ENTITY_FIELDS: Final = 4
_OFFSETS: Final = ("sentence_byte_start", "sentence_byte_limit", "span_byte_start", "span_byte_limit")


class AnnotatedText(NamedTuple):
    """A text and its sentences that have salient spans.

    Attributes:
        id: Of the record, or `<file name>:<number>`.
        title: Of its document; may be empty.
        text: The passage or the sentence.
        sentences: As `text.salient.salient_sentences` gives them.
    """

    id: str
    title: str
    text: str
    sentences: list[SalientSentence]


def read_annotated(path: Path, report: SkipReport | None = None) -> Iterator[AnnotatedText]:
    """Texts of an annotated file; which of the two formats it has is seen from its name.

    Args:
        path: JSON lines (`.jsonl`, `.jsonl.gz`, `.jsonl.zst`) of EMDR2, or else TFRecords of Google's.
        report: Counts spans that are left out: `misplaced_span` (its text does not stand where it says, nor anywhere
            just once), `crosses_sentence`, `inside_character` (it begins or ends within a character of UTF-8),
            `overlapping_span`.

    Raises:
        SourceError: The file is missing, damaged, or not of its format; the message names the record. Texts before it
            have been given out by then.
    """
    report = SkipReport() if report is None else report
    if path.name.lower().endswith(JSON_LINES_SUFFIXES):
        return read_records(path, lambda record: _of_emdr2(record, report), Skipper(False, None))
    return _read_google(path, report)


def _of_emdr2(record: Record, report: SkipReport) -> AnnotatedText:
    fields = record.fields
    text = require_text(fields, "sent_text", "no_text")
    entities = fields.get("linguistic_ent")
    if not isinstance(entities, list):
        found = "is missing" if "linguistic_ent" not in fields else f"is {kind_of(entities)}"
        raise BadRecord("bad_spans", f'"linguistic_ent" {found}; it must be a list of [text, type, start, end]')
    spans = [span for entity in entities if (span := _entity(text, entity, record.place, report))]
    id = record_id({"id": fields.get("doc_id")}, record.default_id)
    whole = [(0, len(text))]
    return AnnotatedText(
        id, optional_text(fields, "title", "bad_title"), text, _sentences(whole, spans, record.place, report)
    )


def _entity(text: str, entity: Any, place: str, report: SkipReport) -> SalientSpan | None:
    """The span of an entity. Offsets that count from elsewhere are mended where its text stands just once."""
    match entity:
        case [str(words), str(kind), int(start), int(end)] if words.strip():
            pass
        case _:
            raise BadRecord(
                "bad_spans", f'"linguistic_ent" holds {shortened(repr(entity))}; expected [text, type, start, end]'
            )
    if not (0 <= start < end and text[start:end] == words):
        start = text.find(words)
        if start < 0 or text.find(words, start + 1) >= 0:
            report.add("misplaced_span", f"{place}: {shortened(words)!r} does not stand at {entity[2]} to {entity[3]}")
            return None
    return _trimmed(text, start, start + len(words), kind)


def _read_google(path: Path, report: SkipReport) -> Iterator[AnnotatedText]:
    for number, payload in enumerate(iterate_tfrecord(path)):
        place = f"record {number} of {path}"
        try:
            text = _of_google(parse_example(payload), f"{path.name}:{number}", place, report)
        except (BadRecord, SourceError) as exc:
            raise SourceError(f"{place}: {exc}") from exc
        yield text


def _of_google(features: Mapping[str, Feature], id: str, place: str, report: SkipReport) -> AnnotatedText:
    data, text = _text(features, "text")
    title = _text(features, "title")[1]
    characters = _character_of_byte(data)
    starts, limits, span_starts, span_limits = (_offsets(features, name, len(data)) for name in _OFFSETS)
    for first, second, what in ((starts, limits, "sentence"), (span_starts, span_limits, "span")):
        if len(first) != len(second) or any(a >= b for a, b in zip(first, second, strict=True)):
            raise BadRecord(
                "bad_offsets", f"{what}_byte_start and {what}_byte_limit are no pairs of a start and an end"
            )
    sentences = [(characters[a], characters[b]) for a, b in zip(starts, limits, strict=True)]
    if any(a < 0 or b < 0 for a, b in sentences):
        raise BadRecord("bad_offsets", "a sentence begins or ends inside a character of UTF-8")
    if any(left[1] > right[0] for left, right in pairwise(sentences)):
        raise BadRecord("bad_offsets", "sentences overlap or are out of order")
    spans = []
    for a, b in zip(span_starts, span_limits, strict=True):
        if characters[a] < 0 or characters[b] < 0:
            report.add("inside_character", f"{place}: the span of bytes {a} to {b} cuts a character of UTF-8")
        elif span := _trimmed(text, characters[a], characters[b], _SPAN):
            spans.append(span)
    return AnnotatedText(id, title, text, _sentences(sentences, spans, place, report))


def _text(features: Mapping[str, Feature], name: str) -> tuple[bytes, str]:
    """The one bytes value of a feature, and as text."""
    match features.get(name):
        case [bytes(data)]:
            pass
        case _:
            raise BadRecord("no_text", f"the feature {name!r} is not one bytes value; found {sorted(features)[:8]}")
    try:
        return data, data.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise BadRecord("not_utf8", f"the feature {name!r} is not UTF-8 at byte {exc.start}") from exc


def _offsets(features: Mapping[str, Feature], name: str, size_bytes: int) -> list[int]:
    """Byte offsets of a feature, each inside the text; a list without a kind is an empty one."""
    values = features.get(name)
    if isinstance(values, list) and not values:
        return []
    if not isinstance(values, np.ndarray) or values.dtype != np.int64:
        raise BadRecord("bad_offsets", f"the feature {name!r} is missing or holds no integers")
    if values.size and not (int(values.min()) >= 0 and int(values.max()) <= size_bytes):
        raise BadRecord("bad_offsets", f"{name} points outside the text of {size_bytes:,} bytes")
    return [int(value) for value in values]


def _character_of_byte(data: bytes) -> list[int]:
    """Number of the character that begins at each byte, and at the end; -1 inside a character."""
    raw = np.frombuffer(data, dtype=np.uint8)
    begins = (raw & 0xC0) != 0x80
    numbers = np.where(begins, np.cumsum(begins) - 1, -1)
    return [*numbers.tolist(), int(begins.sum())]


def _sentences(
    sentences: list[tuple[int, int]], spans: list[SalientSpan], place: str, report: SkipReport
) -> list[SalientSentence]:
    kept = without_overlap(set(spans))
    for _ in range(len(set(spans)) - len(kept)):
        report.add("overlapping_span", f"{place}: of spans that overlap only the longest is kept")
    found = sentences_with_spans(sentences, kept)
    for _ in range(len(kept) - sum(len(sentence.spans) for sentence in found)):
        report.add("crosses_sentence", f"{place}: a span does not lie inside one sentence")
    return found


def _trimmed(text: str, start: int, end: int, kind: str) -> SalientSpan | None:
    words = text[start:end]
    start += len(words) - len(words.lstrip())
    end = start + len(words.strip())
    return SalientSpan(start, end, kind) if start < end else None
