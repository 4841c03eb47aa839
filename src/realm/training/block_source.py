"""Where blocks for training come from: a knowledge base, a file of blocks, or documents that are cut here.

    knowledge base ─────────────┐
    Parquet, JSON lines of      ├─► blocks, with the word pieces they ─► TokenStore, in the cache
      `realm export blocks` ────┤   bring or get here                    (made once for a source and a tokenizer)
    documents ─► chunking ──────┘

The same blocks give the same store, and the same digest, whichever way they come. Lance is loaded only if a knowledge
base is opened, FAISS never. Read `open_blocks` first.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Protocol

from realm.artifacts import sha256_of_file, sha256_of_text, sync_directory
from realm.corpus.chunking import MAX_PIECES
from realm.corpus.folders import files_of
from realm.corpus.pieces import WordPieces, first_pieces, ids
from realm.corpus.readers import DOCUMENT_SUFFIXES, read_documents
from realm.corpus.skips import Skipper
from realm.errors import CorruptFileError, SourceError
from realm.text.pieces import PieceTokenizer, longest_title
from realm.training.given_blocks import KNOWLEDGE_BASE, GivenBlock, is_knowledge_base, read_blocks
from realm.training.token_store import FORMAT, TokenStore, TrainingBlock, tokenizer_digest, write_store

__all__ = ["BlockSource", "TrainingBlock", "open_blocks"]

_ROWS_AT_ONCE = 512

Progress = Callable[[int], None]
"""Is told how many blocks are in the store so far."""


class BlockSource(Protocol):
    """Blocks by row number.

    Attributes:
        digest: Names the corpus: of ids, titles, texts and word pieces.
        tokenizer_digest: Names the tokenizer.
    """

    digest: str
    tokenizer_digest: str

    def __len__(self) -> int: ...

    def take(self, rows: Sequence[int]) -> list[TrainingBlock]:
        """The blocks at `rows`, in their order."""
        ...

    def utf8_texts(self, rows: Sequence[int]) -> list[bytes]:
        """Their texts alone, which is much cheaper."""
        ...


def open_blocks(
    path: Path,
    tokenizer: PieceTokenizer,
    cache: Path,
    max_documents: int | None = None,
    *,
    max_pieces: int = MAX_PIECES,
    progress: Progress | None = None,
) -> TokenStore:
    """Open the blocks of a source; what they are made into stays in the cache for the next time.

    A source is known by its path and the sizes and times of its files (a knowledge base by its manifest): one that
    has changed gets a store of its own. Several processes may ask at once.

    Args:
        path: A knowledge base, a `.parquet` or `.jsonl` file of blocks, or any documents.
        tokenizer: Of the model. Pieces that a source brings are used if they are this tokenizer's, which is looked up
            in the first few hundred blocks; or else all texts are cut into pieces anew.
        cache: Folder of stores; made if need be.
        max_documents: Only blocks of the first so many documents.
        max_pieces: Room of the model, for cutting documents and titles.
        progress: Called while a store is made.

    Raises:
        SourceError: The source is missing, damaged, of no known kind, or has no blocks; or the cache cannot be written.
        KnowledgeBaseError: The knowledge base cannot be read.
        ModelError: The tokenizer's ids do not fit 16 bits.
    """
    source = Path(path)
    digest = tokenizer_digest(tokenizer)
    key = sha256_of_text(str(FORMAT), digest, str(max_documents), str(max_pieces), *_fingerprint(source))[:16]
    folder = cache / f"tokens-{key}"
    with suppress(CorruptFileError):
        return TokenStore(folder)  # before the source is opened
    blocks = _with_pieces(_first(read_blocks(source, tokenizer, max_pieces), max_documents), tokenizer, max_pieces)
    return made_once(folder, source, blocks, digest, progress)


def made_once(
    folder: Path, source: Path, blocks: Iterable[TrainingBlock], tokenizer: str, progress: Progress | None = None
) -> TokenStore:
    """A store that is in the cache, or is made now; several processes may ask at once.

    Args:
        folder: The store; its name says what it holds.
        source: Where the blocks come from, for messages.
        blocks: Read only if there is no sound store yet.
        tokenizer: `tokenizer_digest` of what made their pieces.
        progress: Called while the store is made.

    Raises:
        SourceError: There are no blocks, or the cache cannot be written.
    """
    with suppress(CorruptFileError):
        return TokenStore(folder)
    try:
        with _only_maker(folder):
            with suppress(CorruptFileError):
                return TokenStore(folder)
            _make(folder, source, blocks, tokenizer, progress)
    except OSError as exc:
        cache = folder.parent
        raise SourceError(f"the cache {cache} cannot be written: {exc.strerror or exc}. Give another folder.") from exc
    return TokenStore(folder)


def _make(
    folder: Path, source: Path, blocks: Iterable[TrainingBlock], tokenizer: str, progress: Progress | None
) -> None:
    """Write a store beside its place, then rename it; in the place of a damaged one, if there is one."""
    fresh = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    fresh.mkdir()
    try:
        if not write_store(fresh, blocks, tokenizer, progress):
            raise SourceError(f"{source}: no blocks found; expected documents with text.")
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(fresh, folder)
        sync_directory(folder.parent)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


@contextmanager
def _only_maker(folder: Path) -> Iterator[None]:
    """Wait until no other process makes this store, then take away what killed ones have left."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:
            # A file system without locks: two may do the same work, and the last one's rename counts.
            yield
            return
        for left in folder.parent.glob(f".{folder.name}.*"):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
        yield


def _fingerprint(source: Path) -> list[str]:
    """What tells this source from others and from its other states, without reading it."""
    if is_knowledge_base(source):
        return [str(source.resolve()), sha256_of_file(source / KNOWLEDGE_BASE)]
    read_documents([source])  # refuses what is missing or of no known kind
    parts = [str(source.resolve())]
    for file, name in files_of(source, DOCUMENT_SUFFIXES, Skipper(True, None)):
        found = file.stat()
        parts += [name, str(found.st_size), str(found.st_mtime_ns)]
    return parts


def _first(blocks: Iterable[GivenBlock], max_documents: int | None) -> Iterator[GivenBlock]:
    """Blocks of the first so many documents; a document's blocks stand together."""
    documents, last = 0, None
    for block in blocks:
        if block.document_id != last:
            documents, last = documents + 1, block.document_id
            if max_documents is not None and documents > max_documents:
                return
        yield block


def _with_pieces(blocks: Iterator[GivenBlock], tokenizer: PieceTokenizer, max_pieces: int) -> Iterator[TrainingBlock]:
    """Blocks with this tokenizer's word pieces."""
    pieces = WordPieces(tokenizer)
    room = longest_title(max_pieces)
    trusts: bool | None = None
    while group := list(islice(blocks, _ROWS_AT_ONCE)):
        if not trusts or any(block.title_ids is None or block.body_ids is None for block in group):
            found = [ids(part) for part in pieces.of_texts([block.text for block in group])]
            titles = [ids(first_pieces(part, room)) for part in pieces.of_texts([block.title for block in group])]
            made = [
                b._replace(title_ids=list(t), body_ids=list(f)) for b, t, f in zip(group, titles, found, strict=True)
            ]
            if trusts is None:
                trusts = made == group
            group = made
        for block in group:
            yield TrainingBlock(block.id, block.title, block.text, block.title_ids or [], block.body_ids or [])
