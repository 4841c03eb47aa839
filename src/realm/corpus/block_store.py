"""The blocks of a knowledge base on disk: `blocks.lance`, one row per block.

Row r belongs to row r of the vector files. So blocks are only ever appended: those of documents that are gone
are named by the tombstones of the index, until compaction drops both. Knows no vectors, no model,
and not the manifest that says which versions of blocks, documents and vectors belong together. Read `BlockStore` first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from realm.corpus.chunking import ChunkedDocument
from realm.corpus.lance_table import LanceTable
from realm.errors import CorruptFileError, KnowledgeBaseError
from realm.records import Block

if TYPE_CHECKING:
    import numpy as np
    import pyarrow
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """A block and what the store knows about it.

    Attributes:
        row: Its row number, in the store and in the vector files.
        block: The block.
        title_ids: Word pieces of the title, cut so that title and block fit the model.
    """

    row: int
    block: Block
    title_ids: tuple[int, ...]


class BlockStore(LanceTable):
    """Blocks by row number. Rows are appended and never deleted, but for `drop`, which numbers them anew."""

    @classmethod
    def schema(cls) -> pyarrow.Schema:
        """Columns and their types."""
        import pyarrow as pa

        pieces = pa.list_(pa.uint16())
        return pa.schema(
            [
                ("row", pa.uint64()),
                ("id", pa.string()),
                ("document_id", pa.string()),
                ("title", pa.string()),
                ("start", pa.uint64()),
                ("end", pa.uint64()),
                ("text", pa.string()),
                ("token_ids", pieces),
                ("title_ids", pieces),
            ]
        )

    def append(self, documents: Sequence[ChunkedDocument]) -> list[range]:
        """Add the blocks of documents, as one new version.

        Returns:
            The rows of each document's blocks.

        Raises:
            KnowledgeBaseError: They cannot be written.
        """
        import pyarrow as pa

        first = len(self)
        places: list[range] = []
        pairs: list[tuple[ChunkedDocument, Block]] = []
        for chunked in documents:
            start = first + len(pairs)
            pairs += [(chunked, block) for block in chunked.blocks]
            places.append(range(start, first + len(pairs)))
        if pairs:
            columns: dict[str, Any] = {
                "row": range(first, first + len(pairs)),
                "id": [block.id for _, block in pairs],
                "document_id": [block.document_id for _, block in pairs],
                "title": [block.title for _, block in pairs],
                "start": [block.start for _, block in pairs],
                "end": [block.end for _, block in pairs],
                "text": [block.text for _, block in pairs],
                "token_ids": [block.token_ids for _, block in pairs],
                "title_ids": [chunked.title_ids for chunked, _ in pairs],
            }
            self._append(pa.table(columns, schema=self.schema()))
        return places

    def drop(self, gone: NDArray[np.int64]) -> None:
        """Write all blocks anew without the rows in `gone` (ascending), streaming; the others move up, in order."""
        self._replace_rows(self._without(gone))

    def _without(self, gone: NDArray[np.int64]) -> Iterator[pyarrow.RecordBatch]:
        import numpy as np
        import pyarrow as pa

        seen = kept = 0
        for batch in self.batches(batch_rows=1024):
            stays = np.ones(batch.num_rows, dtype=bool)
            first, last = np.searchsorted(gone, (seen, seen + batch.num_rows))
            stays[gone[first:last] - seen] = False
            seen += batch.num_rows
            left = batch.filter(pa.array(stays))
            rows = pa.array(range(kept, kept + left.num_rows), pa.uint64())
            yield left.set_column(0, self.schema().field("row"), rows)
            kept += left.num_rows

    def take(self, rows: Iterable[int]) -> list[StoredBlock]:
        """The blocks at `rows`, in their order; a row may be asked for more than once.

        Raises:
            KnowledgeBaseError: There is no such row in this version.
            CorruptFileError: The files are damaged, or rows have been moved.
        """
        wanted = [int(row) for row in rows]
        table = self.take_columns(wanted, self.schema().names)
        blocks = []
        for fields in table.to_pylist():
            row = fields.pop("row")
            title_ids = tuple(fields.pop("title_ids"))
            fields["token_ids"] = tuple(fields["token_ids"])
            blocks.append(StoredBlock(row, Block(**fields), title_ids))
        return blocks

    def take_columns(self, rows: Iterable[int], columns: Sequence[str]) -> pyarrow.Table:
        """Some columns of the blocks at `rows`, in their order, as a table. Raises like `take`."""
        wanted = [int(row) for row in rows]
        count = len(self)
        outside = [row for row in wanted if not 0 <= row < count]
        if outside:
            raise KnowledgeBaseError(
                f"{self.path}: row {outside[0]:,} was asked for, version {self.version} has {count:,}; "
                "are vectors and blocks of different versions?"
            )
        with self._reading():
            table = self._dataset.take(wanted, columns=list(dict.fromkeys(["row", *columns])))
        if table["row"].to_pylist() != wanted:
            raise CorruptFileError(
                f"{self.path}: rows are not where they were written; something else has edited this dataset"
            )
        return table.select(list(columns))
