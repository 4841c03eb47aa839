"""A knowledge base as a retriever of LangChain. Needs the extra `langchain`; knows no chain."""

from __future__ import annotations

import dataclasses
from typing import Any

from realm.extras import require
from realm.openqa.ask import OpenQA, Searching

_documents = require("langchain_core.documents", "langchain")
_retrievers = require("langchain_core.retrievers", "langchain")


class KnowledgeBaseRetriever(_retrievers.BaseRetriever):  # type: ignore[misc, name-defined]
    """Passages for a question, best first.

    A document's metadata is what there is to say of a piece of evidence: title, document, place and scores.

    Args:
        qa: An open knowledge base.
        k: How many passages to give.
        where: Only of documents for which this holds; see `realm.corpus.conditions`.
    """

    qa: OpenQA
    k: int = 5
    where: str | None = None

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Any]:
        [found] = self.qa.retrieve([query], self.k, Searching(where=self.where))
        documents = []
        for evidence in found:
            metadata = dataclasses.asdict(evidence)
            for part in ("text", "start", "end"):  # nothing has been read, so no answer stands anywhere
                del metadata[part]
            documents.append(_documents.Document(id=evidence.block_id, page_content=evidence.text, metadata=metadata))
        return documents
