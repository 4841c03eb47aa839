"""Flat files of blocks; pyarrow and json read them back."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from realm.errors import UsageError
from realm.interop.block_table import COLUMNS, require_known_name, write_block_table

SCHEMA = pyarrow.schema(
    [("id", pyarrow.string()), ("start", pyarrow.uint64()), ("ids", pyarrow.list_(pyarrow.uint16()))]
)
ROWS = [{"id": f"é\n{n}", "start": n << 40, "ids": list(range(n))} for n in range(7)]


def batches() -> list[pyarrow.RecordBatch]:
    return pyarrow.Table.from_pylist(ROWS, schema=SCHEMA).to_batches(max_chunksize=3)


def test_parquet_holds_rows_and_types(tmp_path: Path) -> None:
    write_block_table(tmp_path / "b", ".parquet", batches(), SCHEMA)
    found = pyarrow.parquet.read_table(tmp_path / "b")
    assert found.schema.equals(SCHEMA)
    assert found.to_pylist() == ROWS


@pytest.mark.parametrize(("ending", "codec"), [(".jsonl", None), (".jsonl.gz", "gzip"), (".jsonl.zst", "zstd")])
def test_json_lines_hold_one_row_each(tmp_path: Path, ending: str, codec: str | None) -> None:
    write_block_table(tmp_path / "b", ending, batches(), SCHEMA)
    with pyarrow.input_stream(str(tmp_path / "b"), compression=codec) as file:
        lines = file.read().decode().split("\n")
    assert [json.loads(line) for line in lines[:-1]] == ROWS
    assert lines[-1] == ""


@pytest.mark.parametrize("ending", [".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst"])
def test_the_ending_of_a_name_is_found(ending: str) -> None:
    assert require_known_name(Path(f"a/my.blocks{ending}")) == ending


@pytest.mark.parametrize("name", ["blocks", "blocks.json", "blocks.jsonl.bz2", "parquet"])
def test_another_ending_is_refused_with_those_that_are_known(name: str) -> None:
    with pytest.raises(UsageError, match=r"end in \.parquet, \.jsonl, "):
        require_known_name(Path(name))


def test_the_columns_are_the_documented_ones() -> None:
    import realm.interop.block_table as module

    assert COLUMNS == ("id", "document_id", "title", "text", "start", "end")
    assert all(name in (module.__doc__ or "") for name in COLUMNS)
