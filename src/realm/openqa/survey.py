"""A first look at sources: whether all of it can be read, and how much of it is new.

Reading takes a small part of the time that embedding does, and it is better to hear of a bad record before hours of
work than after. Above `MAX_BYTES` the look is left out: a run over so much is resumed rather than begun again, and
what bad input leaves behind, a version in the making, nobody reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from realm.corpus.chunking import document_hash
from realm.corpus.document_store import DocumentStore, StoredDocument
from realm.openqa.manifest import DOCUMENTS, PUBLISHED, ModelReference, read_manifest
from realm.openqa.pending import Job, read_pending
from realm.openqa.writer import require_model
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


def survey(documents: Iterator[Document], known: DocumentStore | None) -> Survey:
    """Read all documents, and compare them with those that are known."""
    characters = new_documents = new_characters = 0
    for document, stored in with_stored(documents, known):
        characters += len(document.text)
        if stored is None or stored.content_hash != document_hash(document):
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
    """Bytes of all files of the sources; sources that are not there have none."""
    return sum(path.stat().st_size for path in _files(sources))


def known_documents(folder: Path, job: Job, model: ModelReference) -> DocumentStore | None:
    """The documents that a writer with this job would begin with; None if there are none.

    Raises:
        KnowledgeBaseError: The knowledge base was made with another model.
    """
    if not folder.is_dir():
        return None
    base = read_manifest(folder, PUBLISHED)
    if base is not None:
        require_model(folder, base, model)
    pending = read_pending(folder)
    version = 1 if base is None else base.version + 1
    if pending is not None and pending.is_of(job, model, version) and pending.is_whole(folder):
        base = pending.manifest
    return None if base is None else DocumentStore.open(folder / DOCUMENTS, base.documents_version)


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
    for source in sources:
        yield from (path for path in ([source] if source.is_file() else source.rglob("*")) if path.is_file())
