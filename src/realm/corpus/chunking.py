"""Documents cut into blocks: whole sentences, packed until the next would be too much for the model.

    text ──sentence_spans──> sentences ──WordPieces──> pieces of each ──_Packer──> blocks of up to 288 pieces

Knows sentences and word pieces, not where documents come from or where blocks go. Read `chunk_documents`
first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from realm.artifacts import sha256_of_text
from realm.corpus.pieces import WORD, PieceTokenizer, WordPieces, count, ids
from realm.records import Block, Document
from realm.text.sentences import sentence_spans

MAX_PIECES = 288
SPECIAL_PIECES = 3  # [CLS] title [SEP] body [SEP]

_MIN_PIECES = 16
_BATCH_CHARACTERS = 8_000_000

Span = tuple[int, int]


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


def document_hash(document: Document) -> str:
    """Digest of what a document says: title, text and metadata, but neither its id nor its place on disk."""
    metadata = [part for pair in sorted(document.metadata.items()) for part in pair]
    return sha256_of_text(document.title, document.text, *metadata)


def chunk_documents(
    documents: Iterable[Document],
    tokenizer: PieceTokenizer,
    *,
    max_pieces: int = MAX_PIECES,
    batch_documents: int = 64,
) -> Iterator[ChunkedDocument]:
    """Cut documents into blocks of whole sentences.

    Sentences are added while `3 + pieces(title) + pieces(block) <= max_pieces`. A sentence that is too long
    by itself begins a block and is cut between words; a single word that is too long is cut between
    characters. Nothing is dropped, and `token_ids` of a block are exactly what the tokenizer makes of its
    `text`.

    Args:
        documents: In any order; consumed as blocks are asked for.
        tokenizer: Makes word pieces. They must not reach across white space, as BERT's do not.
        max_pieces: Room of the model for title, block and three special tokens. At least 16.
        batch_documents: How many documents are looked at together, for speed.

    Returns:
        The documents in their order, each with its blocks. A document of white space has none.

    Source: google-research `language/orqa/preprocessing/wiki_preprocessor.py`.
    Differs: blocks are verbatim slices of the document, line breaks included, where ORQA joins sentences by
        single spaces; a sentence over the limit is cut here, where ORQA leaves that to the encoder, which
        drops the rest; a title takes at most half of the room.
    """
    if max_pieces < _MIN_PIECES:
        raise ValueError(f"max_pieces is {max_pieces}; a block needs room for at least {_MIN_PIECES}")
    pieces = WordPieces(tokenizer)
    for batch in _batches(documents, batch_documents):
        yield from _chunk_batch(batch, pieces, max_pieces)


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


def _chunk_batch(batch: list[Document], pieces: WordPieces, max_pieces: int) -> list[ChunkedDocument]:
    spans = [sentence_spans(document.text) for document in batch]
    texts = [document.title for document in batch]
    for document, document_spans in zip(batch, spans, strict=True):
        texts += [document.text[start:end] for start, end in document_spans]
    found = iter(pieces.of_texts(texts))
    chunked = []
    titles = [ids(title)[: (max_pieces - SPECIAL_PIECES) // 2] for title in islice(found, len(batch))]
    for document, document_spans, title_ids in zip(batch, spans, titles, strict=True):
        packer = _Packer(document, max_pieces - SPECIAL_PIECES - len(title_ids), pieces)
        for span in document_spans:
            packer.add_sentence(span, next(found))
        chunked.append(packer.finish(title_ids))
    return chunked


class _Packer:
    """Packs the sentences of one document, in order, into blocks of at most `budget` pieces."""

    def __init__(self, document: Document, budget: int, pieces: WordPieces) -> None:
        self._document = document
        self._budget = budget
        self._pieces = pieces
        self._content_hash = document_hash(document)
        self._blocks: list[Block] = []
        self._start = self._end = self._count = 0
        self._parts: list[bytes] = []

    def add_sentence(self, span: Span, sentence: bytes) -> None:
        if count(sentence) <= self._budget:
            self._add(span, sentence)
            return
        self._close()
        matches = list(WORD.finditer(self._document.text, *span))
        words = self._pieces.of_texts([match[0] for match in matches])
        for match, word in zip(matches, words, strict=True):
            if count(word) <= self._budget:
                self._add(match.span(), word)
                continue
            for start, end, part in self._pieces.cut(match[0], self._budget):
                # Parts of one word never share a block: pieces of the whole are not the pieces of its parts.
                self._close()
                self._add((match.start() + start, match.start() + end), part)

    def _add(self, span: Span, part: bytes) -> None:
        if self._count + count(part) > self._budget:
            self._close()
        if not self._parts:
            self._start = span[0]
        self._end = span[1]
        self._parts.append(part)
        self._count += count(part)

    def _close(self) -> None:
        if not self._parts:
            return
        document, start, end = self._document, self._start, self._end
        block_id = sha256_of_text(document.id, self._content_hash, str(start), str(end))[:32]
        token_ids = ids(b"".join(self._parts))
        block = Block(block_id, document.id, document.title, start, end, document.text[start:end], token_ids)
        self._blocks.append(block)
        self._parts = []
        self._count = 0

    def finish(self, title_ids: tuple[int, ...]) -> ChunkedDocument:
        self._close()
        return ChunkedDocument(self._document, self._content_hash, title_ids, tuple(self._blocks))
