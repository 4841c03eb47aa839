"""The documents of a knowledge base, listed: all of them, or those that fit a condition."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from realm.corpus.conditions import Condition
from realm.openqa.knowledge_base import KnowledgeBase

_FIELDS = ("id", "title", "source", "version")


@dataclass(frozen=True, slots=True)
class ListedDocument:
    """A document in a list.

    Attributes:
        id: Its id.
        title: May be empty.
        source: Where it came from.
        version: Version of the knowledge base that wrote it.
    """

    id: str
    title: str
    source: str
    version: int


def list_documents(base: KnowledgeBase, where: str | None = None) -> Iterator[ListedDocument]:
    """The documents for which a condition holds, or all of them, in the order they are stored in.

    Raises:
        UsageError: The condition cannot be used.
    """
    if where is None:
        for batch in base.documents.batches(list(_FIELDS)):
            yield from (ListedDocument(**row) for row in batch.to_pylist())
        return
    for id, title, source, version in Condition(where).documents(base.documents, _FIELDS):
        yield ListedDocument(id, title, source, int(version))
