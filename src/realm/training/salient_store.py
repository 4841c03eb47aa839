"""The salient sentences of every block of a corpus, found once and then taken by row, memory-mapped.

    blocks ─tagger─> salient-KEY/first_sentences.bin   int64   block ─> its first sentence; one more at the end
                                 sentences.bin         int32   start, end, in characters of the block
                                 first_spans.bin       int64   sentence ─> its first span; one more at the end
                                 spans.bin             int32   start, end, kind
                                 digests.bin           uint64  content digest of each block
                                 salient.json          sizes, kinds, digests of the corpus and of the tagger

A folder appears whole, by one rename. Memory while it is made is that of a batch. Knows neither masks nor networks.
Read `open_salient_blocks` first.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from realm.artifacts import sha256_of_text, sync_directory
from realm.errors import CorruptFileError, SourceError
from realm.text.salient import SalientSentence, SalientSpan, Tagger, salient_sentences
from realm.training.block_source import BlockSource
from realm.training.candidates import content_digest
from realm.training.salient_files import FILES, FORMAT, mapped, read_entry, write_files

_BLOCKS_AT_ONCE: Final = 512

Progress = Callable[[int], None]
"""Is told how many blocks are tagged so far."""


class NamedTagger(Tagger, Protocol):
    """A tagger that can be told from others.

    Attributes:
        digest: Names the tagger with all that its spans depend on.
    """

    @property
    def digest(self) -> str: ...


class SalientBlocks:
    """Salient sentences by row of the block source they were found in.

    Attributes:
        digest: Names them: of the corpus and the tagger.
        rows: (n,) int64: the blocks that have a salient span, ascending. Draw from these.
        digests: (blocks,) uint64: `content_digest` of every block, for `choose_candidates`.
        sentence_count: Sentences with a span.
        span_count: Spans.
    """

    def __init__(self, folder: Path) -> None:
        """Map the files into memory.

        Raises:
            CorruptFileError: There is no such folder, or its files are not what `salient.json` says.
        """
        self.folder = folder
        self._entry = entry = read_entry(folder)
        self.digest = sha256_of_text(entry.corpus, entry.tagger)
        found = {name: mapped(folder, name, entry) for name in FILES}
        self._first_sentences, self._sentences = found["first_sentences"], found["sentences"]
        self._first_spans, self._spans = found["first_spans"], found["spans"]
        self.digests: NDArray[np.uint64] = found["digests"]
        self.rows: NDArray[np.int64] = np.flatnonzero(np.diff(self._first_sentences))
        self.sentence_count, self.span_count = entry.sentences, entry.spans

    def __len__(self) -> int:
        return self._entry.blocks

    def sentences(self, row: int) -> list[SalientSentence]:
        """The salient sentences of a block, in its characters.

        Raises:
            IndexError: There is no such row.
        """
        if not 0 <= row < len(self):
            raise IndexError(f"row {row:,} was asked for; there are {len(self):,}")
        return [self._sentence(n) for n in range(int(self._first_sentences[row]), int(self._first_sentences[row + 1]))]

    def _sentence(self, number: int) -> SalientSentence:
        start, end = self._sentences[number].tolist()
        spans = self._spans[int(self._first_spans[number]) : int(self._first_spans[number + 1])].tolist()
        return SalientSentence(start, end, tuple(SalientSpan(a, b, self._entry.kinds[kind]) for a, b, kind in spans))


def open_salient_blocks(
    blocks: BlockSource, tagger: NamedTagger, cache: Path, progress: Progress | None = None
) -> SalientBlocks:
    """The salient sentences of `blocks`; found once, kept in the cache for the next time.

    Several processes may ask at once; if none has found them yet each does the work, and one result stays. Let the
    first process ask before the others where that matters.

    Args:
        blocks: The corpus.
        tagger: Finds the names.
        cache: Folder of stores; made if need be.
        progress: Called while they are found.

    Raises:
        SourceError: No block has a salient span, or the cache cannot be written.
    """
    key = sha256_of_text(str(FORMAT), blocks.digest, tagger.digest)[:16]
    folder = cache / f"salient-{key}"
    with suppress(CorruptFileError):
        return SalientBlocks(folder)
    found = _tagged(blocks, tagger)
    return write_salient_blocks(folder, found, blocks.digest, tagger.digest, progress)


def write_salient_blocks(
    folder: Path,
    found: Iterable[tuple[int, Sequence[SalientSentence]]],
    corpus: str,
    tagger: str,
    progress: Progress | None = None,
) -> SalientBlocks:
    """Write the salient sentences of blocks in the order of their rows, and open them.

    Args:
        folder: Appears whole. What is there already stays if it is sound: the name says what it holds.
        found: Content digest and salient sentences of each block.
        corpus: Digest of the blocks.
        tagger: Digest of what found the spans, or of the file they were read from.
        progress: Called every few hundred blocks.

    Raises:
        SourceError: No block has a salient span, or the folder cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            write_files(fresh, found, corpus, tagger, progress)
            with suppress(CorruptFileError):
                return SalientBlocks(folder)  # of another process, which was faster
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(FileExistsError):
                _rename_into_place(fresh, folder)
            sync_directory(folder.parent)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    except OSError as exc:
        raise SourceError(f"{folder} cannot be written: {exc.strerror or exc}. Give another cache.") from exc
    return SalientBlocks(folder)


def _tagged(blocks: BlockSource, tagger: Tagger) -> Iterator[tuple[int, list[SalientSentence]]]:
    for first in range(0, len(blocks), _BLOCKS_AT_ONCE):
        batch = blocks.take(range(first, min(first + _BLOCKS_AT_ONCE, len(blocks))))
        found = salient_sentences([block.text for block in batch], tagger)
        for block, sentences in zip(batch, found, strict=True):
            yield content_digest(block.title, block.text), sentences


def _rename_into_place(fresh: Path, folder: Path) -> None:
    """Rename, unless another process has put the same there in the meantime (FileExistsError)."""
    try:
        os.rename(fresh, folder)
    except OSError as exc:
        if exc.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise FileExistsError(str(folder)) from exc
        raise
