"""Documents cut into blocks: whole sentences, packed until the next would be too much for the model.

    text ──sentence_spans──> sentences ──WordPieces──> pieces of each ──Cutter──> blocks of up to 288 pieces

A large corpus is cut by several processes. Knows neither where documents come from nor where blocks go. Read
`chunk_documents` first, then `cutting`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from realm.corpus.cutting import CutDocument, Cutter, document_hash
from realm.corpus.pieces import PieceTokenizer, ids
from realm.corpus.processes import map_in_processes
from realm.records import Block, Document

__all__ = ["MAX_PIECES", "ChunkedDocument", "chunk_documents", "document_hash"]

MAX_PIECES = 288

_MIN_PIECES = 16
_BATCH_CHARACTERS = 2_000_000
_CHARACTERS_BEFORE_PROCESSES = 4_000_000  # over half a second of work; starting processes takes about as long


@dataclass(frozen=True, slots=True)
class ChunkedDocument:
    """A document and the blocks it was cut into.

    Attributes:
        document: The document.
        content_hash: `document_hash(document)`.
        title_ids: Word pieces of the title as the model will see it: cut to half of the room a block has.
        blocks: In reading order. What lies between two of them is white space.
    """

    document: Document
    content_hash: str
    title_ids: tuple[int, ...]
    blocks: tuple[Block, ...]


def chunk_documents(
    documents: Iterable[Document],
    tokenizer: PieceTokenizer,
    *,
    max_pieces: int = MAX_PIECES,
    batch_documents: int = 64,
    processes: int = 1,
) -> Generator[ChunkedDocument, None, None]:
    """Cut documents into blocks of whole sentences.

    Sentences are added while `3 + pieces(title) + pieces(block) <= max_pieces`. A sentence that is too long
    by itself begins a block and is cut between words; a single word that is too long is cut between
    characters. Nothing is dropped, and `token_ids` of a block are exactly what the tokenizer makes of its
    `text`.

    Args:
        documents: In any order; consumed as blocks are asked for.
        tokenizer: Makes word pieces. They must not reach across white space, as BERT's do not.
        max_pieces: Room of the model for title, block and three special tokens. At least 16.
        batch_documents: How many documents are looked at together, for speed. Fewer where texts are long.
        processes: How many processes cut. Above 1 they are spawned, but not before so much text has come that it pays,
            and each has up to two batches in memory. A script that asks for this needs the usual
            `if __name__ == "__main__":`, because a spawned process imports it.

    Returns:
        The documents in their order, each with its blocks. A document of white space has none. Closing the iterator
        ends the processes.

    Raises:
        ValueError: `max_pieces` or `processes` is too small.
        ModelError: The tokenizer's pieces reach across white space, or its ids do not fit 16 bits.
        UsageError: One of the processes was killed.

    Source: google-research `language/orqa/preprocessing/wiki_preprocessor.py`.
    Differs: blocks are verbatim slices of the document, line breaks included, where ORQA joins sentences by
        single spaces; a sentence over the limit is cut here, where ORQA leaves that to the encoder, which
        drops the rest; a title takes at most half of the room.
    """
    if max_pieces < _MIN_PIECES:
        raise ValueError(f"max_pieces is {max_pieces}; a block needs room for at least {_MIN_PIECES}")
    if processes < 1:
        raise ValueError(f"processes is {processes}; at least 1 must do the work")
    cutter = Cutter(tokenizer, max_pieces)
    batches = _batches(documents, batch_documents)
    characters = 0
    while processes == 1 or characters < _CHARACTERS_BEFORE_PROCESSES:
        batch = next(batches, None)
        if batch is None:
            return
        yield from map(_chunked, batch, cutter(batch))
        characters += sum(len(document.text) for document in batch)
    # Every process begins with the words that have been met here.
    make = partial(_itself, cutter)
    del cutter, batch
    with closing(map_in_processes(make, batches, processes)) as results:
        for batch, cuts in results:
            yield from map(_chunked, batch, cuts)


def _itself(cutter: Cutter) -> Cutter:
    return cutter


def _batches(documents: Iterable[Document], batch_documents: int) -> Iterator[list[Document]]:
    """Documents in groups, smaller ones where texts are long, so that memory stays bounded."""
    batch: list[Document] = []
    characters = 0
    for document in documents:
        batch.append(document)
        characters += len(document.text)
        if len(batch) >= batch_documents or characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _chunked(document: Document, cut: CutDocument) -> ChunkedDocument:
    blocks = tuple(
        Block(id, document.id, document.title, start, end, document.text[start:end], ids(pieces))
        for id, start, end, pieces in cut.blocks
    )
    return ChunkedDocument(document, cut.content_hash, ids(cut.title), blocks)
