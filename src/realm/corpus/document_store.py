"""The documents of a knowledge base on disk: `documents.lance`, one row per document.

Documents are appended and deleted; Lance keeps what older versions need. Which of their blocks are where is
written here; the blocks themselves are in `block_store`. Knows no vectors, no model and no manifest. Read
`DocumentStore` first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from realm.corpus.lance_table import LanceTable
from realm.records import Document

if TYPE_CHECKING:
    import numpy as np
    import pyarrow
    from numpy.typing import NDArray

_IDS_PER_QUERY = 1000
_ROWS_UNINDEXED = 1024


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document and what the store knows about it.

    Attributes:
        document: The document.
        content_hash: `document_hash(document)`; another hash under the same id is a changed document.
        version: Version of the knowledge base that wrote it; character offsets hold for it.
        first_block: Row of its first block.
        block_count: How many blocks it has; they are rows in a row.
    """

    document: Document
    content_hash: str
    version: int
    first_block: int
    block_count: int


class DocumentStore(LanceTable):
    """Documents by id. An id occurs at most once in a version."""

    @classmethod
    def schema(cls) -> pyarrow.Schema:
        """Columns and their types."""
        import pyarrow as pa

        return pa.schema(
            [
                ("id", pa.string()),
                ("content_hash", pa.string()),
                ("version", pa.uint64()),
                ("title", pa.string()),
                ("text", pa.large_string()),
                ("source", pa.string()),
                ("metadata", pa.string()),
                ("first_block", pa.uint64()),
                ("block_count", pa.uint64()),
            ]
        )

    def put(self, documents: Sequence[StoredDocument], *, replaced: Iterable[str] | None = None) -> None:
        """Add documents; one that has the id of an older one takes its place.

        Args:
            documents: What to add.
            replaced: Those of their ids that are in the store, if the caller has looked them up already.

        Raises:
            ValueError: Two of `documents` have the same id.
            KnowledgeBaseError: They cannot be written.
        """
        import pyarrow as pa

        ids = [stored.document.id for stored in documents]
        if len(set(ids)) != len(ids):
            raise ValueError("two of the documents to be stored have the same id")
        if not documents:
            return
        self.remove(self.get(ids, with_text=False) if replaced is None else replaced)
        columns: dict[str, Any] = {
            "id": ids,
            "content_hash": [stored.content_hash for stored in documents],
            "version": [stored.version for stored in documents],
            "title": [stored.document.title for stored in documents],
            "text": [stored.document.text for stored in documents],
            "source": [stored.document.source for stored in documents],
            "metadata": [json.dumps(dict(stored.document.metadata), ensure_ascii=False) for stored in documents],
            "first_block": [stored.first_block for stored in documents],
            "block_count": [stored.block_count for stored in documents],
        }
        self._append(pa.table(columns, schema=self.schema()))

    def get(self, ids: Iterable[str], *, with_text: bool = True) -> dict[str, StoredDocument]:
        """Look documents up.

        Args:
            ids: Which documents.
            with_text: Read the texts, too. Without them `document.text` is "": enough to compare hashes or
                find blocks.

        Returns:
            Those that are in the store, by id.
        """
        columns = [name for name in self.schema().names if with_text or name != "text"]
        found = {}
        for condition in _conditions(ids):
            with self._reading():
                table = self._dataset.to_table(columns=columns, filter=condition)
            for fields in table.to_pylist():
                found[fields["id"]] = _stored_document(fields)
        return found

    def remove(self, ids: Iterable[str]) -> int:
        """Delete documents, as one or more new versions; ids that are not in the store are passed over.

        Returns:
            How many were deleted.
        """
        removed = 0
        for condition in _conditions(ids):
            self._make_newest()
            with self._writing():
                removed += int(self._dataset.delete(condition)["num_deleted_rows"])
        return removed

    def index_ids(self) -> None:
        """Make or complete the index that finds ids quickly; lookups without it are right, but slower."""
        if not len(self):
            return
        self._make_newest()
        with self._writing():
            if any("id" in index.field_names for index in self._dataset.describe_indices()):
                self._dataset.optimize.optimize_indices()
            else:
                self._dataset.create_scalar_index("id", "BTREE")

    def complete_id_index(self) -> None:
        """Like `index_ids`, where so many documents are not in the index that looking through them takes time."""
        with self._reading():
            indexed = sum(
                index.num_rows_indexed for index in self._dataset.describe_indices() if "id" in index.field_names
            )
        if len(self) - indexed > _ROWS_UNINDEXED:
            self.index_ids()

    def ids(self) -> Iterator[list[tuple[str, int]]]:
        """Ids of all documents, each with the version that wrote it, in batches."""
        for batch in self.batches(["id", "version"]):
            yield list(zip(batch["id"].to_pylist(), batch["version"].to_pylist(), strict=True))

    def block_rows(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First row and number of the blocks of every document, in the order of the rows."""
        import numpy as np

        firsts = [np.empty(0, dtype=np.int64)]
        counts = [np.empty(0, dtype=np.int64)]
        for batch in self.batches(["first_block", "block_count"]):
            firsts.append(batch["first_block"].to_numpy().astype(np.int64))
            counts.append(batch["block_count"].to_numpy().astype(np.int64))
        first, count = np.concatenate(firsts), np.concatenate(counts)
        order = np.lexsort((count, first))
        return first[order], count[order]

    def move_blocks(self, gone: NDArray[np.int64]) -> None:
        """Write all documents anew as they stand after the block rows in `gone` (ascending) were dropped, streaming."""
        self._replace_rows(self._moved(gone))

    def _moved(self, gone: NDArray[np.int64]) -> Iterator[pyarrow.RecordBatch]:
        import numpy as np
        import pyarrow as pa

        field = self.schema().field("first_block")
        place = self.schema().names.index("first_block")
        for batch in self.batches(batch_rows=256):
            rows = batch["first_block"].to_numpy().astype(np.int64)
            yield batch.set_column(place, field, pa.array(rows - np.searchsorted(gone, rows), pa.uint64()))


def _conditions(ids: Iterable[str]) -> list[str]:
    """SQL conditions that together match `ids`. In an SQL text only the quotation mark needs care."""
    quoted = ["'" + id.replace("'", "''") + "'" for id in dict.fromkeys(ids)]
    groups = [quoted[start : start + _IDS_PER_QUERY] for start in range(0, len(quoted), _IDS_PER_QUERY)]
    return [f"id IN ({', '.join(group)})" for group in groups]


def _stored_document(fields: dict[str, Any]) -> StoredDocument:
    document = Document(
        id=fields["id"],
        title=fields["title"],
        text=fields.get("text", ""),
        source=fields["source"],
        metadata=json.loads(fields["metadata"]),
    )
    return StoredDocument(
        document, fields["content_hash"], fields["version"], fields["first_block"], fields["block_count"]
    )
