"""A knowledge base as a component of Haystack (extra `haystack`). Knows no pipeline.

Haystack reports its use to its makers, unless the environment says HAYSTACK_TELEMETRY_ENABLED=False."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from realm.extras import require
from realm.openqa.ask import OpenQA, Searching
from realm.records import Answer, Evidence

_haystack = require("haystack", "haystack")
_META = ("title", "document_id", "document_version", "block_start", "probability")


@_haystack.component
class KnowledgeBaseAnswerer:
    """The answer to a query, with its place, and the passages that were read for it.

    Args:
        knowledge_base: Its folder.
        top_k: How many passages to read.
        min_confidence: Below it there is no answer; as the model was calibrated unless given.
    """

    def __init__(self, knowledge_base: str, top_k: int = 5, min_confidence: float | None = None) -> None:
        self.knowledge_base = knowledge_base
        self.top_k = top_k
        self.min_confidence = min_confidence

    @cached_property
    def _qa(self) -> OpenQA:
        return OpenQA.load(self.knowledge_base)

    @_haystack.component.output_types(  # type: ignore[untyped-decorator]
        answers=list[_haystack.ExtractedAnswer], documents=list[_haystack.Document]  # type: ignore[name-defined]
    )  # fmt: skip
    def run(self, query: str, where: str | None = None) -> dict[str, Any]:
        """Answer; `answers` is empty where none is sure enough, and `where` is a condition on documents."""
        answer = self._qa.ask(query, top=self.top_k, min_confidence=self.min_confidence, searching=Searching(where))
        documents = list(map(_document, answer.evidence))
        pairs = zip(answer.evidence, documents, strict=True)
        answers = [_extracted(answer, one, document) for one, document in pairs if one.start is not None]
        return {"answers": answers, "documents": documents}


def _document(evidence: Evidence) -> Any:
    meta = {name: getattr(evidence, name) for name in _META}
    return _haystack.Document(id=evidence.block_id, content=evidence.text, meta=meta, score=evidence.score)


def _extracted(answer: Answer, evidence: Evidence, document: Any) -> Any:
    places = (place - evidence.block_start for place in (evidence.start or 0, evidence.end or 0))
    span = _haystack.ExtractedAnswer.Span(*places)
    return _haystack.ExtractedAnswer(
        query=answer.question, score=answer.confidence, data=answer.text, document=document, document_offset=span
    )
