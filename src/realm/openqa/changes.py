"""Documents of the sources beside those that the knowledge base has: new, changed, moved or as they were.

Knows where documents came from, and so which may take another's place or be pruned. Read `Changed` first.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from realm.corpus.chunking import ChunkedDocument, document_hash
from realm.corpus.digest_set import DigestSet
from realm.corpus.document_columns import PUT
from realm.corpus.document_store import DocumentStore, StoredDocument
from realm.corpus.readers import DOCUMENT_SUFFIXES
from realm.corpus.skips import printable, shortened
from realm.errors import SourceError
from realm.openqa.index_report import IndexReport
from realm.openqa.survey import with_stored
from realm.records import Document

_LINE = re.compile(r":[0-9]+$")
_MOVED_AT_ONCE = 1024
_CHARACTERS_AT_ONCE = 4_000_000

Check = Callable[[Document, StoredDocument], None]
"""Raises if the document may not take the place of the stored one."""


class Changed:
    """The documents that are not in the knowledge base as they are.

    Attributes:
        seen: Ids of all documents of the sources so far, if they are kept.
    """

    def __init__(
        self,
        documents: Iterator[Document],
        known: DocumentStore,
        report: IndexReport,
        *,
        keeps_ids: bool,
        check: Check,
        move: Callable[[Sequence[StoredDocument]], None],
    ) -> None:
        """Compare `documents` with those that are `known`.

        Args:
            documents: Those of the sources.
            known: Those of the knowledge base.
            report: Where to count.
            keeps_ids: Whether to note what was seen.
            check: Says which documents may take another's place.
            move: Is given, some at a time, the documents whose source alone has changed.
        """
        self.seen = DigestSet()
        self._keeps_ids = keeps_ids
        self._documents = documents
        self._known = known
        self._report = report
        self._check = check
        self._move = move
        self._replaced: dict[str, StoredDocument] = {}

    def __iter__(self) -> Iterator[Document]:
        report = self._report
        moved: list[StoredDocument] = []
        characters = 0
        for document, stored in with_stored(self._documents, self._known):
            if self._keeps_ids:
                self.seen.add(document.id)
            if stored is None:
                report.added += 1
            elif stored.content_hash != document_hash(document):
                self._check(document, stored)
                report.updated += 1
                self._replaced[document.id] = stored
            else:
                report.unchanged += 1
                report.characters_seen += len(document.text)
                if stored.document.source != document.source:
                    report.moved += 1
                    moved.append(replace(stored, document=document))
                    characters += len(document.text)
                if len(moved) == _MOVED_AT_ONCE or characters > _CHARACTERS_AT_ONCE:
                    self._move(moved)
                    moved, characters = [], 0
                continue
            yield document
        self._move(moved)

    def pop_replaced(self, cuts: Sequence[ChunkedDocument]) -> dict[str, StoredDocument]:
        """What some of them take the place of."""
        ids = (cut.document.id for cut in cuts)
        return {id: self._replaced.pop(id) for id in ids if id in self._replaced}


class Origin:
    """Where relative sources begin: at the folder that a knowledge base lies in, wherever they were typed.

    So they mean the same to a run that is begun somewhere else, and to whoever moves both together.

    Args:
        kb: The knowledge base.
    """

    def __init__(self, kb: Path) -> None:
        self._folder = os.path.dirname(os.path.realpath(kb))
        self._here = os.path.realpath(os.curdir)

    def stored(self, source: str) -> str:
        """What is stored of a source that begins where the process is."""
        if os.path.isabs(source) or "://" in source or self._here == self._folder:
            return source
        return os.path.relpath(os.path.join(self._here, source), self._folder)

    def file_of(self, source: str) -> str:
        """The file that a stored source names, without the line or row."""
        return os.path.join(self._folder, _LINE.sub("", source))


class CameFrom:
    """Whether a document came from one of some sources, told by its own source, as it is stored."""

    def __init__(self, sources: Sequence[Path], origin: Origin) -> None:
        self._origin = origin
        self._paths = {
            path for source in sources for path in (os.path.realpath(source), _real(os.path.abspath(source)))
        }
        self._folders = tuple(os.path.join(path, "") for path in self._paths)

    def __call__(self, source: str) -> bool:
        """Sources that are no files of documents, such as web addresses, or that were put by a server, lie nowhere."""
        file = self._origin.file_of(source)
        if "://" in source or source.startswith(PUT) or not file.lower().endswith(DOCUMENT_SUFFIXES):
            return False
        path = _real(file)
        return path in self._paths or path.startswith(self._folders)


def require_same_file(document: Document, stored: StoredDocument, *, id_prefix: str, origin: Origin) -> None:
    """Keep a document whose id is its place below a folder from one at the same place below another folder.

    A document that brings its own id may come from any file; so may one whose old file is gone.

    Raises:
        SourceError: Both files are there.
    """
    if not f"/{document.source}".endswith(f"/{document.id.removeprefix(id_prefix)}"):
        return
    old, new = origin.file_of(stored.document.source), origin.file_of(document.source)
    if os.path.isfile(old) and os.path.realpath(old) != os.path.realpath(new):
        raise SourceError(
            f'{printable(document.source)}: the id "{shortened(document.id)}" is already that of '
            f"{printable(stored.document.source)}, which would be overwritten. Keep both with --id-prefix TEXT, "
            "or keep only what these sources have with --prune-all."
        )


def may_replace_any(document: Document, stored: StoredDocument) -> None:
    """No document is kept from taking another's place."""


def _real(path: str) -> str:
    """Where a file is; if it is a link, where the link is."""
    folder, name = os.path.split(path)
    return os.path.join(_real_folder(folder), name)


@lru_cache(maxsize=4096)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder)
