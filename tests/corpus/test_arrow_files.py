"""Rows of Parquet and Arrow files."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from formats import TEXTS, arrow_stream, can_be_seen
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import ipc, parquet

import realm.corpus.arrow_rows
from realm.corpus import arrow_files
from realm.corpus.readers import read_documents
from realm.corpus.skips import SkipReport
from realm.errors import SourceError

KINDS = ["parquet", "stream", "file"]


def write(folder: Path, table: pyarrow.Table, kind: str) -> Path:
    path = folder / ("t.parquet" if kind == "parquet" else "t.arrow")
    if kind == "parquet":
        parquet.write_table(table, path, row_group_size=3)
    elif kind == "stream":
        path.write_bytes(arrow_stream(table))
    else:
        sink = io.BytesIO()
        with ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
        path.write_bytes(sink.getvalue())
    return path


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15)
@given(rows=st.lists(st.tuples(TEXTS.filter(can_be_seen), st.none() | TEXTS), min_size=1, max_size=9))
def test_texts_come_back_in_order(
    kind: str, rows: list[tuple[str, str | None]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    texts, others = zip(*rows, strict=True)
    table = pyarrow.table({"other": pyarrow.array(others, pyarrow.string()), "text": texts})
    path = write(tmp_path_factory.mktemp("t"), table, kind)
    documents = list(read_documents([path]))
    assert [document.text for document in documents] == list(texts)
    assert [document.metadata.get("other") for document in documents] == list(others)
    assert [document.id for document in documents] == [f"{path.name}:{place}" for place in range(1, len(rows) + 1)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "text",
    [
        pyarrow.string(),
        pyarrow.large_string(),
        pyarrow.string_view(),
        pyarrow.dictionary(pyarrow.int8(), pyarrow.string()),
        pyarrow.dictionary(pyarrow.int32(), pyarrow.large_string()),
    ],
    ids=str,
)
def test_every_type_of_text_is_read(tmp_path: Path, kind: str, text: pyarrow.DataType) -> None:
    texts = pyarrow.array(["a", "é", "a", "b"]).cast(text)
    path = write(tmp_path, pyarrow.table({"text": texts, "id": [4, 3, 2, 1]}), kind)
    assert [(document.id, document.text) for document in read_documents([path])] == [
        ("4", "a"),
        ("3", "é"),
        ("2", "a"),
        ("1", "b"),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_scalars_become_metadata_and_the_rest_is_left_out(tmp_path: Path, kind: str) -> None:
    noon = datetime(2020, 2, 10, 12, tzinfo=UTC)
    table = pyarrow.table(
        {
            "id": ["x"],
            "title": pyarrow.array([None], pyarrow.string()),
            "text": ["Text."],
            "whole": [2**60],
            "half": [0.5],
            "good": [True],
            "exact": [Decimal("1.50")],
            "day": [date(2020, 2, 10)],
            "time": pyarrow.array([noon], pyarrow.timestamp("s")),
            "moment": pyarrow.array([noon], pyarrow.timestamp("s", "America/New_York")),
            "none": pyarrow.nulls(1),
            "missing": pyarrow.array([None], pyarrow.int8()),
            "list": [[1]],
            "struct": [{"text": "x"}],
            "bytes": [b"\xff"],
        }
    )
    report = SkipReport()
    (document,) = read_documents([write(tmp_path, table, kind)], report=report)
    assert dict(report.reasons) == {"dropped_field": 2}
    assert (document.id, document.title, document.text) == ("x", "", "Text.")
    # Parquet has no seconds, and gives milliseconds.
    found = {key: value.replace(".000", "") for key, value in document.metadata.items()}
    assert found == {
        "whole": str(2**60),
        "half": "0.5",
        "good": "true",
        "exact": "1.50",
        "day": "2020-02-10",
        "time": "2020-02-10 12:00:00",
        "moment": "2020-02-10 12:00:00Z",
        "list": "[1]",
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("table", "reason", "message"),
    [
        ({"id": ["a"]}, "no_text_column", 'there is no column "text"; the columns are id'),
        ({"text": [5]}, "bad_header", 'the column "text" holds int64; it must hold texts'),
        ({"text": ["a"], "title": [[1]]}, "bad_header", 'the column "title" holds list<'),
        (
            {"text": ["a"], "id": [0.5]},
            "bad_header",
            'the column "id" holds double; it must hold texts or whole numbers',
        ),
    ],
)
def test_file_with_the_wrong_columns_is_refused(
    tmp_path: Path, kind: str, table: dict[str, list[object]], reason: str, message: str
) -> None:
    path = write(tmp_path, pyarrow.table(table), kind)
    (tmp_path / "u.txt").write_text("Other.")
    with pytest.raises(SourceError) as caught:
        list(read_documents([tmp_path]))
    assert str(caught.value).startswith(f"{path}: {message}")
    report = SkipReport()
    assert [document.id for document in read_documents([tmp_path], skip_bad=True, report=report)] == ["u.txt"]
    assert report.reasons == {reason: 1}


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    columns = [pyarrow.array(["a"]), pyarrow.array(["b"])]
    path = write(tmp_path, pyarrow.Table.from_arrays(columns, ["text", "text"]), "stream")
    with pytest.raises(SourceError, match='2 columns are named "text"'):
        list(read_documents([path]))


@pytest.mark.parametrize("kind", KINDS)
def test_bad_row_costs_only_itself(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realm.corpus.arrow_rows, "MAX_RECORD_BYTES", 20)
    texts = [b"good", b"caf\xe9", None, b" ", b"long" * 6, b"last"]
    # As bytes, seen as text: Arrow does not look.
    column = pyarrow.array(texts, pyarrow.binary()).view(pyarrow.string())
    path = write(tmp_path, pyarrow.table({"text": column}), kind)
    with pytest.raises(SourceError, match=r':2: "text" is not UTF-8: byte 0xe9 at offset 3 of the field$'):
        list(read_documents([path]))
    report = SkipReport()
    found = list(read_documents([path], skip_bad=True, report=report))
    assert [document.source for document in found] == [f"{path}:1", f"{path}:6"]
    assert report.reasons == {"not_utf8": 1, "no_text": 2, "too_long": 1}
    assert report.examples["too_long"].startswith(f"{path}:5: a record of 24 bytes")


@pytest.mark.parametrize("kind", KINDS)
def test_file_that_breaks_off_gives_the_rows_before(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(0)
    table = pyarrow.table({"text": [rng.bytes(300).hex() for _ in range(60)]})
    path = write(tmp_path, table, kind)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    (tmp_path / "u.txt").write_text("Other.")
    with pytest.raises(SourceError, match="the file is broken or breaks off here: "):
        list(read_documents([tmp_path]))
    report = SkipReport()
    found = [document.text for document in read_documents([tmp_path], skip_bad=True, report=report)]
    assert found[-1] == "Other."
    assert found[:-1] == table["text"].to_pylist()[: len(found) - 1]
    # Only the stream format can be read without its end.
    assert len(found) > 1 if kind == "stream" else len(found) == 1
    assert report.reasons == {"broken_stream": 1}


def test_offsets_and_indices_that_point_outside_are_refused(tmp_path: Path) -> None:
    offsets = pyarrow.py_buffer(np.array([0, 1 << 30, 4], np.int32))
    outside = pyarrow.Array.from_buffers(pyarrow.string(), 2, [None, offsets, pyarrow.py_buffer(b"good")])
    indices = pyarrow.array([0, 7], pyarrow.int8())
    repeated = pyarrow.DictionaryArray.from_arrays(indices, pyarrow.array(["good"]), safe=False)
    for column in (outside, repeated):
        batch = pyarrow.RecordBatch.from_arrays([column], ["text"])
        with pytest.raises((pyarrow.ArrowInvalid, realm.corpus.arrow_rows.BadRecord)):
            realm.corpus.arrow_rows.documents_of_batch(batch, tmp_path, "t", 0, SkipReport(), "text")


def test_rows_are_taken_a_few_megabytes_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow_files, "_BATCH_BYTES", 100_000)
    long = [f"{number} " + "word " * 2000 for number in range(60)]
    parquet.write_table(pyarrow.table({"text": long}), tmp_path / "long.parquet", use_dictionary=False)
    parquet.write_table(pyarrow.table({"text": ["x"] * 9000}), tmp_path / "short.parquet")
    rows = [
        [
            batch.num_rows
            for batch in arrow_files._parquet_batches(tmp_path / f"{name}.parquet", lambda schema: ["text"])
        ]
        for name in ("long", "short")
    ]
    assert max(rows[0]) <= 10
    assert sum(rows[0]) == 60
    assert rows[1] == [64] * 140 + [40]


@pytest.mark.parametrize("is_repeated", [True, False])
def test_memory_is_that_of_a_few_rows_whatever_the_row_group_holds(tmp_path: Path, is_repeated: bool) -> None:
    texts = ["" if is_repeated else f"{number} " for number in range(600)]
    texts = [f"{text}{'word ' * 20_000}" for text in texts]
    table = pyarrow.table({"text": texts})
    parquet.write_table(table, tmp_path / "t.parquet", write_batch_size=10)
    text_bytes = table.nbytes
    del table
    before = pyarrow.total_allocated_bytes()
    most = 0
    for document, text in zip(read_documents([tmp_path / "t.parquet"]), texts, strict=True):
        assert document.text == text
        most = max(most, pyarrow.total_allocated_bytes() - before)
    assert most < text_bytes / 3
