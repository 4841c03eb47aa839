"""Vectors of blocks that were stored without: `realm embed`, which makes up for `realm index --words-only`.

    realm index --words-only ─► documents, blocks and their words: searched at once, by words alone
    realm embed ─► vectors of the next blocks ─► … ─► those of all: searched by both from the version this makes

Read `embed_blocks` first.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from realm.openqa.estimate import Estimate
from realm.openqa.index_report import IndexReport
from realm.openqa.knowledge_base import KnowledgeBase
from realm.openqa.memory import MemoryLimit, resident_bytes
from realm.openqa.pending import Job
from realm.openqa.writer import KnowledgeBaseWriter

if TYPE_CHECKING:
    from realm.openqa.model_folder import ModelFolder

_BLOCKS_PER_STEP = 512


def embed_blocks(
    folder: Path,
    *,
    model: ModelFolder | None = None,
    max_ram_bytes: int | None = None,
    discard_pending: bool = False,
    progress: Callable[[IndexReport], None] | None = None,
) -> IndexReport:
    """Embed all blocks of a knowledge base that have no vectors yet, as one new version.

    Till that is published, questions are answered by words alone as before. A run that is killed is gone on with by
    the next one.

    Args:
        folder: The knowledge base.
        model: Embeds the blocks; the one that the knowledge base names unless given.
        max_ram_bytes: The most memory the process may take.
        discard_pending: Throw away what a killed run of another job has written.
        progress: Called after every step.

    Raises:
        KnowledgeBaseError: There is no knowledge base; it belongs to another model; another process is writing it; or
            it holds an unfinished run of another job.
        UsageError: `max_ram_bytes` is too little.
    """
    # Taking documents out, whose file imports this one, needs no torch.
    from realm.openqa.model_choice import model_for

    base = KnowledgeBase.open(folder)
    report = IndexReport(manifest=base.manifest)
    if base.manifest.is_embedded:
        return report
    model = model or model_for(base, None)
    manifest = base.manifest
    with KnowledgeBaseWriter(
        folder,
        model.reference,
        manifest.dim,
        manifest.max_block_pieces,
        job=Job("embed"),
        discard_pending=discard_pending,
        max_ram_bytes=max_ram_bytes,
    ) as writer:
        report.resumed, report.discarded_blocks = writer.resumed, writer.discarded_blocks
        limit = MemoryLimit(max_ram_bytes, _BLOCKS_PER_STEP)
        embed_missing(writer, model, manifest.max_block_pieces, limit, report, progress)
        report.manifest = writer.publish()
    return report


def embed_missing(
    writer: KnowledgeBaseWriter,
    model: ModelFolder,
    max_pieces: int,
    limit: MemoryLimit,
    report: IndexReport,
    progress: Callable[[IndexReport], None] | None = None,
) -> None:
    """Embed what has no vectors in the version that a writer makes.

    Args:
        writer: Makes the version.
        model: Embeds the blocks.
        max_pieces: Longest input in word pieces.
        limit: Says how many blocks to embed at once.
        report: Notes what there is to do and what is done, and if it has no estimate yet, how long it will take.
        progress: Called after every step.
    """
    report.late = writer.missing_vectors
    before, begin, done = report.seconds, time.monotonic(), 0
    while blocks := writer.without_vectors(limit.blocks_per_step):
        writer.embed(model.embed_blocks(blocks, max_pieces))
        done += len(blocks)
        seconds = time.monotonic() - begin
        report.embedded, report.seconds = report.embedded + len(blocks), before + seconds
        if report.estimate is None:
            times = report.late / done
            disk = round(writer.new_bytes * times)
            report.estimate = Estimate(None, None, report.late, disk, resident_bytes(), seconds * (times - 1.0))
        if progress is not None:
            progress(report)
        limit.check()
