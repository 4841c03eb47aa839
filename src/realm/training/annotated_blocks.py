"""Annotated files of others as blocks with salient sentences, made once and then memory-mapped.

    read_annotated ─► tokens-annotated-KEY    TokenStore: texts, without word pieces
                      salient-annotated-KEY   SalientBlocks: their sentences and spans

So pre-training draws from them as from blocks that were tagged here. KEY stands for the files as they are now, so that
both are of the same state. Read `annotated_files` first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from realm.artifacts import sha256_of_file, sha256_of_text
from realm.corpus.lines import JSON_LINES_SUFFIXES, read_records
from realm.corpus.skips import Skipper, SkipReport
from realm.errors import CorruptFileError
from realm.training.annotated import AnnotatedText, read_annotated
from realm.training.block_source import made_once
from realm.training.candidates import content_digest
from realm.training.salient_store import SalientBlocks, write_salient_blocks
from realm.training.token_store import FORMAT, TokenStore, TrainingBlock

_TFRECORD = ".tfrecord"


def annotated_files(path: Path) -> list[Path]:
    """The files of a source whose names are marked already: itself, or those of a folder in the order of their names.

    Returns:
        None of them if it is a source of another kind.
    """
    found = sorted(path.iterdir()) if path.is_dir() else [path]
    files = [file for file in found if file.is_file() and (_is_json_lines(file) or _TFRECORD in file.name.lower())]
    return files if any(map(_is_annotated, files)) else []


def annotated_texts(files: Sequence[Path], tokenizer: str, cache: Path) -> TokenStore:
    """The texts of annotated files as blocks. They have no word pieces: nobody retrieves them, and masking cuts each
    sentence by itself.

    Args:
        files: See `read_annotated`; each known by its path, size and time.
        tokenizer: Digest of the model's tokenizer.
        cache: Folder of stores; made if need be.

    Raises:
        SourceError: A file is missing or damaged, there are no texts, or the cache cannot be written.
    """
    blocks = (TrainingBlock(text.id, text.title, text.text, [], []) for text in _read(files))
    folder = cache / f"tokens-annotated-{_key(files, tokenizer)}"
    return made_once(folder, files[0], blocks, tokenizer)


def annotated_names(files: Sequence[Path], texts: TokenStore, cache: Path, report: SkipReport) -> SalientBlocks:
    """The salient sentences of annotated files, row by row.

    Args:
        files: As for `texts`.
        texts: What `annotated_texts` gave.
        cache: Folder of stores.
        report: Counts spans that are left out, in the run that makes the store.

    Raises:
        SourceError: A file is damaged, no text has a salient span, or the cache cannot be written.
    """
    folder = cache / f"salient-annotated-{_key(files, texts.tokenizer_digest)}"
    with suppress(CorruptFileError):
        return SalientBlocks(folder)
    marked = ((content_digest(text.title, text.text), text.sentences) for text in _read(files, report))
    # What found the spans is the files themselves.
    return write_salient_blocks(folder, marked, texts.digest, sha256_of_text(*map(sha256_of_file, files)))


def _read(files: Sequence[Path], report: SkipReport | None = None) -> Iterator[AnnotatedText]:
    for file in files:
        yield from read_annotated(file, report)


def _key(files: Sequence[Path], tokenizer: str) -> str:
    states = []
    for file in files:
        found = file.stat()
        states += [str(file.resolve()), str(found.st_size), str(found.st_mtime_ns)]
    return sha256_of_text(str(FORMAT), tokenizer, *states)[:16]


def _is_json_lines(file: Path) -> bool:
    return file.name.lower().endswith(JSON_LINES_SUFFIXES)


def _is_annotated(file: Path) -> bool:
    if not _is_json_lines(file):
        return True
    first = next(read_records(file, lambda record: set(record.fields), Skipper(False, None)), None)
    return first is not None and "sent_text" in first
