"""Annotated files of others: spans where they belong, offsets in bytes made characters, and hostile input."""

from __future__ import annotations

import gzip
import json
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.corpus.skips import SkipReport
from realm.errors import SourceError
from realm.interop.tfexample import serialise_example
from realm.interop.tfrecord import write_tfrecord
from realm.training.annotated import read_annotated

TEXT = "Él wohnt in Köln. 東京 1867 is 😀 old."


def google_record(text: str, sentences: list[tuple[int, int]], spans: list[tuple[int, int]]) -> dict[str, Any]:
    """Features with offsets in bytes, of ranges in characters."""

    def at(character: int) -> int:
        return len(text[:character].encode())

    return {
        "title": ["Ti té".encode()],
        "text": [text.encode()],
        "sentence_byte_start": [at(start) for start, _ in sentences],
        "sentence_byte_limit": [at(end) for _, end in sentences],
        "span_byte_start": [at(start) for start, _ in spans],
        "span_byte_limit": [at(end) for _, end in spans],
    }


def write_google(path: Path, *records: dict[str, Any]) -> Path:
    write_tfrecord(path, [serialise_example(record) for record in records], compression="gzip")
    return path


def write_emdr2(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def emdr2(text: str, *entities: Any) -> dict[str, Any]:
    return {"doc_id": 7, "sent_text": text, "bert_ent_pos": [[0, 1]], "linguistic_ent": list(entities)}


def test_byte_offsets_of_google_become_characters(tmp_path: Path) -> None:
    sentences, spans = [(0, 17), (18, len(TEXT))], [(12, 16), (18, 20), (21, 25)]
    path = write_google(tmp_path / "a.tfrecord.gz", google_record(TEXT, sentences, spans), google_record("x", [], []))
    first, second = read_annotated(path)
    assert (first.id, first.title, first.text) == ("a.tfrecord.gz:0", "Ti té", TEXT)
    assert [(s.start, s.end) for s in first.sentences] == sentences
    assert [[TEXT[span.start : span.end] for span in s.spans] for s in first.sentences] == [["Köln"], ["東京", "1867"]]
    assert second.sentences == []


@given(
    st.text(alphabet="aé東😀 ", min_size=1, max_size=30),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=6),
)
def test_google_spans_are_the_same_text_as_their_bytes(
    tmp_path_factory: pytest.TempPathFactory, text: str, ranges: list[tuple[int, int]]
) -> None:
    spans = [(min(a, b), max(a, b)) for a, b in ranges if a != b and max(a, b) <= len(text)]
    path = write_google(tmp_path_factory.mktemp("g") / "a", google_record(text, [(0, len(text))], spans))
    (found,) = read_annotated(path)
    wanted = {text[a:b].strip() for a, b in spans}
    kept = [span for sentence in found.sentences for span in sentence.spans]
    assert all(text[span.start : span.end] in wanted for span in kept)
    assert bool(kept) == any(wanted)
    assert all(left.end <= right.start for left, right in pairwise(kept))


