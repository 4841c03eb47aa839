"""DPR's table of passages; csv's own writer is the oracle."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.errors import SourceError
from realm.interop.dpr_passages import PassageFile

HEADER = b"id\ttext\ttitle\n"
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=30)


def as_written(rows: Iterable[tuple[str, str, str]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(["id", "text", "title"])
    writer.writerows(rows)
    return text.getvalue().encode()


def read(path: Path, data: bytes) -> list[tuple[str, str, str]]:
    path.write_bytes(data)
    return [(d.id, d.text, d.title) for d in PassageFile(path).documents()]


@given(
    st.lists(st.tuples(st.integers(1).map(str), TEXT, TEXT), max_size=5, unique_by=lambda row: row[0]), st.booleans()
)
def test_what_csv_writes_comes_back_plain_and_compressed(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]], is_packed: bool
) -> None:
    path = tmp_path_factory.mktemp("dpr") / "psgs.tsv"
    data = as_written(rows)
    assert read(path, gzip.compress(data) if is_packed else data) == rows


def test_quotation_marks_are_those_of_the_released_file(tmp_path: Path) -> None:
    line = (
        b'1\t"Aaron ( or ; ""Ahar\xc3\xb4n"") is a prophet."\tAaron\n2\tplain "inside" text\t"""Weird Al"" Yankovic"\n'
    )
    assert read(tmp_path / "psgs.tsv", HEADER + line) == [
        ("1", 'Aaron ( or ; "Aharôn") is a prophet.', "Aaron"),
        ("2", 'plain "inside" text', '"Weird Al" Yankovic'),
    ]


def test_each_passage_names_its_line(tmp_path: Path) -> None:
    (tmp_path / "p.tsv").write_bytes(HEADER + b"7\ta\tb\n8\tc\td\n")
    assert [d.source for d in PassageFile(tmp_path / "p.tsv").documents()] == [
        f"{tmp_path / 'p.tsv'}:2",
        f"{tmp_path / 'p.tsv'}:3",
    ]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "begins with nothing; expected the header"),
        (b"1\ta\tb\n", "expected the header id, text, title"),
        (HEADER + b"1\ta\tb\n2\ta\n", ":3: 2 fields"),
        (HEADER + b"1\ta\tb\tc\n", ":2: 4 fields"),
        (HEADER + b"\ta\tb\n", ":2: 3 fields; expected id"),
        (HEADER + b"1\t\xff\tb\n", "is not UTF-8 text"),
        (HEADER + b'1\t"never closed\tb\n', "unexpected end of data"),
        (HEADER + b"1\t" + b"x" * 200_000 + b"\tb\n", "field larger than field limit"),
        (HEADER + b"1\t" + b"x" * 2_000_000 + b"\tb\n", ":2: a line of over"),
        (
            gzip.compress(HEADER + b"".join(b"%d\ta\tb\n" % n for n in range(99)), mtime=0)[:-9],
            "gzip stream is cut off or damaged",
        ),
        (b"\x1f\x8b" + b"rubbish" * 9, "gzip stream is cut off or damaged"),
    ],
)
def test_what_is_no_table_of_passages_is_refused_with_its_place(tmp_path: Path, data: bytes, says: str) -> None:
    with pytest.raises(SourceError) as error:
        read(tmp_path / "psgs.tsv", data)
    assert says in str(error.value)
    assert str(tmp_path / "psgs.tsv") in str(error.value)


@given(st.binary(max_size=200), st.booleans())
def test_random_bytes_are_passages_or_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, has_header: bool
) -> None:
    path = tmp_path_factory.mktemp("dpr") / "psgs.tsv"
    said = ""
    try:
        read(path, HEADER + data if has_header else data)
    except SourceError as error:
        said = str(error)
    assert not said or str(path) in said


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"none\.tsv cannot be read: No such file"):
        PassageFile(tmp_path / "none.tsv")


def test_progress_is_told_in_bytes_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "p.tsv").write_bytes(as_written((str(n), "text " * 50, "t") for n in range(2000)))
    passages = PassageFile(tmp_path / "p.tsv")
    assert passages.read_bytes == 0
    seen = [passages.read_bytes for _ in passages.documents()]
    assert seen == sorted(seen)
    assert 0 < seen[0] < seen[-1] == passages.total_bytes == (tmp_path / "p.tsv").stat().st_size
    assert (passages.read_bytes, passages.read_passages) == (passages.total_bytes, 2000)
