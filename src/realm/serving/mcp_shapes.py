"""What tools give to a language model: values that fit a schema, and a few lines of text that say the same.

Places are in characters of the document's text. Knows no protocol.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, Field

from realm.corpus.document_columns import shown_source
from realm.records import Answer, Evidence
from realm.serving.documents import FoundDocument

_EXCERPT_CHARACTERS = 240


class Passage(BaseModel):
    """A passage of a document that was found for the question."""

    document_id: str
    document_version: int = Field(description="Give it to get_document as `version`: places hold for that version.")
    title: str
    start: int = Field(description="First character of the passage in the document.")
    end: int = Field(description="One past its last character.")
    text: str = Field(description="The passage, verbatim.")
    belief: float = Field(description="Share of the retriever's belief, 0 to 1, among the passages found.")


class Citation(BaseModel):
    """Where an answer stands, word for word."""

    document_id: str
    document_version: int = Field(description="Give it to get_document as `version`: places hold for that version.")
    title: str
    start: int = Field(description="First character of the answer in the document.")
    end: int = Field(description="One past its last character.")
    passage: int = Field(description="Which of `passages` it is in, from 0.")


class AskResult(BaseModel):
    """What is answered to a question."""

    question: str
    answer: str | None = Field(description="Words of a document, verbatim; null where no answer is sure enough.")
    confidence: float = Field(description="Of the answer, or of the best guess where there is none; 0 to 1.")
    citation: Citation | None = Field(description="Where the answer stands; null without an answer.")
    passages: list[Passage] = Field(description="What was read, best first.")
    note: str = Field(description="Why nothing was found, where the question is not the reason.")
    version: int = Field(description="Version of the knowledge base that answered.")


class SearchResult(BaseModel):
    """Passages found for a question."""

    question: str
    passages: list[Passage] = Field(description="Best first; none where no document fits the filter.")
    version: int = Field(description="Version of the knowledge base that was searched.")


class DocumentResult(BaseModel):
    """A document, or a part of it."""

    document_id: str
    title: str
    version: int = Field(description="Version of the knowledge base that wrote it.")
    source: str
    metadata: dict[str, str]
    start: int = Field(description="First character of `text` in the document.")
    end: int = Field(description="One past its last character.")
    total_characters: int = Field(description="Of the whole document.")
    next_start: int | None = Field(description="`start` of the next part; null after the last.")
    text: str = Field(description="The document's text from `start` to `end`, verbatim.")


def ask_result(answer: Answer, version: int) -> AskResult:
    """An answer for a model."""
    citation = next(
        (
            Citation(
                document_id=one.document_id,
                document_version=one.document_version,
                title=one.title,
                start=one.start,
                end=one.end,
                passage=place,
            )
            for place, one in enumerate(answer.evidence)
            if one.start is not None and one.end is not None
        ),
        None,
    )
    return AskResult(
        question=answer.question,
        answer=answer.text,
        confidence=answer.confidence,
        citation=citation,
        passages=_passages(answer.evidence),
        note=answer.note,
        version=version,
    )


def search_result(question: str, evidence: Sequence[Evidence], version: int) -> SearchResult:
    """Passages for a model."""
    return SearchResult(question=question, passages=_passages(evidence), version=version)


def document_result(found: FoundDocument, start: int, max_characters: int) -> DocumentResult:
    """At most so many characters of a document, from `start` on."""
    document = found.document
    text = document.text[start : start + max_characters]
    end = start + len(text)
    return DocumentResult(
        document_id=document.id,
        title=document.title,
        version=found.version,
        source=shown_source(document.source),
        metadata=dict(document.metadata),
        start=start,
        end=end,
        total_characters=len(document.text),
        next_start=end if text and end < len(document.text) else None,
        text=text,
    )


def said_of_answer(result: AskResult) -> str:
    """Answer, citation and what was read, in a few lines."""
    cited = result.citation
    if result.answer is None or cited is None:
        lines = [f"No answer is sure enough (confidence of the best guess: {result.confidence:.0%})."]
        if result.note:
            lines.append(result.note)
    else:
        place = _place(cited.title, cited.document_id, cited.start, cited.end)
        lines = [f"{result.answer} (confidence {result.confidence:.0%})", f"Source: {place}"]
    if result.passages:
        lines += ["", "Passages read:"]
    for number, passage in enumerate(result.passages):
        around = cited.start - passage.start if cited is not None and cited.passage == number else 0
        lines.append(f"[{number}] {_place_of(passage)}: {_excerpt(passage.text, around)}")
    return "\n".join(lines)


def said_of_search(result: SearchResult) -> str:
    """The passages in full, each with its place."""
    if not result.passages:
        return "No passages: no document fits the filter."
    return "\n\n".join(
        f"[{number}] {_place_of(passage)}:\n{passage.text}" for number, passage in enumerate(result.passages)
    )


def said_of_document(result: DocumentResult) -> str:
    """The text under a line that says which part of which document it is."""
    place = _place(result.title, result.document_id, result.start, result.end)
    rest = "" if result.next_start is None else f"\n\n(Goes on: ask again with start={result.next_start}.)"
    return f"{place} of {result.total_characters}:\n{result.text}{rest}"


def _passages(evidence: Sequence[Evidence]) -> list[Passage]:
    return [
        Passage(
            document_id=one.document_id,
            document_version=one.document_version,
            title=one.title,
            start=one.block_start,
            end=one.block_start + len(one.text),
            text=one.text,
            belief=one.probability,
        )
        for one in evidence
    ]


def _place_of(passage: Passage) -> str:
    return _place(passage.title, passage.document_id, passage.start, passage.end)


def _place(title: str, document_id: str, start: int, end: int) -> str:
    name = " ".join(title.split())
    return f"{name + ', ' if name else ''}document {document_id!r}, characters {start} to {end}"


def _excerpt(text: str, around: int) -> str:
    """A line of the text, with what stands at `around` in it."""
    start = max(0, min(around - _EXCERPT_CHARACTERS // 2, len(text) - _EXCERPT_CHARACTERS))
    part = " ".join(text[start : start + _EXCERPT_CHARACTERS].split())
    return f"{'…' if start else ''}{part}{'…' if start + _EXCERPT_CHARACTERS < len(text) else ''}"
