"""What others see of the documents: batches of columns as texts or as numbers, keys of the metadata among them.

The metadata is one JSON object a document, of texts; only the keys asked for are taken out of it. Knows no conditions.
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realm.corpus.document_store import DocumentStore
from realm.errors import CorruptFileError

FIELDS = ("id", "title", "source", "version")
"""Columns that every document has."""

_PREFIX = "metadata."
_WEB = ("http://", "https://")
PUT = "put:"
"""Begins the source of a document that a server was given, which is a name for people and no path of its machine."""
_NUMBER = r"^\s*[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?\s*$"


class DocumentColumns:
    """Columns of a batch of documents. Columns of the metadata are named `metadata.key`."""

    def __init__(self, batch: Any, metadata: Any, hides_folders: bool) -> None:
        self._batch = batch
        self._metadata = metadata
        self._hides_folders = hides_folders

    @classmethod
    def of(
        cls, documents: DocumentStore, columns: Collection[str], *, hides_folders: bool = False
    ) -> Iterator[DocumentColumns]:
        """All documents in batches, with these columns and no more; sources perhaps as `shown_source` has them."""
        keys = sorted(name.removeprefix(_PREFIX) for name in columns if name.startswith(_PREFIX))
        fields = [name for name in columns if name in FIELDS]
        wanted = [*fields, *(["metadata"] if keys else []), "first_block", "block_count"]
        for batch in documents.batches(wanted):
            if batch.num_rows:
                yield cls(batch, _values_of(keys, batch["metadata"], documents) if keys else None, hides_folders)

    def text(self, name: str) -> Any:
        """A column as texts, NULL where a document does not have it."""
        import pyarrow as pa

        if name.startswith(_PREFIX):
            return self._metadata[name.removeprefix(_PREFIX)].combine_chunks()
        texts = self._batch[name].cast(pa.string())
        if name == "source" and self._hides_folders:
            return pa.array(map(shown_source, texts.to_pylist()), pa.string())
        return texts

    def number(self, name: str) -> Any:
        """A column as numbers, NULL where it is none."""
        import pyarrow as pa
        import pyarrow.compute as pc

        texts = self.text(name)
        texts = pc.if_else(pc.match_substring_regex(texts, _NUMBER), texts, pa.scalar(None, pa.string()))
        return pc.utf8_ltrim(pc.utf8_trim_whitespace(texts), "+").cast(pa.float64())

    def filled(self) -> set[str]:
        """Columns in which at least one document of the batch has a value."""
        found = {name for name in FIELDS if name in self._batch.schema.names}
        if self._metadata is not None:
            columns = zip(self._metadata.column_names, self._metadata.columns, strict=True)
            found |= {_PREFIX + name for name, column in columns if column.null_count < len(column)}
        return found

    def texts(self, names: Sequence[str], chosen: Any) -> Iterator[tuple[str, ...]]:
        """Columns of the documents for which `chosen` is true, not NULL."""
        import pyarrow.compute as pc

        is_chosen = pc.fill_null(chosen, False)
        return zip(*(self.text(name).filter(is_chosen).to_pylist() for name in names), strict=True)

    def places(self, chosen: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First block and number of blocks of the documents for which `chosen` is true, not NULL."""
        import pyarrow.compute as pc

        rows = self._batch.select(["first_block", "block_count"]).filter(pc.fill_null(chosen, False))
        return rows["first_block"].to_numpy().astype(np.int64), rows["block_count"].to_numpy().astype(np.int64)


def shown_source(source: str) -> str:
    """Where a document came from, for people elsewhere: a path loses its folders, which are the owner's business.

    What follows the name stays, such as `:12` for a line; so does a web address.
    """
    return source if source.startswith(_WEB) else source.removeprefix(PUT).rpartition("/")[2]


def metadata_keys(documents: DocumentStore) -> set[str]:
    """Every key in the metadata of any document."""
    return {
        key
        for batch in documents.batches(["metadata"])
        for text in batch["metadata"].to_pylist()
        for key in json.loads(text)
    }


def _values_of(keys: list[str], metadata: Any, documents: DocumentStore) -> Any:
    """The values of some keys of JSON objects, as a table of one column for each key."""
    import pyarrow as pa
    import pyarrow.json

    # JSON has no line breaks of its own here, so lines are objects.
    lines = "\n".join(metadata.to_pylist()).encode()
    try:
        table = pyarrow.json.read_json(
            io.BytesIO(lines),
            read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=len(lines) + 1),
            parse_options=pyarrow.json.ParseOptions(
                explicit_schema=pa.schema([(key, pa.string()) for key in keys]), unexpected_field_behavior="ignore"
            ),
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as exc:
        raise CorruptFileError(f"{documents.path}: metadata is not JSON of texts ({exc})") from exc
    if table.num_rows != len(metadata):
        raise CorruptFileError(
            f"{documents.path}: metadata of {len(metadata):,} documents is {table.num_rows:,} objects"
        )
    return table
