"""Rows of an Arrow batch to documents.

Knows Arrow's types, not files. Nothing in a batch is trusted: offsets, indices and texts come from a file that may
be broken, and Arrow itself checks them only when asked. Read `documents_of_batch` first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from realm.corpus.fields import column_names, document_of_fields
from realm.corpus.lines import MAX_RECORD_BYTES, too_long
from realm.corpus.skips import BadRecord, SkipReport, shortened
from realm.records import Document

if TYPE_CHECKING:
    import pyarrow

_NAMED_IN_MESSAGES = 20


def usable_columns(schema: pyarrow.Schema, path: Path, report: SkipReport, text_column: str) -> list[str]:
    """The columns that documents are made of; those that are left out are counted as `dropped_field`.

    Raises:
        BadRecord: There is no column of texts named `text_column`, or `id` or `title` are of another kind, or a name
            occurs twice.
    """
    names = column_names(schema.names, text_column)
    if "text" not in names:
        found = shortened(", ".join(schema.names[:_NAMED_IN_MESSAGES]))
        advice = "name the one to read with --text-column"
        raise BadRecord("no_text_column", f'there is no column "{text_column}"; the columns are {found}; {advice}')
    name, count = Counter(schema.names).most_common(1)[0]
    if count > 1:
        raise BadRecord("bad_header", f'{count} columns are named "{shortened(name)}"')
    for meaning, name in names.items():
        kind = schema.field(name).type
        if _is_text(kind) or (meaning == "id" and _is_whole_number(kind)):
            continue
        expected = "texts or whole numbers" if meaning == "id" else "texts"
        raise BadRecord("bad_header", f'the column "{name}" holds {shortened(str(kind))}; it must hold {expected}')
    for field in schema:
        parts = [(f"{field.name}.{part.name}", part.type) for part in field.type] if _is_metadata(field) else []
        for name, kind in parts or [(field.name, field.type)]:
            if not _is_usable(kind) and str(kind) != "null":
                report.add("dropped_field", f'{path}: the column "{shortened(name)}" holds {shortened(str(kind))}')
    return [field.name for field in schema if _is_usable(field.type) or _is_metadata(field)]


def _is_metadata(field: pyarrow.Field) -> bool:
    from pyarrow import types

    return field.name == "metadata" and bool(types.is_struct(field.type))


def _is_usable(kind: pyarrow.DataType) -> bool:
    """Whether values are plain, or lists of such; lists of floating numbers are vectors."""
    if not _is_list(kind):
        return _is_scalar(kind)
    return _is_scalar(kind.value_type) and "float" not in str(kind.value_type)


def _is_list(kind: pyarrow.DataType) -> bool:
    from pyarrow import types

    return bool(types.is_list(kind) or types.is_large_list(kind))


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
    batch: pyarrow.RecordBatch, path: Path, name: str, rows_before: int, report: SkipReport, text_column: str
) -> Iterator[Document | BadRecord]:
    """The document of every row, or what is wrong with the row. The batch is checked at once, the rows on demand.

    Args:
        batch: Rows, with columns among those of `usable_columns`.
        path: Where they come from, for people.
        name: What default ids begin with.
        rows_before: How many rows of the file stand before them.
        report: Where fields that are left out are counted.
        text_column: The name of the column of texts.

    Raises:
        BadRecord: The batch as a whole is broken. Arrow's own errors pass through.
    """
    columns = {column: _values(array) for column, array in zip(batch.schema.names, batch.columns, strict=True)}

    def documents() -> Iterator[Document | BadRecord]:
        for row in range(batch.num_rows):
            number = rows_before + row + 1
            fields = {column: values[row] for column, values in columns.items() if values[row] is not None}
            try:
                yield document_of_fields(
                    {column: _decoded(column, value) for column, value in fields.items()},
                    f"{path}:{number}",
                    f"{name}:{number}",
                    report=report,
                    text_column=text_column,
                )
            except BadRecord as bad:
                yield bad

    return documents()


def _decoded(column: str, value: Any) -> Any:
    """The value with texts in the place of bytes."""
    if isinstance(value, list):
        return [_decoded(column, one) for one in value]
    if isinstance(value, dict):
        return {key: _decoded(key, one) for key, one in value.items()}
    if not isinstance(value, bytes):
        return value
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
    if types.is_struct(array.type):
        return _values_of_structure(array)
    if _is_list(array.type):
        return _values_of_list(array)
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


def _values_of_structure(array: pyarrow.StructArray) -> list[Any]:
    array.validate()
    kinds = [(place, field.name) for place, field in enumerate(array.type) if _is_usable(field.type)]
    parts = array.flatten()
    columns = [(name, _values(parts[place])) for place, name in kinds]
    return [{name: values[row] for name, values in columns} for row in range(len(array))]


def _values_of_list(array: pyarrow.ListArray) -> list[Any]:
    array.validate()
    values, edges = _values(array.values), array.offsets.to_pylist()
    is_valid = array.is_valid().to_pylist()
    return [values[edges[row] : edges[row + 1]] if is_valid[row] else None for row in range(len(array))]


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
