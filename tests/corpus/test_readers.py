"""Documents from every kind of file, and what a file that is not what it claims to be does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from formats import (
    RECORD_SUFFIXES,
    RECORDS,
    TEXTS,
    WHOLE_FILE_SUFFIXES,
    can_be_seen,
    compressed,
    file_of_records,
    whole_file,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import realm.corpus.lines
from realm.corpus.readers import read_documents
from realm.corpus.skips import SkipReport
from realm.errors import SourceError
from realm.records import Document

GOOD = b'{"id": "good", "text": "A good one."}\n'


def read(*sources: Path) -> list[Document]:
    return list(read_documents(sources))


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst"])
def test_json_lines_give_one_document_per_record(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"docs{suffix}"
    lines = [
        {
            "id": "a",
            "title": "Änne",
            "text": "Eins.\nZwei.",
            "year": 1905,
            "good": True,
            "rate": 0.5,
            "by": "x",
        },
        {"id": 7, "text": "Drei.", "none": None, "list": [1], "object": {"a": 1}, "title": None},
        {"text": "Vier."},
    ]
    data = "\n\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    path.write_bytes(compressed(data.encode(), suffix))
    assert read(path) == [
        Document(
            "a",
            "Änne",
            "Eins.\nZwei.",
            f"{path}:1",
            {"year": "1905", "good": "true", "rate": "0.5", "by": "x"},
        ),
        Document("7", "", "Drei.", f"{path}:3", {"list": "[1]"}),
        Document(f"docs{suffix}:5", "", "Vier.", f"{path}:5"),
    ]


@settings(max_examples=30)
@given(texts=st.lists(TEXTS.filter(can_be_seen), min_size=1))
def test_texts_come_back_unchanged(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("docs")
    path = folder / "docs.jsonl.zst"
    data = "\n".join(json.dumps({"text": text}) for text in texts).encode()
    path.write_bytes(compressed(data, path.name))
    # A file begins with a byte order mark or it does not; the mark is not text.
    expected = {f"{place}.txt": text.removeprefix("\ufeff") for place, text in enumerate(texts)}
    for name, text in expected.items():
        (folder / name).write_bytes(text.encode())
    assert [document.text for document in read(path)] == texts
    found = {document.id: document.text for document in read(folder) if document.id.endswith(".txt")}
    assert expected.items() <= found.items()


def test_line_endings_of_a_text_file_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfOne.\r\nTwo.\rThree.\n")
    assert read(tmp_path / "a.txt")[0].text == "One.\r\nTwo.\rThree.\n"


def test_folder_is_read_to_the_bottom_in_order_without_hidden_files(tmp_path: Path) -> None:
    for name in ("b/c.txt", "b.txt", "a/z.md", ".git/x.txt", "b/.x.txt", "b/image.png", "B.TXT"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("Text.")
    (tmp_path / "a/lines.jsonl").write_text('{"text": "Line."}')
    report = SkipReport()
    documents = list(read_documents([tmp_path], report=report))
    assert [document.id for document in documents] == [
        "B.TXT",
        "a/lines.jsonl:1",
        "a/z.md",
        "b.txt",
        "b/c.txt",
    ]
    assert documents[4].source == str(tmp_path / "b/c.txt")
    assert report.summary() == "skipped 1: other_kind 1"
    assert str(tmp_path / "b/image.png") in report.examples["other_kind"]


@pytest.mark.parametrize(
    ("name", "text", "title"),
    [
        ("how_to-win.txt", "# no heading here", "how to win"),
        ("notes.md", "Intro.\n\n## The *first* heading ##\n# Second", "The *first* heading"),
        ("notes.md", "```sh\n# a comment\n```\nReal title\n==========\n", "Real title"),
        ("my_notes.md", "#hashtag is no heading\n\n---\n", "my notes"),
        ("my_notes.md", "Nothing\nhere.", "my notes"),
    ],
)
def test_title_is_the_first_heading_or_the_name_made_readable(tmp_path: Path, name: str, text: str, title: str) -> None:
    (tmp_path / name).write_text(text)
    assert read(tmp_path / name) == [Document(name, title, text, str(tmp_path / name))]


BAD_LINES = [
    (b'{"id": "x", "text": "caf\xe9"}', "not_utf8", "not UTF-8: byte 0xe9 at offset 62 of the file: save it as UTF-8"),
    (b'{"text": "a"', "broken_json", "broken JSON: Expecting ',' delimiter at column 13"),
    (b"[" * 100_000, "broken_json", "broken JSON: nested too deeply"),
    (b'{"id": ' + b"1" * 5000 + b"}", "broken_json", "broken JSON: a number of more than 4,300 digits; write it as a"),
    (b'["a"]', "broken_json", "the line is a list; it must be a JSON object"),
    (b'{"id": "x"}', "no_text", '"text" is missing; it must be a string'),
    (b'{"text": 5}', "no_text", '"text" is a number; it must be a string'),
    (b'{"text": " \\n "}', "no_text", '"text" is empty; it must hold text'),
    (b'{"text": "\\u200b \\ufeff\\u0001"}', "no_text", '"text" holds no visible character; it must hold text'),
    (b'{"text": "a\\u0000"}', "no_text", '"text" has the character U+0000 at 1; take it out'),
    (b'{"text": "a", "by": "\\u0000"}', "bad_metadata", '"by" has the character U+0000 at 0'),
    (b'{"text": "\\ud800"}', "no_text", '"text" has half of a surrogate pair at character 0'),
    (b'{"text": "a", "title": 5}', "bad_title", '"title" is a number; it must be a string'),
    (b'{"text": "a", "id": true}', "bad_id", '"id" is true or false; it must be a string or a whole number'),
    (b'{"text": "a", "id": " "}', "bad_id", '"id" is empty; it must hold text'),
    (b'{"text": "a", "by": "\\ud800"}', "bad_metadata", '"by" has half of a surrogate pair at character 0'),
    (b'{"text": "a", "id": "good"}', "duplicate_id", 'the id "good" is already that of '),
    (b'{"text": "a", "id": "x\0"}', "not_text", "byte 0 at offset 60 of the file, as in UTF-16"),
]


@pytest.mark.parametrize(("line", "reason", "problem"), BAD_LINES)
def test_bad_line_is_an_error_that_names_it_or_is_counted(
    tmp_path: Path, line: bytes, reason: str, problem: str
) -> None:
    path = tmp_path / "docs.jsonl"
    path.write_bytes(GOOD + line + b"\n" + GOOD.replace(b'"good"', b'"last"'))
    with pytest.raises(SourceError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}:2: {problem}")
    assert "\n" not in str(caught.value)
    report = SkipReport()
    kept = list(read_documents([path], skip_bad=True, report=report))
    assert [document.id for document in kept] == ["good", "last"]
    assert report.reasons == {reason: 1}
    assert report.examples[reason] == str(caught.value)


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".jsonl.zst"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign"])
def test_broken_stream_is_an_error_or_is_counted(tmp_path: Path, suffix: str, damage: str) -> None:
    lines = b"".join(b'{"id": %d, "text": "%d"}\n' % (number, number**9) for number in range(9000))
    data = bytearray(compressed(lines, suffix))
    if damage == "flipped":
        data[len(data) // 2] ^= 255
    path = tmp_path / f"docs{suffix}"
    path.write_bytes({"cut": data[:-6], "flipped": data, "foreign": lines}[damage])
    (tmp_path / "other.jsonl").write_bytes(GOOD)
    with pytest.raises(SourceError, match=r"docs.jsonl.\w+:[0-9]+: "):
        read(tmp_path)
    report = SkipReport()
    kept = [document.id for document in read_documents([tmp_path], skip_bad=True, report=report)]
    assert kept[-1] == "good"
    assert kept[:-1] == [str(number) for number in range(len(kept) - 1)]
    assert report.reasons["broken_stream"] or damage == "flipped"


@pytest.mark.parametrize("suffix", RECORD_SUFFIXES)
def test_records_of_every_kind_of_file_become_the_same_documents(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"docs{suffix.upper()}"
    path.write_bytes(file_of_records(suffix))
    found = [
        {"id": document.id, "title": document.title, "text": document.text, **document.metadata}
        for document in read(path)
    ]
    assert found == RECORDS


@pytest.mark.parametrize("suffix", RECORD_SUFFIXES)
def test_records_without_id_are_named_by_file_and_place(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "deep").mkdir()
    path = tmp_path / f"deep/docs{suffix}"
    path.write_bytes(file_of_records(suffix, [{"text": "One."}, {"text": "Two."}]))
    first = 2 if suffix.startswith((".csv", ".tsv")) else 1
    assert [(document.id, document.source) for document in read(tmp_path)] == [
        (f"deep/docs{suffix}:{place}", f"{path}:{place}") for place in (first, first + 1)
    ]


@pytest.mark.parametrize("suffix", WHOLE_FILE_SUFFIXES)
def test_whole_file_of_every_kind_becomes_one_document(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"my-file.v2{suffix}"
    path.write_bytes(whole_file(suffix, "Eins.\n\n  Zwei & <drei>."))
    title = "T" if suffix.startswith(".htm") else "my file.v2"
    assert read(path) == [Document(path.name, title, "Eins.\n\n  Zwei & <drei>.", str(path))]


@pytest.mark.parametrize("names", [("a.jsonl", "b.jsonl"), ("a/same.txt", "b/same.txt")])
def test_same_id_in_two_sources_is_an_error_that_names_both_places(tmp_path: Path, names: tuple[str, str]) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(GOOD)
    sources = [tmp_path / name for name in names]
    line = ":1" if "jsonl" in names[0] else ""
    id = "good" if line else "same.txt"
    expected = f'{sources[1]}{line}: the id "{id}" is already that of {sources[0]}{line}; ids must be unique'
    with pytest.raises(SourceError) as caught:
        read(*sources)
    assert str(caught.value) == expected
    report = SkipReport()
    (tmp_path / "more").mkdir()
    (tmp_path / "more/c.txt").write_text("More.")
    (tmp_path / "more" / Path(names[1]).name).write_bytes(GOOD)
    kept = list(read_documents([sources[0], tmp_path / "more"], skip_bad=True, report=report))
    assert [document.id for document in kept] == [id, "c.txt"]
    assert report.reasons == {"duplicate_id": 1}


def test_file_that_cannot_be_opened_costs_only_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("Text.")
    (tmp_path / "b.jsonl").write_bytes(GOOD)
    opened = Path.open

    def refuse(path: Path, *args: Any, **options: Any) -> Any:
        if path.name == "a.txt":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args, **options)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(SourceError, match=r"a\.txt: cannot be opened: Permission denied$"):
        read(tmp_path)
    report = SkipReport()
    assert [document.id for document in read_documents([tmp_path], skip_bad=True, report=report)] == ["good"]
    assert report.reasons == {"unreadable": 1}


def test_error_message_is_one_line_whatever_the_input_is_called(tmp_path: Path) -> None:
    path = tmp_path / "a\nb\x1b.jsonl"
    path.write_text(json.dumps({"id": "x\ny" * 99, "text": "a"}) + "\n" + json.dumps({"id": "x\ny" * 99, "text": "b"}))
    with pytest.raises(SourceError) as caught:
        read(path)
    message = str(caught.value)
    assert message.isprintable()
    assert message.startswith(str(tmp_path / r"a\nb\x1b.jsonl:2: the id \"x\nyx\ny".replace('\\"', '"')))
    assert len(message) < 500


def test_record_over_the_limit_is_refused_and_the_next_one_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(realm.corpus.lines, "MAX_RECORD_BYTES", 1 << 20)
    fits = b'{"text": "%s"}' % (b"a" * ((1 << 20) - 12))
    assert len(fits) == 1 << 20
    path = tmp_path / "docs.jsonl.zst"
    path.write_bytes(compressed(fits + b"\n" + b"x" * (5 << 20) + b"\n" + GOOD + b"y" * (2 << 20), path.name))
    (tmp_path / "large.txt").write_bytes(b"a" * ((1 << 20) + 1))
    report = SkipReport()
    kept = [document.id for document in read_documents([tmp_path], skip_bad=True, report=report)]
    assert kept == ["docs.jsonl.zst:1", "good"]
    assert report.reasons == {"too_long": 3}
    with pytest.raises(SourceError, match=r"docs\.jsonl\.zst:2: a record of 5,242,881 bytes"):
        read(path)


def test_missing_sources_are_reported_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Text.")
    with pytest.raises(SourceError, match=r"nowhere: there is no such file or folder"):
        read_documents([tmp_path / "a.txt", tmp_path / "nowhere"])
    (tmp_path / "a.pdf").write_text("Text.")
    with pytest.raises(SourceError, match=r"a\.pdf: cannot read this kind of file; expected one of .*\.md"):
        read_documents([tmp_path / "a.pdf"])


def test_source_without_documents_is_an_error_even_when_bad_ones_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(" ")
    with pytest.raises(SourceError, match=r"a\.txt: \"text\" is empty"):
        read(tmp_path)
    with pytest.raises(SourceError, match=r"no documents found \(skipped 1: no_text 1\)"):
        list(read_documents([tmp_path], skip_bad=True))
    (tmp_path / "b.jsonl").write_text("\n")
    with pytest.raises(SourceError, match="no documents found; expected"):
        read(tmp_path / "b.jsonl")
