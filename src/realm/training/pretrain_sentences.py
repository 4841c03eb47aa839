"""What sentences are masked in: blocks whose names a tagger marks, or a file whose names others have marked.

    blocks ─ tagger ─────────────┐
    annotated file ─ store ──────┴─► SentenceSource: blocks, marked names, digests; found once, kept in the cache

Knows no masks. Read `open_sentences` first.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from realm.artifacts import sha256_of_text, sync_directory
from realm.corpus.lines import JSON_LINES_SUFFIXES, read_records
from realm.corpus.skips import Skipper, SkipReport
from realm.errors import CorruptFileError, RecipeError, SourceError
from realm.text.corpus_words import words_in_small_letters
from realm.text.names import RuleTagger
from realm.training.annotated import read_annotated
from realm.training.block_source import BlockSource
from realm.training.candidates import content_digest
from realm.training.salient_store import NamedTagger, SalientBlocks, open_salient_blocks, write_salient_blocks
from realm.training.token_store import TokenStore, TrainingBlock, write_store

_LOG = logging.getLogger(__name__)
_FORMAT = 1
_SAMPLED_BLOCKS = 10_000
_BLOCKS_AT_ONCE = 4096
_SPACY = "spacy:"

Progress = Callable[[int], None]
"""Is told how many blocks are done."""


@dataclass(frozen=True)
class SentenceSource:
    """Blocks that sentences are masked in.

    Attributes:
        blocks: Their texts.
        salient: Their marked names; None where masks are random.
        rows: (n,) int64: the blocks to draw from, ascending.
        digests: (blocks,) uint64: `content_digest` of every block.
        digest: Names all of it.
    """

    blocks: BlockSource
    salient: SalientBlocks | None
    rows: NDArray[np.int64]
    digests: NDArray[np.uint64]
    digest: str


def mark_sentences(
    blocks: BlockSource, masking: str, tagger: str, cache: Path, progress: Progress | None = None
) -> SentenceSource:
    """Blocks with the names in them.

    Args:
        blocks: Where to look for names.
        masking: Random masks need no names.
        tagger: See `PretrainRecipe`.
        cache: Folder of stores.
        progress: Is told how many blocks are done.

    Raises:
        SourceError: No block has a name or a date.
        ModelError: The tagger cannot be loaded.
    """
    if masking == "salient":
        return _of_salient(blocks, open_salient_blocks(blocks, _tagger(tagger, blocks), cache, progress))
    digests = np.empty(len(blocks), dtype=np.uint64)
    for first in range(0, len(blocks), _BLOCKS_AT_ONCE):
        found = blocks.take(range(first, min(first + _BLOCKS_AT_ONCE, len(blocks))))
        digests[first : first + len(found)] = [content_digest(block.title, block.text) for block in found]
        if progress is not None:
            progress(first + len(found))
    return SentenceSource(blocks, None, np.arange(len(blocks)), digests, blocks.digest)


def is_annotated(path: Path) -> bool:
    """Whether a file has its names marked already: EMDR2's JSON lines, or a TFRecord."""
    if not path.is_file():
        return False
    if path.name.lower().endswith(JSON_LINES_SUFFIXES):
        first = next(read_records(path, lambda record: set(record.fields), Skipper(False, None)), None)
        return first is not None and "sent_text" in first
    return ".tfrecord" in path.name.lower()


def open_annotated(path: Path, masking: str, tokenizer: str, cache: Path) -> SentenceSource:
    """An annotated file, made into stores once.

    Args:
        path: See `annotated`.
        masking: Random masks need no names.
        tokenizer: Digest of the model's tokenizer.
        cache: Folder of stores.

    Raises:
        SourceError: The file is damaged, or has no usable name; or the cache cannot be written.

    Spans that cannot be used are counted by reason in a warning of this module's logger.
    """
    found = path.stat()
    parts = (str(path.resolve()), str(found.st_size), str(found.st_mtime_ns), tokenizer)
    folder = cache / f"annotated-{sha256_of_text(str(_FORMAT), *parts)[:16]}"
    try:
        store = _annotated_store(folder, path, tokenizer)
    except OSError as exc:
        raise SourceError(f"the cache {cache} cannot be written: {exc.strerror or exc}. Give another folder.") from exc
    if masking != "salient":
        return mark_sentences(store, masking, "", cache)
    key = sha256_of_text(str(_FORMAT), store.digest)[:16]
    with suppress(CorruptFileError):
        return _of_salient(store, SalientBlocks(cache / f"marked-{key}"))
    report = SkipReport()
    marked = ((content_digest(text.title, text.text), text.sentences) for text in read_annotated(path, report))
    made = write_salient_blocks(cache / f"marked-{key}", marked, store.digest, "annotated")
    if report.total:
        _LOG.warning("%s: of %s spans %s", path, f"{made.span_count + report.total:,}", report.summary())
    return _of_salient(store, made)


def _annotated_store(folder: Path, path: Path, tokenizer: str) -> TokenStore:
    with suppress(CorruptFileError):
        return TokenStore(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        if not write_store(fresh, _texts(path), tokenizer):
            raise SourceError(f"{path}: no texts found; expected sentences with marked names.")
        with suppress(CorruptFileError):
            return TokenStore(folder)  # of another process, which was faster
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(fresh, folder)
        sync_directory(folder.parent)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return TokenStore(folder)


def _texts(path: Path) -> Iterator[TrainingBlock]:
    """Texts without word pieces: nobody retrieves them, and masking cuts each sentence by itself."""
    for text in read_annotated(path):
        yield TrainingBlock(text.id, text.title, text.text, [], [])


def _of_salient(blocks: BlockSource, salient: SalientBlocks) -> SentenceSource:
    return SentenceSource(blocks, salient, salient.rows, salient.digests, salient.digest)


def _tagger(name: str, blocks: BlockSource) -> NamedTagger:
    if name == "rules":
        # Evenly spaced over the corpus; a sample is enough to know common words.
        rows = np.linspace(0, len(blocks) - 1, min(_SAMPLED_BLOCKS, len(blocks))).astype(np.int64)
        sampled = blocks.take([int(row) for row in rows])
        return RuleTagger(words_in_small_letters(block.text for block in sampled))
    from realm.training.taggers import SpacyTagger, TokenClassificationTagger

    if name.startswith(_SPACY):
        return SpacyTagger(name.removeprefix(_SPACY))
    if not Path(name).is_dir():
        raise RecipeError(
            f'tagger is {name!r}; expected "rules", "spacy:" and a pipeline, or the folder of a token-classification '
            "model."
        )
    return TokenClassificationTagger(Path(name))