def test_spans_that_cannot_be_used_are_counted(tmp_path: Path) -> None:
    record = google_record(TEXT, [(0, 17), (18, len(TEXT))], [(12, 20), (21, 25), (21, 24)])
    record["span_byte_start"].append(1)  # inside É
    record["span_byte_limit"].append(3)
    report = SkipReport()
    (found,) = read_annotated(write_google(tmp_path / "a", record), report)
    assert [TEXT[s.start : s.end] for sentence in found.sentences for s in sentence.spans] == ["1867"]
    assert report.reasons == {"crosses_sentence": 1, "inside_character": 1, "overlapping_span": 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": [b"\xff\xfe"]}, "not UTF-8"),
        ({"text": [b"a", b"b"]}, "not one bytes value"),
        ({"text": [1, 2]}, "not one bytes value"),
        ({"title": None}, "not one bytes value"),
        ({"span_byte_start": [b"x"]}, "holds no integers"),
        ({"span_byte_start": [1.5]}, "holds no integers"),
        ({"span_byte_limit": None}, "is missing or holds no integers"),
        ({"span_byte_start": [-1]}, "points outside"),
        ({"span_byte_limit": [2**62]}, "points outside"),
        ({"span_byte_start": [0, 0]}, "no pairs"),
        ({"span_byte_start": [5], "span_byte_limit": [3]}, "no pairs"),
        ({"sentence_byte_start": [1], "sentence_byte_limit": [9]}, "inside a character"),
        ({"sentence_byte_start": [0, 2], "sentence_byte_limit": [9, 12]}, "overlap or are out of order"),
    ],
)
def test_damaged_google_record_is_one_line_with_its_number(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    good = google_record(TEXT, [(0, 17)], [(12, 16)])
    bad = {name: values for name, values in (good | change).items() if values is not None}
    texts = read_annotated(write_google(tmp_path / "a.gz", good, bad))
    assert next(texts).text == TEXT
    with pytest.raises(SourceError, match=message) as caught:
        list(texts)
    assert "record 1 of" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_any_damage_to_a_google_file_gives_one_clear_error(tmp_path: Path) -> None:
    whole = write_google(
        tmp_path / "a.gz", *(google_record(TEXT, [(0, 17)], [(12, 16)]) for _ in range(3))
    ).read_bytes()
    choice = random.Random(2)
    for number in range(150):
        plain = bytearray(gzip.decompress(whole))
        if number % 3 == 0:
            data = whole[: choice.randrange(1, len(whole))]
        elif number % 3 == 1:
            data = bytes(plain[: choice.randrange(len(plain) - 1)] + b"x")
        else:
            plain[choice.randrange(len(plain))] ^= 1 << choice.randrange(8)
            data = gzip.compress(bytes(plain))
        (tmp_path / "b").write_bytes(data)
        with pytest.raises(SourceError) as caught:
            list(read_annotated(tmp_path / "b"))
        assert "\n" not in str(caught.value)


def test_any_bytes_as_a_google_record_give_texts_or_one_clear_error(tmp_path: Path) -> None:
    payload = serialise_example(google_record(TEXT, [(0, 17)], [(12, 16)]))
    choice, messages = random.Random(3), []
    for _ in range(300):
        damaged = bytearray(payload)
        for _ in range(choice.randrange(1, 4)):
            damaged[choice.randrange(len(damaged))] = choice.randrange(256)
        write_tfrecord(tmp_path / "b", [bytes(damaged)])
        try:
            (found,) = read_annotated(tmp_path / "b")
        except SourceError as exc:
            messages.append(str(exc))
            continue
        for sentence in found.sentences:
            assert all(sentence.start <= span.start < span.end <= sentence.end for span in sentence.spans)
    assert messages
    assert all("record 0 of" in message and "\n" not in message for message in messages)


def test_entities_of_emdr2_are_spans_of_their_sentence(tmp_path: Path) -> None:
    text = "Ada Lovelace lived in London and London."
    path = write_emdr2(
        tmp_path / "s.jsonl",
        emdr2(text, ["Ada Lovelace", "PERSON", 0, 12], ["London", "GPE", 33, 39]),
        emdr2(text, ["Lovelace", "PERSON", 104, 112]),  # counted from the document: mended, it stands here once
    )
    first, second = read_annotated(path)
    assert (first.id, first.title, first.text) == ("7", "", text)
    assert [tuple(span) for span in first.sentences[0].spans] == [(0, 12, "PERSON"), (33, 39, "GPE")]
    assert [tuple(span) for span in second.sentences[0].spans] == [(4, 12, "PERSON")]
    assert (first.sentences[0].start, first.sentences[0].end) == (0, len(text))


def test_entities_whose_place_is_unknown_are_counted(tmp_path: Path) -> None:
    text = "Ada met Ada."
    report = SkipReport()
    path = write_emdr2(tmp_path / "s.jsonl", emdr2(text, ["Ada", "PERSON", 50, 53], ["Bob", "PERSON", 0, 3]))
    (found,) = read_annotated(path, report)
    assert found.sentences == []
    assert report.reasons == {"misplaced_span": 2}


@pytest.mark.parametrize(
    "record",
    [
        {"sent_text": "a", "doc_id": 1},
        {"sent_text": "", "linguistic_ent": []},
        {"sent_text": 5, "linguistic_ent": []},
        {"sent_text": "a", "linguistic_ent": {}},
        {"sent_text": "a", "linguistic_ent": [["a", "X", 0]]},
        {"sent_text": "a", "linguistic_ent": [["a", "X", "0", 1]]},
        {"sent_text": "a", "linguistic_ent": [[" ", "X", 0, 1]]},
        {"sent_text": "a", "linguistic_ent": ["a"]},
        {"sent_text": "a", "doc_id": [], "linguistic_ent": []},
        {"sent_text": "\ud800", "linguistic_ent": []},
        [1],
    ],
)
def test_damaged_emdr2_line_is_one_line_with_its_number(tmp_path: Path, record: Any) -> None:
    path = write_emdr2(tmp_path / "s.jsonl", emdr2("Ada.", ["Ada", "P", 0, 3]), record)
    texts = read_annotated(path)
    next(texts)
    with pytest.raises(SourceError, match=r"s\.jsonl:2") as caught:
        list(texts)
    assert "\n" not in str(caught.value)


def test_emdr2_file_that_is_cut_off_is_an_error(tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(json.dumps(emdr2(f"Ada {n}.")).encode() + b"\n" for n in range(500)))
    (tmp_path / "s.jsonl.gz").write_bytes(whole[:-20])
    with pytest.raises(SourceError, match=r"breaks off|cut off|s\.jsonl\.gz"):
        list(read_annotated(tmp_path / "s.jsonl.gz"))


@pytest.mark.parametrize("name", ["none.jsonl", "none.tfrecord.gz"])
def test_missing_file_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match="none"):
        list(read_annotated(tmp_path / name))
