"""Rows of comma- and tab-separated values."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path

import pytest
from formats import can_be_seen
from hypothesis import given, settings
from hypothesis import strategies as st

import realm.corpus.lines
import realm.corpus.tables
from realm.corpus.lines import decode
from realm.corpus.readers import read_documents
from realm.corpus.skips import SkipReport
from realm.errors import SourceError

# Without zeros, which no text file holds, and carriage returns, which Python's writer does not always quote.
CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=12)


@settings(max_examples=60)
@given(
    rows=st.lists(st.tuples(CELLS.filter(can_be_seen), CELLS), min_size=1),
    delimiter=st.sampled_from([",", "\t"]),
    ending=st.sampled_from(["\n", "\r\n"]),
)
def test_what_the_csv_module_writes_comes_back(
    rows: list[tuple[str, str]], delimiter: str, ending: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("table") / ("t.tsv" if delimiter == "\t" else "t.csv")
    table = io.StringIO()
    writer = csv.writer(table, delimiter=delimiter, lineterminator=ending)
    writer.writerow(["text", "other"])
    writer.writerows(rows)
    path.write_bytes(table.getvalue().encode())
    documents = list(read_documents([path]))
    assert [document.text for document in documents] == [text for text, _ in rows]
    assert [document.metadata.get("other", "") for document in documents] == [other for _, other in rows]


def test_place_of_a_row_is_the_line_where_it_begins(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes('\ufefftitle,text,\r\n\r\nA,"one\r\ntwo\r\n""three""",x\r\nB,four,\r\n'.encode())
    documents = list(read_documents([path]))
    assert [(document.source, document.title) for document in documents] == [(f"{path}:3", "A"), (f"{path}:6", "B")]
    assert documents[0].text == 'one\r\ntwo\r\n"three"'
    assert [document.metadata for document in documents] == [{"column 3": "x"}, {}]


