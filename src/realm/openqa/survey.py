"""A first look at sources: whether all of it can be read, and how much of it is new.

Reading takes a small part of the time that embedding does, and it is better to hear of a bad record before hours of
work than after. Above `MAX_BYTES` the look is left out: a run over so much is resumed rather than begun again, and
what bad input leaves behind, a version in the making, nobody reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from realm.corpus.chunking import document_hash
from realm.corpus.document_store import DocumentStore, StoredDocument
from realm.corpus.folders import files_of
from realm.corpus.readers import DOCUMENT_SUFFIXES
from realm.corpus.skips import Skipper
from realm.openqa.file_digests import check_files, lance_manifests, read_file_list
from realm.openqa.manifest import DOCUMENTS, PUBLISHED, ModelReference, read_manifest, require_model
from realm.openqa.pending import Job, left_over
from realm.records import Document

MAX_BYTES = 1 << 30
_DOCUMENTS_PER_LOOKUP = 256
_CHARACTERS_PER_BYTE = {".gz": 3.0, ".zst": 3.0, ".bz2": 4.0, ".parquet": 2.0}


@dataclass(frozen=True)
class Survey:
    """How much there is.

    Attributes:
        characters: Characters of all documents.
        new_documents: New and changed documents.
        new_characters: Their characters.
        is_exact: Whether the sources were read; or else this is reckoned from the sizes of files.
    """

    characters: int
    new_documents: int
    new_characters: int
    is_exact: bool = True


def survey(
    documents: Iterator[Document], known: DocumentStore | None, check: Callable[[Document, StoredDocument], None]
) -> Survey:
    """Read all documents, and compare them with those that are known; `check` refuses what may not replace another."""
    characters = new_documents = new_characters = 0
    for document, stored in with_stored(documents, known):
        characters += len(document.text)
        if stored is None or stored.content_hash != document_hash(document):
            if stored is not None:
                check(document, stored)
            new_documents += 1
            new_characters += len(document.text)
    return Survey(characters, new_documents, new_characters)


def survey_of_bytes(sources: Sequence[Path]) -> Survey:
    """Reckon from the sizes of files, as if all of them were new."""
    characters = round(
        sum(path.stat().st_size * _CHARACTERS_PER_BYTE.get(path.suffix.lower(), 1.0) for path in _files(sources))
    )
    return Survey(characters, 0, characters, is_exact=False)


def bytes_of(sources: Sequence[Path]) -> int:
    """Bytes of all files that are read from the sources; sources that are not there have none."""
    return sum(path.stat().st_size for path in _files(sources))


def known_documents(
    folder: Path, job: Job, model: ModelReference, *, discard_pending: bool = False
) -> DocumentStore | None:
    """The documents that a writer with this job would begin with; None if there are none.

    Raises:
        KnowledgeBaseError: The knowledge base was made with another model; or unless `discard_pending`, a writer would
            throw away what a killed one has embedded.
        CorruptFileError: What names the documents' files is damaged.
    """
    if not folder.is_dir():
        return None
    base = read_manifest(folder, PUBLISHED)
    if base is not None:
        require_model(folder, base, model)
    pending, _ = left_over(folder, job, model, base, discard=discard_pending)
    base = base if pending is None else pending.manifest
    if base is None:
        return None
    if base.files is not None:
        check_files(folder, lance_manifests(read_file_list(folder, base.files), DOCUMENTS))
    return DocumentStore.open(folder / DOCUMENTS, base.documents_version)


def with_stored(
    documents: Iterator[Document], known: DocumentStore | None
) -> Iterator[tuple[Document, StoredDocument | None]]:
    """Every document with what the store holds under its id."""
    is_empty = known is None or not len(known)
    while batch := list(islice(documents, _DOCUMENTS_PER_LOOKUP)):
        found = {} if known is None or is_empty else known.get([one.id for one in batch], with_text=False)
        for document in batch:
            yield document, found.get(document.id)


def _files(sources: Sequence[Path]) -> Iterator[Path]:
    passes_over = Skipper(True, None)
    for source in sources:
        yield from (path for path, _ in files_of(source, DOCUMENT_SUFFIXES, passes_over))
