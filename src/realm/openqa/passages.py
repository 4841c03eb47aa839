"""DPR's passages of Wikipedia into a knowledge base.

psgs_w100.tsv ─► documents ─► blocks ─► embedded by a model ─► KnowledgeBaseWriter
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

from realm.corpus.chunking import ChunkedDocument, chunk_documents, document_hash
from realm.corpus.document_store import StoredDocument
from realm.corpus.skips import Skipper, SkipReport
from realm.interop.dpr_passages import PassageFile
from realm.openqa.estimate import Estimate, estimate
from realm.openqa.importing import ImportReport, Progress
from realm.openqa.indexing import MAX_BLOCK_PIECES
from realm.openqa.memory import MemoryLimit, resident_bytes
from realm.openqa.model_folder import ModelFolder
from realm.openqa.pending import Job
from realm.openqa.search import HYBRID_WEIGHT
from realm.openqa.survey import with_stored
from realm.openqa.write_lock import require_free
from realm.openqa.writer import KnowledgeBaseWriter
from realm.records import Document

_PASSAGES_PER_STEP = 512


def import_passages(
    kb: Path,
    path: Path,
    model: ModelFolder,
    *,
    skip_bad: bool = False,
    max_ram_bytes: int | None = None,
    discard_pending: bool = False,
    words_only: bool = False,
    progress: Progress | None = None,
    announce: Callable[[Estimate], None] | None = None,
) -> ImportReport:
    """Index a table of passages as DPR has them, each a document with the id it has there.

    Like `realm index`, this adds to a knowledge base that is there, passes over what is in it already, and goes
    on where it was stopped.

    Args:
        kb: The knowledge base.
        path: `psgs_w100.tsv`, plain or gzip.
        model: Embeds the passages.
        skip_bad: Leave out lines that are no passages, or have an id that came before, instead of stopping.
        max_ram_bytes: The most memory to take.
        discard_pending: Throw away what a run of another job that was killed has embedded.
        words_only: Embed nothing; see `index_sources`.
        progress: Called after every step; what is done is counted in bytes of the file.
        announce: Called once, when something has been embedded, with what the run will take.

    Raises:
        SourceError: The table is damaged; what stands before the damage is not published.
        KnowledgeBaseError: The folder cannot be written, belongs to another model, or holds an unfinished run.
        UsageError: `max_ram_bytes` is too little.
    """
    require_free(kb)
    config = model.networks.config
    max_pieces = min(MAX_BLOCK_PIECES, config.max_position_embeddings)
    skipped = SkipReport()
    passages = PassageFile(path, Skipper(skip_bad, skipped))
    limit = MemoryLimit(max_ram_bytes, _PASSAGES_PER_STEP)
    with KnowledgeBaseWriter(
        kb,
        model.reference,
        config.retriever_proj_size,
        max_pieces,
        job=Job("import dpr", (str(path.resolve()),)),
        first_hybrid_weight=HYBRID_WEIGHT,
        discard_pending=discard_pending,
        max_ram_bytes=max_ram_bytes,
    ) as writer:
        begin, blocks, documents = time.monotonic(), 0, 0
        looked_up = with_stored(passages.documents(), writer.known)
        while batch := list(islice(looked_up, limit.blocks_per_step)):
            cuts = _put_passages(batch, writer, model, max_pieces, words_only)
            is_first = not blocks
            blocks += sum(len(cut.blocks) for cut in cuts)
            seconds = time.monotonic() - begin
            if announce is not None and cuts and is_first:
                in_all = passages.read_passages * passages.total_bytes / passages.read_bytes
                times = max(1.0, (in_all - documents) / len(batch))
                announce(_estimate(cuts, times, blocks, writer.new_bytes, seconds))
            documents += len(batch)
            if progress is not None:
                progress(passages.read_bytes, passages.total_bytes, blocks, seconds)
            limit.check()
        manifest = writer.publish()
    return ImportReport(manifest.documents, blocks, time.monotonic() - begin, manifest, skipped)


def _put_passages(
    batch: Sequence[tuple[Document, StoredDocument | None]],
    writer: KnowledgeBaseWriter,
    model: ModelFolder,
    max_pieces: int,
    words_only: bool,
) -> list[ChunkedDocument]:
    """Put the new and changed ones of some passages into the knowledge base, embedded if none before them is not."""
    changed = [one for one, stored in batch if stored is None or stored.content_hash != document_hash(one)]
    cuts = list(chunk_documents(changed, model.tokenizer, max_pieces=max_pieces))
    if cuts:
        is_later = words_only or writer.missing_vectors > 0
        rows = [model.inputs.block(cut.title_ids, block.token_ids, max_pieces) for cut in cuts for block in cut.blocks]
        ids = {cut.document.id for cut in cuts}
        replaced = {one.id: stored for one, stored in batch if stored is not None and one.id in ids}
        writer.put(cuts, None if is_later else model.embed(rows), replaced=replaced)
    return cuts


def _estimate(cuts: Sequence[ChunkedDocument], times: float, blocks: int, new_bytes: int, seconds: float) -> Estimate:
    characters = sum(len(cut.document.text) for cut in cuts)
    return estimate(
        round(len(cuts) * times),
        round(characters * times),
        done_characters=characters,
        done_blocks=blocks,
        done_bytes=new_bytes,
        seconds=seconds,
        memory_bytes=resident_bytes(),
    )
