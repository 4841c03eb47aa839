"""Annotated files of others as blocks with salient sentences, made once and then memory-mapped.

    read_annotated ─► annotated-KEY/tokens   TokenStore: texts and their word pieces
                                    salient  SalientBlocks: their sentences and spans

So pre-training draws from them as from blocks that were tagged here. Read `open_annotated`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from realm.artifacts import sha256_of_text, sync_directory
from realm.corpus.skips import SkipReport
from realm.errors import CorruptFileError, SourceError
from realm.text.pieces import PieceTokenizer
from realm.training.annotated import AnnotatedText, read_annotated
from realm.training.candidates import content_digest
from realm.training.salient_store import SalientBlocks, write_salient_blocks
from realm.training.token_store import FORMAT, TokenStore, TrainingBlock, tokenizer_digest, write_store

_TEXTS_AT_ONCE = 512
_TOKENS, _SALIENT = "tokens", "salient"


def open_annotated(
    path: Path,
    tokenizer: PieceTokenizer,
    cache: Path,
    report: SkipReport | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[TokenStore, SalientBlocks]:
    """The texts of an annotated file as blocks, and their salient sentences row by row.

    Args:
        path: See `read_annotated`; known by its path, size and time.
        tokenizer: Of the model.
        cache: Folder of stores; made if need be.
        report: Counts spans that are left out, in the run that makes the stores.
        progress: Is told how many texts are read.

    Raises:
        SourceError: The file is missing, damaged or has no salient span, or the cache cannot be written.
        ModelError: The tokenizer's ids do not fit 16 bits.
    """
    try:
        found = path.stat()
    except OSError as exc:
        raise SourceError(f"{path} cannot be read: {exc.strerror or exc}") from exc
    digest = tokenizer_digest(tokenizer)
    key = sha256_of_text(str(FORMAT), digest, str(path.resolve()), str(found.st_size), str(found.st_mtime_ns))[:16]
    folder = cache / f"annotated-{key}"
    with suppress(CorruptFileError):
        return _opened(folder)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=cache, prefix=f".{folder.name}."))
        try:
            _make(fresh, path, tokenizer, digest, report, progress)
            with suppress(CorruptFileError):
                return _opened(folder)  # of another process, which was faster
            shutil.rmtree(folder, ignore_errors=True)
            os.rename(fresh, folder)
            sync_directory(cache)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    except OSError as exc:
        raise SourceError(f"the cache {cache} cannot be written: {exc.strerror or exc}. Give another folder.") from exc
    return _opened(folder)


def _opened(folder: Path) -> tuple[TokenStore, SalientBlocks]:
    return TokenStore(folder / _TOKENS), SalientBlocks(folder / _SALIENT)


def _make(
    folder: Path,
    path: Path,
    tokenizer: PieceTokenizer,
    digest: str,
    report: SkipReport | None,
    progress: Callable[[int], None] | None,
) -> None:
    """Both stores, in two passes over the file, so that memory stays that of a batch."""
    tokens = folder / _TOKENS
    tokens.mkdir()
    if not write_store(tokens, _blocks(read_annotated(path), tokenizer), digest, progress):
        raise SourceError(f"{path} has no texts; expected annotated sentences or passages.")
    salient = ((content_digest(text.title, text.text), text.sentences) for text in read_annotated(path, report))
    # What found the spans is the file itself, which the digest of the blocks stands for.
    write_salient_blocks(folder / _SALIENT, salient, TokenStore(tokens).digest, "annotated")


def _blocks(texts: Iterator[AnnotatedText], tokenizer: PieceTokenizer) -> Iterator[TrainingBlock]:
    while group := list(islice(texts, _TEXTS_AT_ONCE)):
        bodies = tokenizer.encode_batch([text.text for text in group])
        titles = tokenizer.encode_batch([text.title for text in group])
        for text, title, body in zip(group, titles, bodies, strict=True):
            yield TrainingBlock(text.id, text.title, text.text, title.ids, body.ids)
