"""Documents of a knowledge base, looked up and listed. Knows no HTTP."""

from __future__ import annotations

from dataclasses import dataclass

from realm.errors import KnowledgeBaseError
from realm.openqa.knowledge_base import KnowledgeBase
from realm.records import Document
from realm.serving.failures import NotFoundError


@dataclass(frozen=True, slots=True)
class FoundDocument:
    """A document, and the version of the knowledge base that wrote it: offsets hold for it."""

    document: Document
    version: int


@dataclass(frozen=True, slots=True)
class ListedDocument:
    """A document in a list."""

    id: str
    title: str
    version: int


@dataclass(frozen=True, slots=True)
class DocumentPage:
    """A part of the list of all documents of a version.

    Attributes:
        version: The version. A list whose pages are of different versions may lack documents, or have some twice.
        total: How many documents there are.
        documents: Those of the page, in the order they are stored in.
        next_start: Where the next page begins; None after the last one.
    """

    version: int
    total: int
    documents: tuple[ListedDocument, ...]
    next_start: int | None


def find_document(base: KnowledgeBase, document_id: str, version: int | None) -> FoundDocument:
    """A document, as it is or as an older version of the knowledge base had it.

    Raises:
        NotFoundError: There is none; or that version is not kept any more.
    """
    stored = base.documents.get([document_id]).get(document_id)
    if version is not None and (stored is None or stored.version > version or version > base.manifest.version):
        try:
            old = KnowledgeBase.open(base.folder, version)
        except KnowledgeBaseError as exc:
            raise NotFoundError(f"Version {version} of the knowledge base is not there, or is not kept.") from exc
        stored = old.documents.get([document_id]).get(document_id)
    if stored is None:
        raise NotFoundError(f"There is no document {document_id!r}.")
    return FoundDocument(stored.document, stored.version)


def list_documents(base: KnowledgeBase, start: int, limit: int) -> DocumentPage:
    """Documents from the `start`-th on, at most `limit` of them."""
    total = base.manifest.documents
    found: list[ListedDocument] = []
    if start < total:
        for batch in base.documents.batches(["id", "title", "version"], start=start, batch_rows=limit):
            found += [ListedDocument(**row) for row in batch.to_pylist()]
            if len(found) >= limit:
                break
    end = start + len(found[:limit])
    return DocumentPage(base.manifest.version, total, tuple(found[:limit]), end if found and end < total else None)
