"""Rows of an Arrow batch to documents.

Knows Arrow's types, not files. Nothing in a batch is trusted: offsets, indices and texts come from a file that may
be broken, and Arrow itself checks them only when asked. Read `documents_of_batch` first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from realm.corpus.fields import document_of_fields
from realm.corpus.lines import MAX_RECORD_BYTES, too_long
from realm.corpus.skips import BadRecord, shortened
from realm.records import Document

if TYPE_CHECKING:
    import pyarrow

_NAMED_IN_MESSAGES = 20


def usable_columns(schema: pyarrow.Schema) -> list[str]:
    """The columns that documents are made of.

    Raises:
        BadRecord: There is no column of texts named `text`, or `id` or `title` are of another kind, or a name
            occurs twice.
    """
    columns = [field.name for field in schema if _is_scalar(field.type)]
    if "text" not in schema.names:
        found = shortened(", ".join(schema.names[:_NAMED_IN_MESSAGES]))
        raise BadRecord("no_text_column", f'there is no column "text"; the columns are {found}')
    name, count = Counter(schema.names).most_common(1)[0]
    if count > 1:
        raise BadRecord("bad_header", f'{count} columns are named "{shortened(name)}"')
    for name in ("text", "title", "id"):
        kind = schema.field(name).type if name in schema.names else None
        if kind is None or _is_text(kind) or (name == "id" and _is_whole_number(kind)):
            continue
        expected = "texts or whole numbers" if name == "id" else "texts"
        raise BadRecord("bad_header", f'the column "{name}" holds {shortened(str(kind))}; it must hold {expected}')
    return columns


def _is_text(kind: pyarrow.DataType) -> bool:
    """Whether a type is one of texts, in a dictionary or not."""
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _is_whole_number(kind: pyarrow.DataType) -> bool:
    from pyarrow import types

    return bool(types.is_integer(kind))


def _is_scalar(kind: pyarrow.DataType) -> bool:
    from pyarrow import types

    is_number = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
    return bool(_is_text(kind) or is_number or types.is_decimal(kind) or types.is_temporal(kind))


def documents_of_batch(
    batch: pyarrow.RecordBatch, path: Path, name: str, rows_before: int
) -> Iterator[Document | BadRecord]:
    """The document of every row, or what is wrong with the row. The batch is checked at once, the rows on demand.

    Args:
        batch: Rows, with columns among those of `usable_columns`.
        path: Where they come from, for people.
        name: What default ids begin with.
        rows_before: How many rows of the file stand before them.

    Raises:
        BadRecord: The batch as a whole is broken. Arrow's own errors pass through.
    """
    columns = {column: _values(array) for column, array in zip(batch.schema.names, batch.columns, strict=True)}

    def documents() -> Iterator[Document | BadRecord]:
        for row in range(batch.num_rows):
            number = rows_before + row + 1
            fields = {column: values[row] for column, values in columns.items() if values[row] is not None}
            try:
                yield _document(fields, f"{path}:{number}", f"{name}:{number}")
            except BadRecord as bad:
                yield bad

    return documents()


def _document(fields: dict[str, Any], place: str, default_id: str) -> Document:
    for column, value in fields.items():
        if isinstance(value, bytes):
            fields[column] = _decoded(column, value)
    return document_of_fields(fields, place, default_id)


def _decoded(column: str, value: bytes) -> str:
    if len(value) > MAX_RECORD_BYTES:
        raise too_long(len(value))
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as exc:
        found = f"byte 0x{value[exc.start]:02x} at offset {exc.start:,}"
        raise BadRecord("not_utf8", f'"{shortened(column)}" is not UTF-8: {found} of the field') from exc


def _values(array: pyarrow.Array) -> list[Any]:
    """The values of a column: texts as bytes, numbers and truth values as such, everything else spelt out.

    As bytes, so that one text that is not UTF-8 costs one document and not the batch.
    """
    from pyarrow import types

    if types.is_dictionary(array.type):
        return _values_of_dictionary(array)
    array = _as_bytes(array) if _is_text(array.type) else array
    array.validate(full=True)
    if types.is_decimal(array.type) or types.is_temporal(array.type):
        return _spelt_out(array)
    return list(array.to_pylist())


def _values_of_dictionary(array: pyarrow.DictionaryArray) -> list[Any]:
    array.indices.validate(full=True)
    values = _values(array.dictionary)
    indices = array.indices.to_pylist()
    if any(index is not None and not 0 <= index < len(values) for index in indices):
        raise BadRecord("broken_stream", "the file is broken: an index points outside its dictionary")
    return [None if index is None else values[index] for index in indices]


def _spelt_out(array: pyarrow.Array) -> list[str | None]:
    """Decimals, dates and times as text; a time with a zone as universal time, which needs no table of zones."""
    import pyarrow

    zone = ""
    if pyarrow.types.is_timestamp(array.type) and array.type.tz is not None:
        array, zone = array.cast(pyarrow.timestamp(array.type.unit)), "Z"
    return [None if value is None else value + zone for value in array.cast(pyarrow.string()).to_pylist()]


def _as_bytes(array: pyarrow.Array) -> pyarrow.Array:
    import pyarrow

    if pyarrow.types.is_string_view(array.type):
        return array.cast(pyarrow.binary_view())
    return array.cast(pyarrow.large_binary() if pyarrow.types.is_large_string(array.type) else pyarrow.binary())
