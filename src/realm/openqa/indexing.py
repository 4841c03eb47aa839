"""Sources into a knowledge base: read, cut, embed what is new or changed, publish as one version."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from realm.corpus.chunking import ChunkedDocument, chunk_documents, document_hash
from realm.corpus.readers import read_documents
from realm.corpus.skips import SkipReport
from realm.openqa.knowledge_base import KnowledgeBase
from realm.openqa.manifest import Manifest
from realm.openqa.model_folder import ModelFolder
from realm.openqa.writer import KnowledgeBaseWriter
from realm.records import Document

MAX_BLOCK_PIECES = 288
_BLOCKS_PER_STEP = 512
_DOCUMENTS_PER_LOOKUP = 256


@dataclass
class IndexReport:
    """What a run of indexing did.

    Attributes:
        added: New documents.
        updated: Documents whose content had changed.
        unchanged: Documents that were there already.
        blocks: Blocks embedded.
        characters_seen: Characters of documents done with.
        characters: Characters of all documents of the sources.
        seconds: Time since embedding began.
        resumed: Whether a run that was cut short was gone on with.
        skipped: Records left out, by reason.
        manifest: The published version; None until then.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    blocks: int = 0
    characters_seen: int = 0
    characters: int = 0
    seconds: float = 0.0
    resumed: bool = False
    skipped: SkipReport | None = None
    manifest: Manifest | None = None


Progress = Callable[[IndexReport], None]


def index_sources(
    folder: Path,
    sources: Sequence[Path],
    model: ModelFolder,
    *,
    skip_bad: bool = False,
    progress: Progress | None = None,
) -> IndexReport:
    """Make or update a knowledge base.

    All sources are read once before anything is written, so that bad input is found while nothing has changed.
    A run that is killed leaves the published version as it was; the next one goes on where it stopped.

    Args:
        folder: The knowledge base.
        sources: Files and folders of documents.
        model: Embeds the blocks.
        skip_bad: Leave out records that cannot be read instead of stopping.
        progress: Called after every step.

    Raises:
        SourceError: A source is missing, empty or not in its format.
        KnowledgeBaseError: The folder cannot be written, or belongs to another model.
    """
    report = IndexReport(skipped=SkipReport())
    report.characters = sum(
        len(document.text) for document in read_documents(sources, skip_bad=skip_bad, report=report.skipped)
    )
    config = model.networks.config
    max_pieces = min(MAX_BLOCK_PIECES, config.max_position_embeddings)
    with KnowledgeBaseWriter(folder, model.reference, config.retriever_proj_size, max_pieces) as writer:
        report.resumed = writer.resumed
        begin = time.monotonic()
        changed = _changed(read_documents(sources, skip_bad=skip_bad), writer, report)
        for step in _steps(chunk_documents(changed, model.tokenizer, max_pieces=max_pieces)):
            rows = [
                model.inputs.block(cut.title_ids, block.token_ids, max_pieces) for cut in step for block in cut.blocks
            ]
            writer.put(step, model.embed(rows))
            report.blocks += len(rows)
            report.characters_seen += sum(len(cut.document.text) for cut in step)
            report.seconds = time.monotonic() - begin
            if progress is not None:
                progress(report)
        report.manifest = writer.publish()
    return report


def remove_documents(folder: Path, ids: Sequence[str]) -> tuple[int, Manifest]:
    """Take documents out of a knowledge base, as one new version.

    Returns:
        How many of them there were, and the new version.

    Raises:
        KnowledgeBaseError: There is no knowledge base, or another process is writing it.
    """
    manifest = KnowledgeBase.open(folder).manifest
    with KnowledgeBaseWriter(folder, manifest.model, manifest.dim, manifest.max_block_pieces) as writer:
        removed = writer.remove(ids)
        return removed, writer.publish()


def _changed(documents: Iterator[Document], writer: KnowledgeBaseWriter, report: IndexReport) -> Iterator[Document]:
    """Documents that are not in the knowledge base as they are."""
    while batch := list(islice(documents, _DOCUMENTS_PER_LOOKUP)):
        known = writer.documents.get([document.id for document in batch], with_text=False)
        for document in batch:
            stored = known.get(document.id)
            if stored is None:
                report.added += 1
            elif stored.content_hash != document_hash(document):
                report.updated += 1
            else:
                report.unchanged += 1
                report.characters_seen += len(document.text)
                continue
            yield document


def _steps(cuts: Iterator[ChunkedDocument]) -> Iterator[list[ChunkedDocument]]:
    """Documents in groups of about `_BLOCKS_PER_STEP` blocks."""
    group: list[ChunkedDocument] = []
    blocks = 0
    for cut in cuts:
        group.append(cut)
        blocks += len(cut.blocks)
        if blocks >= _BLOCKS_PER_STEP:
            yield group
            group, blocks = [], 0
    if group:
        yield group