@pytest.mark.parametrize(
    ("table", "reason", "message"),
    [
        ("id,title\n1,a\n", "no_text_column", ':1: the first row names no column "text"; it names id, title'),
        ("text,x,x\na,b,c\n", "bad_header", ':1: the first row names the column "x" 2 times'),
        ("text,id\ngood,1\na,b,c\nlast,2\n", "bad_row", ":3: the row has 3 fields; the first row of the file has 2"),
        ("text,id\ngood,1\na\nlast,2\n", "bad_row", ":3: the row has 1 fields; the first row of the file has 2"),
        ('text,id\ngood,1\n"a" b,2\nlast,3\n', "broken_csv", ":3: broken row: ',' expected after '\"'"),
        ('text,id\ngood,1\n"a,3\nlast,4\n', "broken_csv", ":3: broken row: unexpected end of data"),
        ("text,id\ngood,1\n,2\nlast,3\n", "no_text", ':3: "text" is empty; it must hold text'),
        ("text,id\ngood,1\na,1\nlast,3\n", "duplicate_id", ':3: the id "1" is already that of '),
        ("text,id\ngood,1\na\0,2\nlast,3\n", "not_text", ":3: byte 0 at offset 16 of the file"),
        ("text,id\ngood,1\na\rb,2\nlast,3\n", "broken_csv", ":3: broken row: new-line character seen in unquoted"),
    ],
)
def test_bad_row_is_an_error_that_names_it_or_is_counted(tmp_path: Path, table: str, reason: str, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(table.encode())
    (tmp_path / "u.txt").write_text("Other.")
    with pytest.raises(SourceError) as caught:
        list(read_documents([tmp_path]))
    assert str(caught.value).startswith(f"{path}{message}")
    report = SkipReport()
    kept = [document.text for document in read_documents([tmp_path], skip_bad=True, report=report)]
    assert kept == (["good", "last", "Other."] if "good" in table else ["Other."])
    assert report.reasons == {reason: 1}
    assert report.examples[reason] == str(caught.value)


def test_field_over_the_limit_of_the_csv_module_is_read(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    path = tmp_path / "t.csv"
    path.write_text(f"text\n{'a' * (limit + 1)}\n")
    documents = read_documents([path])
    assert len(next(documents).text) == limit + 1
    assert csv.field_size_limit() == limit


def rows_one_by_one(lines: list[str]) -> tuple[list[tuple[int, list[str]]], list[int]]:
    """Rows with their lines, and the lines of broken ones, reading on behind the first line of a broken row."""
    rows, broken, place = [], [], 0
    while place < len(lines):
        reader = csv.reader(lines[place:], strict=True)
        try:
            row = next(reader)
        except csv.Error:
            broken.append(place + 1)
            place += 1
            continue
        if row:
            rows.append((place + 1, row))
        place += reader.line_num
    return rows, broken


@settings(max_examples=300)
@given(st.lists(st.sampled_from(['"', '""', ",", "a", "é", "\n", '"\n"', '\n","'])).map("".join))
def test_broken_row_takes_no_other_row_with_it(tmp_path_factory: pytest.TempPathFactory, table: str) -> None:
    path = tmp_path_factory.mktemp("table") / "t.csv"
    path.write_text(f"text,x\n{table}\n")
    (path.parent / "u.txt").write_text("Other.")
    rows, broken = rows_one_by_one(path.read_text().splitlines(keepends=True))
    report = SkipReport()
    *documents, _ = read_documents([path.parent], skip_bad=True, report=report)
    good = [(line, row[0]) for line, row in rows[1:] if len(row) == 2 and can_be_seen(row[0])]
    assert [(document.id, document.text) for document in documents] == [(f"t.csv:{line}", text) for line, text in good]
    assert report.reasons["broken_csv"] == len(broken)
    assert report.total == len(broken) + len(rows) - 1 - len(good)
    if broken:
        assert report.examples["broken_csv"].startswith(f"{path}:{broken[0]}: ")


@pytest.mark.parametrize("last", ['7,"seven"\n', '7,"se""ven"\n', "7,seven\n", "7,seven", '"7,seven\n'])
@pytest.mark.parametrize("bad", [b'"stray,quote\n', b'stray,"quote\n'])
def test_stray_quote_costs_its_line_alone(tmp_path: Path, bad: bytes, last: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"id,text\n1,one\n" + bad + b"2,two\n\n3,caf\xe9\n4,four\n" + last.encode())
    report = SkipReport()
    documents = list(read_documents([path], skip_bad=True, report=report))
    ids = ["1", "2", "4"] + ["7"] * last.startswith("7")
    assert [(document.id, document.source) for document in documents] == [
        (id, f"{path}:{line}") for id, line in zip(ids, [2, 4, 7, 8], strict=False)
    ]
    assert report.total == 2 + last.startswith('"')


def test_quote_that_is_never_closed_does_not_take_the_whole_file_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (realm.corpus.lines, realm.corpus.tables):
        monkeypatch.setattr(module, "MAX_RECORD_BYTES", 1000)
    path = tmp_path / "t.csv"
    rows = [f"row {number}" for number in range(1000)]
    path.write_text("\n".join(["text", "first", '"open', *rows, '"' + "x" * 2000, "between", '"open', "x" * 2000, "z"]))
    report = SkipReport()
    documents = list(read_documents([path], skip_bad=True, report=report))
    assert report.reasons == {"too_long": 4}
    assert report.examples["too_long"].startswith(f"{path}:3: a record of 1,00")
    assert [document.text for document in documents] == ["first", *rows, "between", "z"]
    assert [document.source for document in documents[-2:]] == [f"{path}:1005", f"{path}:1008"]


def test_lines_are_read_twice_at_most_whatever_quotes_they_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (realm.corpus.lines, realm.corpus.tables):
        monkeypatch.setattr(module, "MAX_RECORD_BYTES", 50_000)
    read = []

    def noting(data: bytes, offset: int) -> str:
        read.append(offset)
        return decode(data, offset)

    monkeypatch.setattr(realm.corpus.tables, "decode", noting)
    path = tmp_path / "t.csv"
    # Each line opens a quote, and, where one is open, closes it and opens another.
    path.write_text("text,x\ngood,1\n" + 'a","x\n' * 50_000)
    report = SkipReport()
    assert [document.text for document in read_documents([path], skip_bad=True, report=report)] == ["good"]
    assert report.total == 50_000
    assert max(Counter(read).values()) <= 3  # the first line is also read for its delimiter
    assert len(read) < 2 * 50_003
