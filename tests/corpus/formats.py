"""Files of every kind of document, made of the same documents, for the tests of readers."""

from __future__ import annotations

import bz2
import csv
import gzip
import html
import io
import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pyarrow
from hypothesis import strategies as st
from pyarrow import ipc, parquet

RECORDS = [
    {"id": "a", "title": "Änne", "text": 'Eins.\nZwei, oder "drei"\tund mehr.', "by": "x"},
    {"id": "b", "title": "River", "text": "The river flows to the sea. " * 20, "by": "y, z"},
    {"id": "c", "title": "東京", "text": "東京 is large.", "by": "😀"},
]

RECORD_SUFFIXES = [
    *(".jsonl", ".jsonl.gz", ".jsonl.zst", ".csv", ".csv.gz", ".csv.zst", ".tsv", ".tsv.gz", ".tsv.zst"),
    *(".parquet", ".arrow"),
]
WHOLE_FILE_SUFFIXES = [f"{kind}{end}" for kind in (".txt", ".md", ".html", ".htm") for end in ("", ".gz", ".zst")]


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
"""What can be a field of a record."""


def can_be_seen(text: str) -> bool:
    """Whether there is more to a text than space and controls."""
    return any(unicodedata.category(character)[0] in "LMNPS" for character in text)


def compressed(data: bytes, suffix: str) -> bytes:
    """`data`, compressed as `suffix` says."""
    if suffix.endswith(".gz"):
        return gzip.compress(data)
    if suffix.endswith(".bz2"):
        return bz2.compress(data)
    if suffix.endswith(".zst"):
        found: bytes = pyarrow.compress(data, codec="zstd", asbytes=True)
        return found
    return data


def file_of_records(suffix: str, records: Sequence[dict[str, str]] = RECORDS) -> bytes:
    """A file of the kind `suffix` that holds `records`, all with the same fields."""
    if suffix == ".parquet":
        sink = io.BytesIO()
        parquet.write_table(pyarrow.Table.from_pylist(list(records)), sink, row_group_size=2, compression="zstd")
        return sink.getvalue()
    if suffix == ".arrow":
        return arrow_stream(pyarrow.Table.from_pylist(list(records)))
    if suffix.startswith(".jsonl"):
        text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    else:
        table = io.StringIO()
        writer = csv.DictWriter(table, list(records[0]), delimiter="\t" if suffix.startswith(".tsv") else ",")
        writer.writeheader()
        writer.writerows(records)
        text = table.getvalue()
    return compressed(text.encode(), suffix)


def whole_file(suffix: str, text: str) -> bytes:
    """A file of the kind `suffix` that is one document of this text."""
    if suffix.startswith(".htm"):
        text = f"<!doctype html><title>T</title><nav>N</nav><pre>{html.escape(text)}</pre>"
    return compressed(text.encode(), suffix)


def arrow_stream(table: pyarrow.Table) -> bytes:
    """A table in Arrow's stream format."""
    sink = io.BytesIO()
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return sink.getvalue()


def save_dataset(folder: Path, tables: Sequence[pyarrow.Table]) -> None:
    """Write what `datasets.Dataset.save_to_disk` writes, a file per table."""
    folder.mkdir(parents=True)
    names = [f"data-{place:05}-of-{len(tables):05}.arrow" for place in range(len(tables))]
    for name, table in zip(names, tables, strict=True):
        (folder / name).write_bytes(arrow_stream(table))
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "0", "_format_type": None}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(json.dumps({"features": {}}))
