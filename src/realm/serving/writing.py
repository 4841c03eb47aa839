"""Documents into a knowledge base and out of it while it is being served; through the writer of `realm index`.

Only what is new or changed is embedded. Embedding is the caller's, because one thread owns the model. Knows no HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from realm.corpus.chunking import chunk_documents, document_hash
from realm.corpus.document_columns import PUT
from realm.features.inputs import Row
from realm.openqa.indexing import remove_documents
from realm.openqa.knowledge_base import KnowledgeBase
from realm.openqa.model_folder import ModelFolder
from realm.openqa.pending import Job
from realm.openqa.writer import KnowledgeBaseWriter
from realm.records import Document

_BLOCKS_AT_ONCE = 8
"""So many blocks are embedded before it is the turn of questions again."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a change did.

    Attributes:
        version: Version of the knowledge base that has it.
        added: Documents that were not there.
        updated: Documents that were there with another text, title or metadata.
        unchanged: Documents that were there as they are.
        removed: Documents taken out.
        blocks: Blocks of new and changed documents.
    """

    version: int
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    blocks: int = 0


def put_documents(
    folder: Path,
    documents: Sequence[Document],
    model: ModelFolder,
    embed: Callable[[Sequence[Row]], NDArray[np.float32]],
) -> Written:
    """Add documents, or replace those of the same ids, as one new version.

    Args:
        folder: The knowledge base.
        documents: No id twice.
        model: One with the knowledge base's embedder of blocks; which one it names stays as it is.
        embed: Gives the vectors of a few inputs.

    Raises:
        BusyError: Another process is writing.
        KnowledgeBaseError: The knowledge base cannot be written, or belongs to another model.
    """
    manifest = KnowledgeBase.open(folder).manifest
    pieces = manifest.max_block_pieces
    job = Job("put", tuple(document.id for document in documents))
    reference = replace(model.reference, name=manifest.model.name)
    with KnowledgeBaseWriter(folder, reference, manifest.dim, pieces, job=job) as writer:
        # Or else `realm index --prune` would take what stands there for a file that is gone.
        documents = [replace(one, source=f"{PUT}{one.source}") if one.source else one for one in documents]
        known = writer.known.get([document.id for document in documents], with_text=False)
        changed = [
            document
            for document in documents
            if document.id not in known or known[document.id].content_hash != document_hash(document)
        ]
        cuts = list(chunk_documents(changed, model.tokenizer, max_pieces=pieces))
        rows = [model.inputs.block(cut.title_ids, block.token_ids, pieces) for cut in cuts for block in cut.blocks]
        if cuts:
            parts = [rows[start : start + _BLOCKS_AT_ONCE] for start in range(0, len(rows), _BLOCKS_AT_ONCE)]
            # Where blocks before these have no vectors, these cannot have any: all are left to `realm embed`.
            vectors = None
            if not writer.missing_vectors:
                vectors = np.concatenate([np.empty((0, manifest.dim), np.float32), *map(embed, parts)])
            writer.put(cuts, vectors, replaced={id: stored for id, stored in known.items() if id in _ids(changed)})
        updated = sum(document.id in known for document in changed)
        return Written(
            writer.publish().version,
            added=len(changed) - updated,
            updated=updated,
            unchanged=len(documents) - len(changed),
            blocks=len(rows),
        )


def delete_document(folder: Path, document_id: str) -> Written:
    """Take a document out, as one new version; none if it is not there. Raises like `put_documents`."""
    removed, manifest = remove_documents(folder, [document_id])
    return Written(manifest.version, removed=removed)


def _ids(documents: Sequence[Document]) -> set[str]:
    return {document.id for document in documents}
