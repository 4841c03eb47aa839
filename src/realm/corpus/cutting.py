"""Where documents are cut: sentences packed into blocks, as plain offsets and pieces.

What comes out is small and made of plain parts, so that it travels cheaply from a process that cuts to one that
collects; `chunking` makes blocks of it. Long documents are looked at in windows between sentences, for what is known of
each sentence and word takes many times the memory of the text. Knows sentences and word pieces, not where documents
come from. Read `Cutter` first.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from re import Match
from typing import NamedTuple

from realm.artifacts import sha256_of_text
from realm.corpus.pieces import PIECE_BYTES, WORD, PieceTokenizer, WordPieces, count, first_pieces
from realm.records import Document
from realm.text.pieces import SPECIAL_PIECES_OF_A_PAIR, longest_title
from realm.text.sentences import sentence_spans

Span = tuple[int, int]
_Window = tuple[int, list[Span]]  # a document's place in the batch, and some of its sentences

_WINDOW_CHARACTERS = 1 << 18  # where sentences are short, 150 bytes of memory for each
_WORDS_AT_ONCE = 1 << 12
# Where a sentence ends is told from the first 28 characters of the next one.
_CHARACTERS_AHEAD = 64


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
        found = self._pieces.of_texts([document.title for document in batch])
        titles = [first_pieces(title, self._longest_title) for title in found]
        packers = [
            _Packer(document, self._room - count(title), self._pieces)
            for document, title in zip(batch, titles, strict=True)
        ]
        for group in _groups(batch):
            place, spans = group[0]
            if _is_long(spans):
                packers[place].add_long_sentence(spans[0])
            else:
                self._add(group, batch, packers)
        return [packer.finish(title) for packer, title in zip(packers, titles, strict=True)]

    def _add(self, group: list[_Window], batch: list[Document], packers: list[_Packer]) -> None:
        texts = [batch[place].text[start:end] for place, spans in group for start, end in spans]
        rows, borders = self._pieces.rows_of_texts(texts)
        found, limits = rows.tobytes(), (PIECE_BYTES * borders).tolist()
        last = 0
        for place, spans in group:
            first, last = last, last + len(spans)
            packers[place].add_sentences(spans, found, limits[first : last + 1])


def _groups(batch: list[Document]) -> Iterator[list[_Window]]:
    """Windows of all documents in order, short ones together; a sentence that is longer is a group by itself."""
    group: list[_Window] = []
    characters = 0
    for place, document in enumerate(batch):
        for spans in _windows(document.text):
            more = spans[-1][1] - spans[0][0]
            if group and characters + more > _WINDOW_CHARACTERS:
                yield group
                group, characters = [], 0
            group.append((place, spans))
            characters += more
    if group:
        yield group


def _windows(text: str) -> Iterator[list[Span]]:
    """`sentence_spans(text)`, a part at a time."""
    if len(text) <= _WINDOW_CHARACTERS:
        spans = sentence_spans(text)
        if spans:
            yield spans
        return
    # Where sentences end depends on whether the whole text has capitals: so each part gets a letter, and a line break
    # that keeps it apart.
    letter = "\na" if text.islower() else "\nA"
    start, characters = 0, _WINDOW_CHARACTERS
    while start < len(text):
        part = text[start : start + characters]
        spans = sentence_spans(part + letter)[:-1]
        is_last = start + len(part) == len(text)
        limit = len(part) - _CHARACTERS_AHEAD
        certain = len(spans) if is_last else bisect_right(spans, limit, key=lambda span: span[0]) - 1
        if certain <= 0 and not is_last:
            characters *= 2
            continue
        if characters > _WINDOW_CHARACTERS:
            certain = min(certain, 1)  # the long one
        if certain > 0:
            yield [(start + first, start + end) for first, end in spans[:certain]]
        if certain == len(spans):
            return
        start += spans[certain][0]
        characters = _WINDOW_CHARACTERS


def _is_long(spans: list[Span]) -> bool:
    """Whether it is one sentence, longer than a window."""
    return len(spans) == 1 and spans[0][1] - spans[0][0] > _WINDOW_CHARACTERS


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

    def add_long_sentence(self, span: Span) -> None:
        """Add a sentence of which not all words should be held at once."""
        parts: list[bytes] = []
        size = 0
        for _, word in self._words(span):
            size += len(word)
            if size > self._budget_bytes:
                self._close()
                self._add_words(span)
                return
            parts.append(word)
        self.add_sentences([span], b"".join(parts), [0, size])

    def _words(self, span: Span) -> Iterator[tuple[Match[str], bytes]]:
        matches = WORD.finditer(self._document.text, *span)
        while group := list(islice(matches, _WORDS_AT_ONCE)):
            yield from zip(group, self._pieces.of_texts([match[0] for match in group]), strict=True)

    def _add_words(self, span: Span) -> None:
        for match, word in self._words(span):
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
