"""Which fields of a record become what: names in any case, nested metadata, lists."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from formats import arrow_stream
from pyarrow import ipc, parquet

from realm.corpus.readers import read_documents
from realm.corpus.skips import SkipReport
from realm.errors import SourceError
from realm.records import Document


def lines(folder: Path, *records: dict[str, Any]) -> Path:
    path = folder / "t.jsonl"
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")
    return path


def one_record(folder: Path, kind: str, fields: dict[str, Any], delimiter: str = ",") -> Path:
    if kind == "csv":
        path = folder / "t.csv"
        path.write_text("".join(f"{delimiter.join(map(str, row))}\n" for row in (fields, fields.values())))
        return path
    if kind == "jsonl":
        return lines(folder, fields)
    return table(folder, kind, {name: [value] for name, value in fields.items()})


def table(folder: Path, kind: str, columns: dict[str, Any]) -> Path:
    found = pyarrow.table(columns)
    path = folder / ("t.parquet" if kind == "parquet" else "t.arrow")
    if kind == "parquet":
        parquet.write_table(found, path)
    elif kind == "stream":
        path.write_bytes(arrow_stream(found))
    else:
        sink = io.BytesIO()
        with ipc.new_file(sink, found.schema) as writer:
            writer.write_table(found)
        path.write_bytes(sink.getvalue())
    return path


def read(path: Path, **options: Any) -> tuple[list[Document], SkipReport]:
    report = SkipReport()
    return list(read_documents([path], report=report, **options)), report


def test_an_object_named_metadata_and_lists_become_metadata_and_the_rest_is_counted(tmp_path: Path) -> None:
    path = lines(
        tmp_path,
        {
            "text": "One.",
            "lang": "en",
            "metadata": {
                "lang": "fr",
                "year": 1990,
                "ok": True,
                "deep": {"a": 1},
                "none": None,
                "tags": ["é", 2, None],
            },
            "marks": [],
            "author": {"name": "Ada"},
            "places": [{"x": 1}],
            "nothing": None,
        },
        {"text": "Two.", "metadata": "plain", "vector": [0.5] * 101},
    )
    documents, report = read(path)
    assert [document.metadata for document in documents] == [
        {"lang": "en", "year": "1990", "ok": "true", "tags": '["é", 2, null]', "marks": "[]"},
        {"metadata": "plain"},
    ]
    assert dict(report.reasons) == {"dropped_field": 4}
    assert report.lost == []
    assert report.examples["dropped_field"] == (
        f'{path}:1: "deep" is an object; metadata is of plain values and lists of up to 100 of them'
    )


@pytest.mark.parametrize("kind", ["parquet", "stream", "file"])
def test_columns_of_lists_and_a_structure_named_metadata_become_metadata(tmp_path: Path, kind: str) -> None:
    structure = pyarrow.struct(
        [
            ("lang", pyarrow.string()),
            ("tags", pyarrow.list_(pyarrow.string())),
            ("deep", pyarrow.struct([("a", "int8")])),
        ]
    )
    path = table(
        tmp_path,
        kind,
        {
            "text": ["One.", "Two.", "Three."],
            "metadata": pyarrow.array(
                [{"lang": "fr", "tags": ["x", None], "deep": {"a": 1}}, None, {"lang": None, "tags": [], "deep": None}],
                structure,
            ),
            "numbers": pyarrow.array([[1, 2], None, []], pyarrow.large_list(pyarrow.int16())),
            "vector": pyarrow.array([[0.5], [0.5], [0.5]], pyarrow.list_(pyarrow.float32())),
            "bytes": [b"a", b"b", b"c"],
        },
    )
    documents, report = read(path)
    assert [document.metadata for document in documents] == [
        {"lang": "fr", "tags": '["x", null]', "numbers": "[1, 2]"},
        {},
        {"tags": "[]", "numbers": "[]"},
    ]
    assert dict(report.reasons) == {"dropped_field": 3}
    assert report.examples["dropped_field"].startswith(f'{path}: the column "metadata.deep" holds struct<')


def test_a_list_with_a_text_that_is_no_utf8_costs_one_document(tmp_path: Path) -> None:
    texts = pyarrow.array([["a"], ["b\xff".encode("latin-1")], ["c"]], pyarrow.list_(pyarrow.binary()))
    values = pyarrow.array([b"a", b"b\xff", b"c"]).view(pyarrow.string())
    tags = pyarrow.ListArray.from_arrays(texts.offsets, values)
    path = table(tmp_path, "stream", {"text": ["One.", "Two.", "Three."], "tags": tags})
    documents, report = read(path, skip_bad=True)
    assert [(document.text, document.metadata) for document in documents] == [
        ("One.", {"tags": '["a"]'}),
        ("Three.", {"tags": '["c"]'}),
    ]
    assert dict(report.reasons) == {"not_utf8": 1}


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_id_title_and_text_may_be_written_in_any_case(tmp_path: Path, kind: str) -> None:
    path = one_record(tmp_path, kind, {"ID": 7, "TITLE": "T", "Text": "One.", "Year": 1990})
    assert read(path)[0] == [Document("7", "T", "One.", f"{path}:{2 if kind == 'csv' else 1}", {"Year": "1990"})]


def test_a_name_in_small_letters_goes_before_others_and_two_others_are_none(tmp_path: Path) -> None:
    path = lines(tmp_path, {"text": "One.", "Text": "Two.", "ID": "a", "Id": "b"})
    (document,) = read(path)[0]
    assert (document.id, document.text) == ("t.jsonl:1", "One.")
    assert document.metadata == {"Text": "Two.", "ID": "a", "Id": "b"}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("header", ["id{}text{}note", '"id"{}"text"{}"a,b;c"', "text"])
def test_the_delimiter_of_a_csv_file_is_the_one_that_gives_it_a_column_of_texts(
    tmp_path: Path, delimiter: str, header: str
) -> None:
    path = tmp_path / "t.csv"
    names = header.replace("{}", delimiter)
    row = delimiter.join(['"7"', '"One, two; three."', "x"]) if "{}" in header else "One."
    path.write_text(f"\ufeff{names}\n{row}\n", encoding="utf-8")
    (document,) = read(path)[0]
    assert document.text == ("One, two; three." if "{}" in header else "One.")
    assert document.id == ("7" if "{}" in header else "t.csv:2")


def test_semicolons_in_a_field_do_not_change_the_delimiter(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("text,a;b\nOne; two.,x;y\n")
    assert [(d.text, d.metadata) for d in read(path)[0]] == [("One; two.", {"a;b": "x;y"})]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_the_column_of_texts_may_have_another_name(tmp_path: Path, kind: str) -> None:
    path = one_record(tmp_path, kind, {"text": "old", "body": "One."}, delimiter=";")
    (document,) = read(path, text_column="Body")[0]
    assert (document.text, document.metadata) == ("One.", {"text": "old"})
    with pytest.raises(SourceError, match="nothere"):
        read(path, text_column="nothere")


def test_a_table_without_a_column_of_texts_says_how_to_name_one(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,body\n1,One.\n")
    for path in (tmp_path / "t.csv", table(tmp_path, "parquet", {"id": [1], "body": ["One."]})):
        with pytest.raises(
            SourceError, match=r'no column "text"; .* id, body; name the one to read with --text-column'
        ):
            read(path)
