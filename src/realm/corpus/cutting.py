"""Where documents are cut: sentences packed into blocks, as plain offsets and pieces.

What comes out is small and made of plain parts, so that it travels cheaply from a process that cuts to one that
collects; `chunking` makes blocks of it. Knows sentences and word pieces, not where documents come from. Read `Cutter`
first.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import NamedTuple

from realm.artifacts import sha256_of_text
from realm.corpus.pieces import PIECE_BYTES, WORD, PieceTokenizer, WordPieces, count, first_pieces
from realm.records import Document
from realm.text.pieces import SPECIAL_PIECES_OF_A_PAIR, longest_title
from realm.text.sentences import sentence_spans

Span = tuple[int, int]


class CutBlock(NamedTuple):
    """A block before it has its text.

    Attributes:
        id: Digest of document id, document content and offsets.
        start: First character in the document.
        end: One past the last character.
        pieces: Its word pieces; see `realm.corpus.pieces.ids`.
    """

    id: str
    start: int
    end: int
    pieces: bytes


@dataclass(frozen=True, slots=True)
class CutDocument:
    """Where one document is cut.

    Attributes:
        content_hash: `document_hash(document)`.
        title: Word pieces of the title, cut to half of the room a block has.
        blocks: In reading order.
    """

    content_hash: str
    title: bytes
    blocks: list[CutBlock]


def document_hash(document: Document) -> str:
    """Digest of what a document says: title, text and metadata, but neither its id nor its place on disk."""
    metadata = [part for pair in sorted(document.metadata.items()) for part in pair]
    return sha256_of_text(document.title, document.text, *metadata)


def block_id_of(document_id: str, content_hash: str, start: int, end: int) -> str:
    """Id of a block: a digest of its document's id, what that says, and the block's place in it."""
    return sha256_of_text(document_id, content_hash, str(start), str(end))[:32]


class Cutter:
    """Cuts documents, many at once, and remembers the words it has met."""

    def __init__(self, tokenizer: PieceTokenizer, max_pieces: int) -> None:
        """Cut with `tokenizer` so that title, block and special tokens are at most `max_pieces`.

        Raises:
            ModelError: The tokenizer's pieces reach across white space, or its ids do not fit 16 bits.
        """
        self._pieces = WordPieces(tokenizer)
        self._room = max_pieces - SPECIAL_PIECES_OF_A_PAIR
        self._longest_title = longest_title(max_pieces)

    def __call__(self, batch: list[Document]) -> list[CutDocument]:
        """Where each of the documents is cut, in their order."""
        spans = [sentence_spans(document.text) for document in batch]
        texts = [document.title for document in batch]
        for document, document_spans in zip(batch, spans, strict=True):
            text = document.text
            texts += [text[start:end] for start, end in document_spans]
        rows, borders = self._pieces.rows_of_texts(texts)
        found, limits = rows.tobytes(), (PIECE_BYTES * borders).tolist()
        cut = []
        last = len(batch)
        for place, (document, document_spans) in enumerate(zip(batch, spans, strict=True)):
            first, last = last, last + len(document_spans)
            title = first_pieces(found[limits[place] : limits[place + 1]], self._longest_title)
            packer = _Packer(document, self._room - count(title), self._pieces)
            packer.add_sentences(document_spans, found, limits[first : last + 1])
            cut.append(packer.finish(title))
        return cut


class _Packer:
    """Packs the sentences of one document, in order, into blocks of at most `budget` pieces."""

    def __init__(self, document: Document, budget: int, pieces: WordPieces) -> None:
        self._document = document
        self._budget = budget
        self._budget_bytes = budget * PIECE_BYTES
        self._pieces = pieces
        self._content_hash = document_hash(document)
        self._blocks: list[CutBlock] = []
        self._start = self._end = self._bytes = 0
        self._parts: list[bytes] = []

    def add_sentences(self, spans: list[Span], found: bytes, limits: list[int]) -> None:
        """Add sentences, of which number `n` has the pieces `found[limits[n] : limits[n + 1]]`."""
        first = 0
        while first < len(spans):
            room = self._budget_bytes - self._bytes
            last = bisect_right(limits, limits[first] + room, first) - 1
            if last > first:
                self._add((spans[first][0], spans[last - 1][1]), found[limits[first] : limits[last]])
                first = last
                continue
            self._close()
            if limits[first + 1] - limits[first] > self._budget_bytes:
                self._add_words(spans[first])
                first += 1

    def _add(self, span: Span, part: bytes) -> None:
        """Add what has room: sentences, words, or part of a word."""
        if not self._parts:
            self._start = span[0]
        self._end = span[1]
        self._parts.append(part)
        self._bytes += len(part)

    def _add_words(self, span: Span) -> None:
        matches = list(WORD.finditer(self._document.text, *span))
        words = self._pieces.of_texts([match[0] for match in matches])
        for match, word in zip(matches, words, strict=True):
            if count(word) <= self._budget:
                if self._bytes + len(word) > self._budget_bytes:
                    self._close()
                self._add(match.span(), word)
                continue
            for start, end, part in self._pieces.cut(match[0], self._budget):
                # Parts of one word never share a block: pieces of the whole are not the pieces of its parts.
                self._close()
                self._add((match.start() + start, match.start() + end), part)

    def _close(self) -> None:
        if not self._parts:
            return
        start, end = self._start, self._end
        block_id = block_id_of(self._document.id, self._content_hash, start, end)
        self._blocks.append(CutBlock(block_id, start, end, b"".join(self._parts)))
        self._parts = []
        self._bytes = 0

    def finish(self, title: bytes) -> CutDocument:
        self._close()
        return CutDocument(self._content_hash, title, self._blocks)
