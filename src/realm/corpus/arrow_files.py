"""Documents from Parquet and Arrow files, a batch of rows at a time.

Knows the containers; `arrow_rows` knows what a batch holds. Read `read_parquet` and `read_arrow`. Both ask for
the columns that can be used and for no more rows than fit a few megabytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from realm.corpus.arrow_rows import documents_of_batch, usable_columns
from realm.corpus.skips import BadRecord, Skipper
from realm.records import Document

if TYPE_CHECKING:
    import pyarrow

_BATCH_BYTES = 8 << 20
# A text that a file repeats counts once in the sizes it tells, and takes its place in memory for every row.
_MOST_ROWS = 64
_BUFFER_BYTES = 1 << 20
_FILE_MAGIC = b"ARROW1"

P = ParamSpec("P")
T = TypeVar("T")


def read_parquet(path: Path, name: str, skipper: Skipper, text_column: str = "text") -> Iterator[Document]:
    """A Parquet file with a column `text`, and optionally `id` and `title`, a document per row.

    Other columns of texts, numbers, truth values, dates and times, and of short lists of them, become metadata, and so
    do those of a structure named `metadata`; the others are left out. Ids default to `<file name>:<row>`, counted
    from 1.
    """
    return _read(path, name, skipper, _parquet_batches, text_column)


def read_arrow(path: Path, name: str, skipper: Skipper, text_column: str = "text") -> Iterator[Document]:
    """An Arrow file, in the stream format (as Hugging Face datasets write it) or the file format.

    What its columns mean is as in Parquet. Batches are as large as the file's writer made them.
    """
    return _read(path, name, skipper, _arrow_batches, text_column)


_Choice = Callable[["pyarrow.Schema"], list[str]]


def _read(
    path: Path,
    name: str,
    skipper: Skipper,
    batches_of: Callable[[Path, _Choice], Iterator[pyarrow.RecordBatch]],
    text_column: str,
) -> Iterator[Document]:
    report = skipper.report
    batches = batches_of(path, partial(usable_columns, path=path, report=report, text_column=text_column))
    rows = 0
    while True:
        place = f"{path}:{rows + 1}" if rows else str(path)
        try:
            batch = _guarded(next, batches, None)
            if batch is None:
                return
            found = _guarded(documents_of_batch, batch, path, name, rows, report, text_column)
        except BadRecord as bad:
            skipper.handle(place, bad)
            return
        for row, document in enumerate(found, rows + 1):
            if isinstance(document, BadRecord):
                skipper.handle(f"{path}:{row}", document)
            else:
                yield document
        rows += batch.num_rows


def _guarded(call: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """What `call` returns; whatever Arrow finds wrong with a file becomes a `BadRecord`."""
    import pyarrow

    try:
        return call(*args, **options)
    except (pyarrow.ArrowException, OSError, ValueError, MemoryError, OverflowError) as exc:
        first_line = str(exc).partition("\n")[0]
        raise BadRecord("broken_stream", f"the file is broken or breaks off here: {first_line}") from exc


def _parquet_batches(path: Path, columns_of: _Choice) -> Iterator[pyarrow.RecordBatch]:
    from pyarrow import parquet

    # Order: a buffer, and no reading ahead, or a whole column of a row group is loaded at once.
    with parquet.ParquetFile(
        path, buffer_size=_BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True
    ) as file:
        columns = columns_of(file.schema_arrow)
        for place in range(file.num_row_groups):
            group = file.metadata.row_group(place)
            bytes_per_row = max(1, group.total_byte_size // max(1, group.num_rows))
            rows = max(1, min(_MOST_ROWS, _BATCH_BYTES // bytes_per_row))
            yield from file.iter_batches(rows, row_groups=[place], columns=columns, use_threads=False)


def _arrow_batches(path: Path, columns_of: _Choice) -> Iterator[pyarrow.RecordBatch]:
    import pyarrow
    from pyarrow import ipc

    with pyarrow.OSFile(str(path)) as file:
        is_file_format = file.read(len(_FILE_MAGIC)) == _FILE_MAGIC
        file.seek(0)
        opened = ipc.open_file if is_file_format else ipc.open_stream
        schema = opened(file).schema
        places = [schema.get_field_index(column) for column in columns_of(schema)]
        file.seek(0)
        options = ipc.IpcReadOptions(included_fields=places, use_threads=False)
        reader = opened(file, options=options)
        if is_file_format:
            for place in range(reader.num_record_batches):
                yield reader.get_batch(place)
        else:
            yield from reader
