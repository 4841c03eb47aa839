"""Sources into a knowledge base: read, cut, embed what is new or changed, publish as one version.

sources ──survey──► is all of it readable, how much is new ──► read again ──► cut ──► embed ──► put ──► … ──► publish

Read `index_sources` first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from realm.corpus.chunking import ChunkedDocument, chunk_documents
from realm.corpus.readers import read_documents
from realm.corpus.skips import SkipReport
from realm.errors import SourceError
from realm.openqa.changes import CameFrom, Changed, Origin, may_replace_any, require_same_file
from realm.openqa.estimate import Estimate, estimate
from realm.openqa.index_report import IndexReport
from realm.openqa.knowledge_base import KnowledgeBase
from realm.openqa.late_vectors import embed_missing
from realm.openqa.manifest import Manifest
from realm.openqa.memory import MemoryLimit, resident_bytes
from realm.openqa.pending import Job
from realm.openqa.search import HYBRID_WEIGHT
from realm.openqa.survey import MAX_BYTES, Survey, bytes_of, known_documents, survey, survey_of_bytes
from realm.openqa.write_lock import require_free
from realm.openqa.writer import KnowledgeBaseWriter
from realm.records import Document

if TYPE_CHECKING:
    from realm.openqa.model_folder import ModelFolder

MAX_BLOCK_PIECES = 288
_BLOCKS_PER_STEP = 512
_SKIP = "Mend it, or leave it out with: --skip-bad"


def index_sources(
    folder: Path,
    sources: Sequence[Path],
    model: ModelFolder,
    *,
    skip_bad: bool = False,
    prune: bool = False,
    prune_all: bool = False,
    id_prefix: str = "",
    text_column: str = "text",
    max_ram_bytes: int | None = None,
    search: str | None = None,
    hybrid_weight: float | None = None,
    discard_pending: bool = False,
    words_only: bool = False,
    processes: int = 1,
    progress: Callable[[IndexReport], None] | None = None,
) -> IndexReport:
    """Make or update a knowledge base.

    A run that is killed leaves the published version as it was; the next one over the same sources goes on where it
    stopped. Sources of up to 1 GiB are read once before anything is written, so that bad input is found while
    nothing has changed; in larger ones it is found on the way, and the published version stays.

    Args:
        folder: The knowledge base.
        sources: Files and folders of documents.
        model: Embeds the blocks.
        skip_bad: Leave out records that cannot be read instead of stopping.
        prune: Remove documents that came from these sources and are no longer there.
        prune_all: Remove all documents that the sources do not have, wherever they came from.
        id_prefix: Goes before the id of every document, so that those of several folders are kept apart.
        text_column: The name of the field or column of records that holds their text.
        max_ram_bytes: The most memory to take.
        search: How vectors are to be searched from now on: `exact`, `faiss` or `auto`; as before unless given.
        hybrid_weight: Share of the words in searches from now on, 0 to 1. Unless given it is as before, and
            `HYBRID_WEIGHT` in a new knowledge base.
        discard_pending: Throw away what a run of another job that was killed has embedded.
        words_only: Embed nothing, which takes nearly all of the time: leave that to the next run without it, or to
            `late_vectors.embed_blocks`. Till then all blocks are found by words alone.
        processes: How many processes cut documents into blocks while others are embedded; see `chunk_documents`.
        progress: Called after every step.

    Raises:
        SourceError: A source is missing, empty or not in its format; or a document would take the place of one from
            another file, see `require_same_file`; or with `prune`, records that were left out might be documents that
            would be removed.
        KnowledgeBaseError: The folder cannot be written, belongs to another model, or holds an unfinished run.
        UsageError: `max_ram_bytes` is too little.
    """
    job = Job("index", tuple(str(Path(source).resolve()) for source in sources))
    report = IndexReport(skipped=SkipReport())
    require_free(folder)
    # Sources that are missing or of no known kind are refused here, whether they are then read or not.
    origin = Origin(folder)
    read = partial(_read, sources, id_prefix, origin, skip_bad=skip_bad, text_column=text_column, advice=_SKIP)
    documents = read(report=report.skipped)
    check = may_replace_any if prune_all else partial(require_same_file, id_prefix=id_prefix, origin=origin)
    known = known_documents(folder, job, model.reference, discard_pending=discard_pending)
    is_large = bytes_of(sources) > MAX_BYTES
    ahead = survey_of_bytes(sources) if is_large else survey(documents, known, check)
    prune = prune or prune_all
    if prune and ahead.is_exact:
        _require_all_read(report)
    report.characters = ahead.characters
    config = model.networks.config
    max_pieces = min(MAX_BLOCK_PIECES, config.max_position_embeddings)
    limit = MemoryLimit(max_ram_bytes, _BLOCKS_PER_STEP)
    dim = config.retriever_proj_size
    with KnowledgeBaseWriter(
        folder,
        model.reference,
        dim,
        max_pieces,
        job=job,
        search=search,
        hybrid_weight=hybrid_weight,
        first_hybrid_weight=HYBRID_WEIGHT,
        discard_pending=discard_pending,
        max_ram_bytes=max_ram_bytes,
    ) as writer:
        report.resumed, report.discarded_blocks = writer.resumed, writer.discarded_blocks
        begin = time.monotonic()
        again = read(report=None if ahead.is_exact else report.skipped)
        keeps_ids = prune or writer.resumed
        changed = Changed(again, writer.known, report, keeps_ids=keeps_ids, check=check, move=writer.move)
        cut = chunk_documents(changed, model.tokenizer, max_pieces=max_pieces, processes=processes)
        # Or else an error would leave its processes behind.
        with closing(cut) as cuts:
            for step in _steps(cuts, limit):
                # Vectors are in the order of blocks: none may come before those that are missing.
                is_later = words_only or writer.missing_vectors > 0
                vectors = None if is_later else _embed(step, model, max_pieces, limit.blocks_per_step)
                writer.put(step, vectors, replaced=changed.pop_replaced(step))
                report.blocks += sum(len(cut.blocks) for cut in step)
                report.embedded += 0 if vectors is None else len(vectors)
                report.characters_seen += sum(len(cut.document.text) for cut in step)
                report.seconds = time.monotonic() - begin
                if report.estimate is None:
                    report.estimate = _estimate(ahead, step, writer, report)
                if progress is not None:
                    progress(report)
                limit.check()
        if not words_only:
            embed_missing(writer, model, max_pieces, limit, report, progress)
        if prune:
            _require_all_read(report)
        is_pruned = (lambda source: True) if prune_all else CameFrom(sources, origin)
        report.removed = writer.keep_only(changed.seen, is_pruned if prune else None)
        report.manifest = writer.publish()
    return report


def remove_documents(folder: Path, ids: Sequence[str], *, discard_pending: bool = False) -> tuple[int, Manifest]:
    """Take documents out of a knowledge base, as one new version.

    Returns:
        How many of them there were, and the new version.

    Raises:
        KnowledgeBaseError: There is no knowledge base; another process is writing it; or unless `discard_pending`, it
            holds an unfinished run.
    """
    base = KnowledgeBase.open(folder)
    manifest = base.manifest
    if not base.documents.get(ids, with_text=False):
        return 0, manifest
    job = Job("remove", tuple(ids))
    with KnowledgeBaseWriter(
        folder, manifest.model, manifest.dim, manifest.max_block_pieces, job=job, discard_pending=discard_pending
    ) as writer:
        removed = writer.remove(ids)
        return removed, writer.publish()


def _read(sources: Sequence[Path], id_prefix: str, origin: Origin, **options: Any) -> Iterator[Document]:
    documents = read_documents(sources, **options)  # refuses sources that are missing, now and not at the first one
    return (replace(one, id=id_prefix + one.id, source=origin.stored(one.source)) for one in documents)


def _require_all_read(report: IndexReport) -> None:
    """Refuse to remove what may only have been left out."""
    skipped = report.skipped or SkipReport()
    if skipped.lost:
        left_out, first = sum(skipped.reasons[reason] for reason in skipped.lost), skipped.examples[skipped.lost[0]]
        raise SourceError(
            f"{left_out:,} records were left out, and --prune would remove their documents (first: {first}). "
            "Mend them, or leave out --prune."
        )


def _embed(
    step: Sequence[ChunkedDocument], model: ModelFolder, max_pieces: int, blocks_at_once: int
) -> NDArray[np.float32]:
    """Vectors of all blocks of the documents, in order; those of a very long document in several goes."""
    rows = (model.inputs.block(cut.title_ids, block.token_ids, max_pieces) for cut in step for block in cut.blocks)
    parts = [model.embed([])]
    while group := list(islice(rows, max(blocks_at_once, 1))):
        parts.append(model.embed(group))
    return np.concatenate(parts)


def _steps(cuts: Iterator[ChunkedDocument], limit: MemoryLimit) -> Iterator[list[ChunkedDocument]]:
    """Documents in groups of about as many blocks as the limit says."""
    group: list[ChunkedDocument] = []
    blocks = 0
    for cut in cuts:
        group.append(cut)
        blocks += len(cut.blocks)
        if blocks >= limit.blocks_per_step:
            yield group
            group, blocks = [], 0
    if group:
        yield group


def _estimate(
    ahead: Survey, step: Sequence[ChunkedDocument], writer: KnowledgeBaseWriter, report: IndexReport
) -> Estimate:
    characters = sum(len(cut.document.text) for cut in step)
    left = ahead.new_characters - (0 if ahead.is_exact else report.characters_seen - characters)
    times = left / characters if characters else 1.0
    return estimate(
        ahead.new_documents if ahead.is_exact else round(len(step) * times),
        left,
        done_characters=characters,
        done_blocks=report.blocks,
        done_bytes=writer.new_bytes,
        seconds=report.seconds,
        memory_bytes=resident_bytes(),
    )
