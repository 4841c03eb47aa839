"""Blocks as one flat file, for machines that have neither Lance nor a knowledge base: Parquet or JSON lines.

    id            string     stable: digest of document id, content and offsets
    document_id   string     the document it is cut from
    title         string     the document's title; may be empty
    text          string     the passage, verbatim
    start, end    integers   its characters [start, end) in the document
    token_ids     integers   word pieces of the text                       (only if asked for)
    title_ids     integers   word pieces of the title, cut to fit          (only if asked for)

Row i of a block file belongs to row i of the vectors exported from the same version. This is the only place
that says what the columns are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from realm.errors import UsageError

if TYPE_CHECKING:
    import pyarrow

COLUMNS: Final = ("id", "document_id", "title", "text", "start", "end")
PIECE_COLUMNS: Final = ("token_ids", "title_ids")

_COMPRESSIONS: Final = {".jsonl": None, ".jsonl.zst": "zstd", ".jsonl.gz": "gzip"}
_PARQUET: Final = ".parquet"


def require_known_name(path: Path) -> str:
    """The ending of a block file's name, which says how it is written.

    Raises:
        UsageError: It is none that is known.
    """
    for ending in (_PARQUET, *_COMPRESSIONS):
        if path.name.endswith(ending):
            return ending
    raise UsageError(f"{path}: block files end in {_PARQUET}, {', '.join(_COMPRESSIONS)}.")


def write_block_table(path: Path, ending: str, batches: Iterable[pyarrow.RecordBatch], schema: pyarrow.Schema) -> None:
    """Write blocks batch by batch.

    Args:
        path: Written as it is; see `staging` for files that appear whole.
        ending: What `require_known_name` gave for the file's final name.
        batches: Consecutive rows, with the columns of `schema`.
        schema: `COLUMNS`, and `PIECE_COLUMNS` if word pieces are wanted.
    """
    if ending == _PARQUET:
        import pyarrow.parquet

        with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
            for batch in batches:
                writer.write_batch(batch)
        return
    import pyarrow

    with pyarrow.output_stream(str(path), compression=_COMPRESSIONS[ending]) as file:
        for batch in batches:
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in batch.to_pylist())
            file.write("".join(lines).encode())
