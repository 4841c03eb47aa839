"""What is asked of a knowledge base to be measured besides answers: rankings of documents, and which system it is.

Needs torch through the system it is handed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from realm.artifacts import sha256_of_file
from realm.records import Evidence

if TYPE_CHECKING:
    from realm.openqa.ask import OpenQA, Searching


def identity(qa: OpenQA) -> dict[str, Any]:
    """What says which system answers; the model's digest leaves out the reader and the questions' own embedder."""
    manifest = qa.knowledge_base.manifest
    return {
        "kb_version": manifest.version,
        "kb_blocks": qa.knowledge_base.live_blocks,
        "model": qa.model.name,
        "model_digest": manifest.model.digest,
        "weights_sha256": sha256_of_file(qa.model.folder / "model.safetensors"),
    }


def rank_documents(
    qa: OpenQA, questions: Sequence[str], k: int, searching: Searching | None = None
) -> list[dict[str, float]]:
    """The best k documents of each question, each with the score of its best block.

    Blocks are retrieved until there are k documents, or no more blocks.

    Args:
        qa: The system.
        questions: As typed.
        k: How many documents, at least 1.
        searching: How blocks are looked for.
    """
    blocks, live = 2 * k, qa.knowledge_base.live_blocks
    while True:
        found = [_best_of_documents(hits) for hits in qa.retrieve(questions, min(blocks, live), searching)]
        if blocks >= live or min(map(len, found)) >= k:
            return [dict(list(ranking.items())[:k]) for ranking in found]
        blocks *= 4


def _best_of_documents(evidence: Sequence[Evidence]) -> dict[str, float]:
    """Documents in the order of their best blocks, scored by that order: fused scores are of one question alone."""
    ranking: dict[str, float] = {}
    for each in evidence:
        ranking.setdefault(each.document_id, -float(len(ranking)))
    return ranking
