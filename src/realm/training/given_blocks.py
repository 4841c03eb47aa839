"""Blocks as a source has them, one after the other: of a knowledge base, of a block file, or cut from documents.

Knows formats, not what blocks are made into. Read `read_blocks` first.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from realm.corpus.chunking import chunk_documents
from realm.corpus.lines import JSON_LINES_SUFFIXES, Record, read_records
from realm.corpus.readers import read_documents
from realm.corpus.skips import BadRecord, Skipper
from realm.errors import SourceError
from realm.interop.block_table import COLUMNS, PIECE_COLUMNS
from realm.text.pieces import PieceTokenizer

KNOWLEDGE_BASE = "kb.json"
_ROWS_AT_ONCE = 512
_PIECE_IDS = range(1 << 16)


class GivenBlock(NamedTuple):
    """A block as its source has it; pieces are None where it has none."""

    id: str
    document_id: str
    title: str
    text: str
    title_ids: list[int] | None = None
    body_ids: list[int] | None = None


def is_knowledge_base(source: Path) -> bool:
    """Whether a path is the folder of a knowledge base."""
    return (source / KNOWLEDGE_BASE).is_file()


def read_blocks(source: Path, tokenizer: PieceTokenizer, max_pieces: int) -> Iterator[GivenBlock]:
    """All blocks of a source, in their order.

    Args:
        source: A knowledge base, a Parquet or JSON lines file of blocks, or documents.
        tokenizer: Documents are cut with it.
        max_pieces: The same.

    Raises:
        SourceError: The source is damaged, or not what its first record says.
        KnowledgeBaseError: The knowledge base cannot be read.
    """
    if is_knowledge_base(source):
        return _of_knowledge_base(source)
    if source.suffix.lower() == ".parquet" and set(COLUMNS) <= (names := _parquet_columns(source)):
        return _of_parquet(source, [name for name in (*COLUMNS, *PIECE_COLUMNS) if name in names])
    if source.name.lower().endswith(JSON_LINES_SUFFIXES):
        skipper = Skipper(False, None)
        first = next(read_records(source, lambda record: set(record.fields), skipper), None)
        if first is not None and set(COLUMNS) <= first:
            return read_records(source, _of_record, skipper)
    return _of_documents(source, tokenizer, max_pieces)


def _of_knowledge_base(folder: Path) -> Iterator[GivenBlock]:
    """Blocks whose documents are there, as `realm export blocks` writes them."""
    from realm.openqa.knowledge_base import KnowledgeBase

    base = KnowledgeBase.open(folder)
    names = ["row", "id", "document_id", "title", "text", *PIECE_COLUMNS]
    for batch in base.blocks.batches(names):
        live = ~np.isin(batch["row"].to_numpy(zero_copy_only=False), base.tombstones)
        for place in np.flatnonzero(live).tolist():
            yield _of_fields({name: batch[name][place].as_py() for name in names[1:]}, str(folder))


def _parquet_columns(path: Path) -> set[str]:
    import pyarrow
    from pyarrow import parquet

    try:
        return set(parquet.read_schema(path).names)
    except (pyarrow.ArrowException, OSError) as exc:
        raise SourceError(f"{path}: cannot be read as Parquet: {str(exc).partition(chr(10))[0]}") from exc


def _of_parquet(path: Path, columns: list[str]) -> Iterator[GivenBlock]:
    import pyarrow
    from pyarrow import parquet

    row = 0
    try:
        with parquet.ParquetFile(path, pre_buffer=False) as file:
            for batch in file.iter_batches(_ROWS_AT_ONCE, columns=columns, use_threads=False):
                for fields in batch.to_pylist():
                    row += 1
                    yield _of_fields(fields, f"{path}:{row}")
    except (pyarrow.ArrowException, OSError) as exc:
        raise SourceError(f"{path}: broken near row {row + 1:,}: {str(exc).partition(chr(10))[0]}") from exc
    except BadRecord as exc:
        raise SourceError(f"{path}:{row}: {exc.problem}") from exc


def _of_record(record: Record) -> GivenBlock:
    return _of_fields(record.fields, record.place)


def _of_fields(fields: dict[str, Any], place: str) -> GivenBlock:
    texts = [fields.get(name) for name in ("id", "document_id", "title", "text")]
    pieces = [fields.get(name) for name in reversed(PIECE_COLUMNS)]
    if not all(isinstance(text, str) for text in texts):
        raise BadRecord("no_block", "this is no block: id, document_id, title and text must be texts")
    for numbers in pieces:
        if numbers is not None and not (isinstance(numbers, list) and all(map(_PIECE_IDS.__contains__, numbers))):
            raise BadRecord("no_block", f"this is no block: {' and '.join(PIECE_COLUMNS)} must be lists of piece ids")
    return GivenBlock(*texts, *pieces)  # type: ignore[arg-type]  # checked above


def _of_documents(source: Path, tokenizer: PieceTokenizer, max_pieces: int) -> Iterator[GivenBlock]:
    for cut in chunk_documents(read_documents([source]), tokenizer, max_pieces=max_pieces):
        title_ids = list(cut.title_ids)
        for block in cut.blocks:
            yield GivenBlock(block.id, block.document_id, block.title, block.text, title_ids, list(block.token_ids))
