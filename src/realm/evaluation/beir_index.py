"""A retrieval collection into a knowledge base that holds nothing else.

    corpus.jsonl ─► is it sound, is the knowledge base its own ─► cut ─► stored ─► embedded ─► published

Knows no queries and no measures. With `asking` the part of this room that needs torch, through what it is handed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from realm.corpus.chunking import chunk_documents, document_hash
from realm.corpus.document_store import DocumentStore
from realm.corpus.skips import SkipReport
from realm.errors import KnowledgeBaseError, SourceError
from realm.evaluation.beir import RetrievalCollection, read_corpus
from realm.openqa.changes import Changed, may_replace_any
from realm.openqa.index_report import IndexReport
from realm.openqa.indexing import MAX_BLOCK_PIECES
from realm.openqa.late_vectors import embed_missing
from realm.openqa.memory import MemoryLimit
from realm.openqa.pending import Job
from realm.openqa.search import HYBRID_WEIGHT
from realm.openqa.survey import known_documents
from realm.openqa.write_lock import require_free
from realm.openqa.writer import KnowledgeBaseWriter

if TYPE_CHECKING:
    from realm.openqa.model_folder import ModelFolder

_DOCUMENTS_PER_STEP = _BLOCKS_PER_STEP = 512
_MOST_PROCESSES = 4


def index_collection(
    kb: Path,
    collection: RetrievalCollection,
    model: ModelFolder,
    *,
    discard_pending: bool = False,
    progress: Callable[[IndexReport], None] | None = None,
) -> IndexReport:
    """Make a knowledge base hold the documents of a collection and no others; nothing is written if it does.

    All documents are cut and stored before the first is embedded. A run that is killed is gone on with by the next one.

    Args:
        kb: The knowledge base.
        collection: Its documents are read twice: first to see whether they can be.
        model: Embeds the blocks.
        discard_pending: Throw away what a run of another job that was killed has embedded.
        progress: Called after every step.

    Raises:
        SourceError: The collection has no documents, or one that cannot be read.
        KnowledgeBaseError: The knowledge base holds other documents, cannot be written, belongs to another model, or
            holds an unfinished run.
    """
    # A command that can be typed again, which is what the advice about an unfinished run is made of.
    job = Job("evaluate-beir", (str(collection.folder),))
    report = IndexReport(skipped=SkipReport())
    require_free(kb)
    known = known_documents(kb, job, model.reference, discard_pending=discard_pending)
    _require_own(kb, known, collection, report)
    config = model.networks.config
    max_pieces = min(MAX_BLOCK_PIECES, config.max_position_embeddings)
    begin = time.monotonic()
    with KnowledgeBaseWriter(
        kb,
        model.reference,
        config.retriever_proj_size,
        max_pieces,
        job=job,
        first_hybrid_weight=HYBRID_WEIGHT,
        discard_pending=discard_pending,
    ) as writer:
        report.resumed, report.discarded_blocks = writer.resumed, writer.discarded_blocks
        documents = read_corpus(collection)
        changed = Changed(documents, writer.known, report, keeps_ids=True, check=may_replace_any, move=writer.move)
        processes = min(_MOST_PROCESSES, os.cpu_count() or 1)
        # Or else an error would leave its processes behind.
        with closing(chunk_documents(changed, model.tokenizer, max_pieces=max_pieces, processes=processes)) as cuts:
            while step := list(islice(cuts, _DOCUMENTS_PER_STEP)):
                writer.put(step, None, replaced=changed.pop_replaced(step))
                report.blocks += sum(len(cut.blocks) for cut in step)
                report.characters_seen += sum(len(cut.document.text) for cut in step)
                report.seconds = time.monotonic() - begin
                if progress is not None:
                    progress(report)
        report.removed = writer.keep_only(changed.seen, lambda source: True)
        embed_missing(writer, model, max_pieces, MemoryLimit(None, _BLOCKS_PER_STEP), report, progress)
        report.manifest = writer.publish()
    return report


def _require_own(kb: Path, known: DocumentStore | None, collection: RetrievalCollection, report: IndexReport) -> None:
    """Read all documents, and refuse a knowledge base with one that is not the collection's.

    Its own are those that came from its file, and those that are the same by id and content: it may have been moved.
    """
    others = {} if known is None else _from_elsewhere(known, str(collection.corpus))
    for document in read_corpus(collection, report.skipped):
        report.characters += len(document.text)
        if others and others.get(document.id) == document_hash(document):
            del others[document.id]
    if others:
        raise KnowledgeBaseError(
            f"{kb} holds {len(others):,} documents that are not of {collection.folder}, such as {min(others)!r}. "
            "They would be among its rankings: give another --kb folder."
        )
    if not report.characters:
        raise SourceError(f"{collection.corpus}: no documents found")


def _from_elsewhere(known: DocumentStore, path: str) -> dict[str, str]:
    """Content hashes, by id, of documents that did not come from a file."""
    return {
        id: content
        for batch in known.batches(["id", "content_hash", "source"])
        for id, content, source in zip(*batch.to_pydict().values(), strict=True)
        if source.rpartition(":")[0] != path
    }
