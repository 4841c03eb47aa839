"""What sentences are masked in: blocks whose names a tagger marks, or files whose names others have marked.

    blocks ─ tagger ─────────────┐
    annotated files ─ stores ────┴─► SentenceSource: blocks, marked names, digests; found once, kept in the cache

Knows no masks. Read `mark_sentences` first.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from realm.corpus.skips import SkipReport
from realm.errors import RecipeError
from realm.text.corpus_words import TitleSet, words_in_small_letters
from realm.text.names import RuleTagger
from realm.training.annotated_blocks import annotated_names, annotated_texts
from realm.training.block_source import BlockSource
from realm.training.candidates import content_digest
from realm.training.salient_store import NamedTagger, SalientBlocks, open_salient_blocks

_LOG = logging.getLogger(__name__)
_SAMPLED_BLOCKS = 10_000
_BLOCKS_AT_ONCE = 4096
_SPACY = "spacy:"
_WITH_TITLES = "rules:titles"

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


def open_annotated(files: Sequence[Path], masking: str, tokenizer: str, cache: Path) -> SentenceSource:
    """Annotated files, made into stores once.

    Args:
        files: See `annotated_files`.
        masking: Random masks need no names.
        tokenizer: Digest of the model's tokenizer.
        cache: Folder of stores.

    Raises:
        SourceError: A file is damaged, or none has a usable name; or the cache cannot be written.

    Spans that cannot be used are counted by reason in a warning of this module's logger.
    """
    texts = annotated_texts(files, tokenizer, cache)
    if masking != "salient":
        return mark_sentences(texts, masking, "", cache)
    report = SkipReport()
    names = annotated_names(files, texts, cache, report)
    if report.total:
        _LOG.warning("%s: of %s spans %s", files[0], f"{names.span_count + report.total:,}", report.summary())
    return _of_salient(texts, names)


def _of_salient(blocks: BlockSource, salient: SalientBlocks) -> SentenceSource:
    return SentenceSource(blocks, salient, salient.rows, salient.digests, salient.digest)


def _titles(blocks: BlockSource) -> Iterator[str]:
    for first in range(0, len(blocks), _BLOCKS_AT_ONCE):
        yield from (block.title for block in blocks.take(range(first, min(first + _BLOCKS_AT_ONCE, len(blocks)))))


def _tagger(name: str, blocks: BlockSource) -> NamedTagger:
    if name in ("rules", _WITH_TITLES):
        # Evenly spaced over the corpus; a sample is enough to know common words.
        rows = np.linspace(0, len(blocks) - 1, min(_SAMPLED_BLOCKS, len(blocks))).astype(np.int64)
        sampled = blocks.take([int(row) for row in rows])
        words = words_in_small_letters(block.text for block in sampled)
        return RuleTagger(words, TitleSet(_titles(blocks)) if name == _WITH_TITLES else None)
    from realm.training.taggers import SpacyTagger, TokenClassificationTagger

    if name.startswith(_SPACY):
        return SpacyTagger(name.removeprefix(_SPACY))
    if not Path(name).is_dir():
        raise RecipeError(
            f'tagger is {name!r}; expected "rules", "{_WITH_TITLES}", "spacy:" and a pipeline, or the folder of a '
            "token-classification model."
        )
    return TokenClassificationTagger(Path(name))
