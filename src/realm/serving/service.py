"""The service: an open knowledge base that many may ask at once. Knows no HTTP, so that any protocol can use it.

Everything that takes time gives a future: `await asyncio.wrap_future(future)`, or `future.result()`.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from realm.errors import BusyError, KnowledgeBaseError, UsageError
from realm.features.inputs import Row
from realm.openqa.ask import Searching
from realm.openqa.knowledge_base import KnowledgeBase
from realm.openqa.search import fusion_weight
from realm.records import Document
from realm.serving.batching import MicroBatcher
from realm.serving.bounded import BoundedThreads
from realm.serving.documents import DocumentPage, FoundDocument, find_document, list_documents
from realm.serving.failures import NotFoundError, ReadOnlyError, UnavailableError
from realm.serving.library import Library
from realm.serving.limits import Limits
from realm.serving.logs import say
from realm.serving.metrics import Metrics
from realm.serving.questions import Answered, Asking, OnEvidence, Retrieved, Wish, put_questions
from realm.serving.writing import Written, delete_document, put_documents

_LOOKUP_THREADS = 2

T = TypeVar("T")


class Service:
    """One knowledge base for many askers. Use it as a context manager, or call `start` and `close`.

    Args:
        folder: The knowledge base.
        limits: How much to take on.
        is_writable: Whether documents may be changed.
        model: A model with the same embedder of blocks, such as a fine-tuned one; the knowledge base's unless given.

    Attributes:
        limits: As given.
        is_writable: As given.
        metrics: What is measured.
        library: The version that answers.

    Raises:
        KnowledgeBaseError: There is no complete knowledge base, or its model has changed.
        ModelError: Its model cannot be read.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        limits: Limits | None = None,
        is_writable: bool = False,
        model: str | None = None,
    ) -> None:
        self.limits = limits = limits or Limits()
        self.is_writable = is_writable
        self.metrics = Metrics()
        self._batcher: MicroBatcher[Wish, Asking, Answered | Retrieved] = MicroBatcher(
            self._work,
            max_queue=limits.max_queue,
            max_batch=limits.max_batch,
            window_seconds=limits.window_seconds,
            observe=self.metrics.batch,
        )
        self.library = Library(Path(folder), self._batcher.call, limits, self.metrics, model)
        self.metrics.watch_queue(lambda: self._batcher.waiting)
        self._lookups = BoundedThreads("realm-lookup", _LOOKUP_THREADS, limits.max_lookups)
        self._writes = BoundedThreads("realm-write", 1, limits.max_writes)

    def start(self) -> Self:
        """Begin to answer."""
        self._batcher.start()
        self.library.start()
        return self

    def close(self) -> None:
        """Finish what was accepted, and end."""
        self._writes.close()
        self._lookups.close()
        self.library.close()
        self._batcher.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.close()

    def ask(
        self,
        questions: Sequence[str],
        *,
        top: int = 5,
        min_confidence: float | None = None,
        searching: Searching | None = None,
        on_evidence: OnEvidence | None = None,
    ) -> Future[Answered]:
        """Answer questions; see `OpenQA.ask_many`.

        Args:
            questions: As typed; at least one.
            top: How many blocks to read.
            min_confidence: Below it the answer is None; as the model says unless given.
            searching: How blocks are looked for.
            on_evidence: Called on the model's thread with the version and the evidence of each question before they
                are read. Called again in the rare case that the version was dropped meanwhile.

        Raises:
            OverloadedError: The queue is full.
            StoppingError: The service has been closed.
            UsageError: The knowledge base cannot be searched like this.

        The future raises what `OpenQA.ask_many` does, TimedOutError, and UnavailableError.
        """
        wish = Wish("ask", top, searching or Searching())
        return self._submit(wish, Asking(tuple(questions), min_confidence, on_evidence))

    def search(
        self, questions: Sequence[str], *, top: int = 5, searching: Searching | None = None
    ) -> Future[Retrieved]:
        """The best `top` blocks of each question, without reading them. Raises as `ask`."""
        return self._submit(Wish("search", top, searching or Searching()), Asking(tuple(questions)))

    def document(self, document_id: str, version: int | None = None) -> Future[FoundDocument]:
        """A document, as it is or as a version of the knowledge base had it; the future may raise NotFoundError."""
        return self._lookups.submit(lambda: self._looked_up(lambda base: find_document(base, document_id, version)))

    def documents(self, start: int, limit: int) -> Future[DocumentPage]:
        """A page of the list of all documents."""
        return self._lookups.submit(lambda: self._looked_up(lambda base: list_documents(base, start, limit)))

    def put(self, documents: Sequence[Document]) -> Future[Written]:
        """Add or replace documents; when the future is done, they are what answers come from.

        Raises:
            ReadOnlyError: The service may not.
            OverloadedError: Too many changes wait.

        The future raises BusyError and UnavailableError.
        """
        self._require_writable()
        model = self.library.current.model

        def embed(rows: Sequence[Row]) -> NDArray[np.float32]:
            return self._batcher.call(lambda: model.embed(rows)).result()

        return self._writes.submit(
            lambda: self._written(lambda: put_documents(self.library.folder, documents, model, embed))
        )

    def delete(self, document_id: str) -> Future[Written]:
        """Take a document out. Raises as `put`; the future may raise NotFoundError."""
        self._require_writable()

        def remove() -> Written:
            written = self._written(lambda: delete_document(self.library.folder, document_id))
            if not written.removed:
                raise NotFoundError(f"There is no document {document_id!r}.")
            return written

        return self._writes.submit(remove)

    def _submit(self, wish: Wish, asking: Asking) -> Future[Any]:
        self._require_searchable(wish.searching)
        begin = time.monotonic()
        deadline = begin + self.limits.timeout_seconds

        def done(future: Future[Answered | Retrieved]) -> None:
            if not future.cancelled() and future.exception() is None:
                self.metrics.answered(time.monotonic() - begin)

        future = self._batcher.submit(wish, asking, size=len(asking.questions), deadline=deadline)
        future.add_done_callback(done)
        return future

    def _require_searchable(self, searching: Searching) -> None:
        """Refuse a search by words or vectors that are not there; or one that is and is not by words."""
        manifest = self.library.current.knowledge_base.manifest
        weight = fusion_weight(manifest, hybrid=searching.hybrid, weight=searching.weight)
        if weight > 0.0 and not manifest.lexical:
            raise UsageError("This knowledge base is searched by vectors alone. Leave out hybrid and weight.")
        if weight < 1.0 and not manifest.is_embedded:
            raise UsageError("This knowledge base is searched by words alone for now. Leave out hybrid and weight.")

    def _work(self, wish: Wish, askings: Sequence[Asking]) -> list[Answered | Retrieved]:
        """On the model's thread: answer a batch, from one version."""
        try:
            results, seconds = put_questions(self.library.current, wish, askings)
        except KnowledgeBaseError as exc:  # such as: dropped by realm compact since it was opened
            if not self.library.renew():
                raise _unavailable(exc) from exc
            results, seconds = put_questions(self.library.current, wish, askings)
        self.metrics.stages(seconds)
        return results

    def _looked_up(self, look: Callable[[KnowledgeBase], T]) -> T:
        """Look something up in the version that answers; in the newest one, if that has been dropped."""
        try:
            return look(self.library.current.knowledge_base)
        except KnowledgeBaseError:
            self.library.look()
        try:
            return look(self.library.current.knowledge_base)
        except KnowledgeBaseError as exc:
            raise _unavailable(exc) from exc

    def _require_writable(self) -> None:
        if not self.is_writable:
            raise ReadOnlyError(
                "This server answers, and changes nothing. Start it with --writable to change documents."
            )

    def _written(self, write: Callable[[], Written]) -> Written:
        """Change documents, and move to the version that has them."""
        try:
            written = write()
        except BusyError:
            raise
        except KnowledgeBaseError as exc:
            raise _unavailable(exc) from exc
        changes = {change: getattr(written, change) for change in ("added", "updated", "removed")}
        if not any(changes.values()):
            return written
        for change, documents in changes.items():
            self.metrics.written(change, documents)
        say("written", **dataclasses.asdict(written))
        self.library.look()
        return written


def _unavailable(exc: KnowledgeBaseError) -> UnavailableError:
    """The reason names folders of the server, so it is for its log only."""
    say("knowledge base unavailable", level=logging.ERROR, reason=str(exc))
    return UnavailableError("The knowledge base cannot be read or written; the server's log says why.")
