"""Blocks that were found, as evidence: with the documents they are from. Knows no questions and reads nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from realm.corpus.block_store import StoredBlock
from realm.corpus.document_columns import shown_source
from realm.corpus.document_store import StoredDocument
from realm.openqa.knowledge_base import KnowledgeBase
from realm.openqa.search import Found
from realm.openqa.span_choice import Span
from realm.records import Document, Evidence

_UNKNOWN = StoredDocument(Document("", "", ""), "", 0, 0, 0)


def evidence_for(
    base: KnowledgeBase, blocks: Sequence[StoredBlock], found: Found, span: Span | None, *, hides_folders: bool
) -> tuple[Evidence, ...]:
    """Blocks as evidence, best first.

    Args:
        base: Where they are from.
        blocks: Those of `found`, in its order.
        found: Their scores.
        span: The answer, if it is read from one of them.
        hides_folders: Whether sources are as `shown_source` has them.
    """
    if not blocks:
        return ()
    known = base.documents.get([stored.block.document_id for stored in blocks], with_text=False)
    shifted = np.exp(found.dense - found.dense.max())
    shares = shifted / shifted.sum()
    evidence = []
    for place, stored in enumerate(blocks):
        block, document = stored.block, known.get(stored.block.document_id, _UNKNOWN)
        source = document.document.source
        answering = span if span is not None and span.place == place else None
        evidence.append(
            Evidence(
                title=block.title,
                document_id=block.document_id,
                document_version=document.version,
                block_id=block.id,
                text=block.text,
                block_start=block.start,
                score=float(found.dense[place]),
                probability=float(shares[place]),
                start=None if answering is None else block.start + answering.start,
                end=None if answering is None else block.start + answering.end,
                lexical_score=float(found.lexical[place]),
                fused_score=float(found.fused[place]),
                source=shown_source(source) if hides_folders else source,
                metadata=document.document.metadata,
            )
        )
    return tuple(evidence)
