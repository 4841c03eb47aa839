"""Vectors of blocks that were stored without: `realm embed`, which makes up for `realm index --words-only`.

    realm index --words-only ─► documents, blocks and their words: searched at once, by words alone
    realm embed ─► vectors of the next blocks ─► … ─► those of all: searched by both from the version this makes

Read `embed_blocks` first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from realm.openqa.estimate import Estimate
from realm.openqa.knowledge_base import KnowledgeBase
from realm.openqa.manifest import Manifest
from realm.openqa.memory import MemoryLimit, resident_bytes
from realm.openqa.pending import Job
from realm.openqa.writer import KnowledgeBaseWriter

if TYPE_CHECKING:
    from realm.openqa.model_folder import ModelFolder

_BLOCKS_PER_STEP = 512


@dataclass
class EmbeddingReport:
    """What a run of embedding did.

    Attributes:
        total: Blocks that had no vectors when it began.
        blocks: Those that have been embedded.
        seconds: Time since it began.
        resumed: Whether a run that was cut short was gone on with.
        discarded_blocks: Blocks of a run of another job that was cut short; they are lost.
        estimate: What the run will take; None until the first step is done.
        manifest: The published version; None until then.
    """

    total: int = 0
    blocks: int = 0
    seconds: float = 0.0
    resumed: bool = False
    discarded_blocks: int = 0
    estimate: Estimate | None = None
    manifest: Manifest | None = None


def embed_blocks(
    folder: Path,
    *,
    model: ModelFolder | None = None,
    max_ram_bytes: int | None = None,
    discard_pending: bool = False,
    progress: Callable[[EmbeddingReport], None] | None = None,
) -> EmbeddingReport:
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
    report = EmbeddingReport(manifest=base.manifest)
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
        report.total = writer.missing_vectors
        begin = time.monotonic()

        limit = MemoryLimit(max_ram_bytes, _BLOCKS_PER_STEP)
        for blocks in embed_missing(writer, model, manifest.max_block_pieces, limit):
            report.blocks += blocks
            report.seconds = time.monotonic() - begin
            if report.estimate is None:
                report.estimate = _estimate(report, writer.new_bytes)
            if progress is not None:
                progress(report)
        report.manifest = writer.publish()
    return report


def embed_missing(
    writer: KnowledgeBaseWriter,
    model: ModelFolder,
    max_pieces: int,
    limit: MemoryLimit,
) -> Iterator[int]:
    """Embed what has no vectors in the version that a writer makes; gives, after every step, how many blocks it had.

    Args:
        writer: Makes the version.
        model: Embeds the blocks.
        max_pieces: Longest input in word pieces.
        limit: Says how many blocks to embed at once.
    """
    while blocks := writer.without_vectors(limit.blocks_per_step):
        writer.embed(model.embed_blocks(blocks, max_pieces))
        yield len(blocks)
        limit.check()


def _estimate(report: EmbeddingReport, new_bytes: int) -> Estimate:
    times = report.total / report.blocks
    seconds = report.seconds * (times - 1.0)
    return Estimate(None, None, report.total, round(new_bytes * times), resident_bytes(), seconds)
