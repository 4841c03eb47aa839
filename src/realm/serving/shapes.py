"""What goes over the wire: requests and responses as OpenAPI describes them.

Knows the nouns of realm and no server. Texts of documents are data here; whoever shows them must escape them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from realm.corpus.document_columns import shown_source
from realm.openqa.ask import Searching
from realm.records import Answer, Document, Evidence
from realm.serving import limits
from realm.serving.documents import DocumentPage, FoundDocument
from realm.serving.texts import DocumentText, FieldText, FilterText, NewIdText, OneOrSeveral


class Request(BaseModel):
    """A body: values are taken as they are, and unknown names refused."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class HowToSearch(Request):
    """What asking and searching have in common."""

    question: OneOrSeveral = Field(description="A question, or several.", examples=["Who wrote Middlemarch?"])
    filter: FilterText | None = Field(
        None,
        description="Only documents for which this holds, such as: source = 'x' AND year >= 1990.",
    )
    hybrid: bool | None = Field(None, description="By words and vectors, or by vectors alone.")
    weight: float | None = Field(None, ge=0, le=1, description="Share of the words in the order of passages.")

    @property
    def questions(self) -> list[str]:
        """The questions, however many."""
        return [self.question] if isinstance(self.question, str) else self.question

    @property
    def searching(self) -> Searching:
        """How passages are looked for."""
        return Searching(self.filter, self.hybrid, self.weight)


class AskRequest(HowToSearch):
    """Questions to be answered."""

    top: int = Field(5, ge=1, le=limits.MAX_TOP_READ, description="How many passages to read for each question.")
    min_confidence: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Below it: no answer, but the evidence. Unless given, the threshold that was measured for the "
        "model (see `min_confidence` of `/v1/info`); where none was, every answer is given. 0 gives every answer.",
    )
    stream: bool = Field(False, description="Send events: the evidence first, the answers when they are there.")


class SearchRequest(HowToSearch):
    """Questions whose passages are wanted, without an answer."""

    top: int = Field(5, ge=1, le=limits.MAX_TOP_FOUND, description="How many passages to give for each question.")


class EvidenceShape(BaseModel):
    """A passage that was found for a question. Places are in characters of the document's text."""

    title: str
    document_id: str
    document_version: int = Field(description="Offsets hold for this version of the document.")
    block_id: str
    text: str
    block_start: int
    score: float = Field(description="Inner product of question and passage.")
    probability: float = Field(description="The retriever's belief in this passage among those found.")
    start: int | None = Field(description="Where the answer begins, if it is read from this passage.")
    end: int | None
    lexical_score: float = Field(description="BM25 of question and passage.")
    fused_score: float = Field(description="What the order of the passages is by.")
    source: str = Field(description="Where the document came from; see `/v1/documents`.")
    metadata: dict[str, str] = Field(description="Of the document.")


class AnswerShape(BaseModel):
    """What is answered to a question."""

    question: str
    answer: str | None = Field(description="A verbatim part of a document; null for no answer.")
    confidence: float = Field(
        ge=0,
        le=1,
        description="Probability that the answer is right, where that was measured for the model; else the answer's "
        "probability among all spans of the passages read. Given also where `answer` is null.",
    )
    evidence: list[EvidenceShape] = Field(
        description="Best first. The passage that the answer is read from has `start` and `end`."
    )
    seconds: dict[str, float] = Field(description="This question's share of what each stage took.")
    note: str = Field(description="Why there is no evidence, where the question is not the reason.")
    signs: dict[str, float] = Field(
        description="What the confidence is made of: `log_odds` of the answer among all spans read and "
        "`place_log_odds` of its place alone, the reader's `reader_score`, `overlap` and `likeness` of question and "
        "sentence, `block_likeness` of question and passage, `agreement`: other passages that hold it, `echo`: 1 if "
        "the question holds it, `question_pieces`, `missing_number`: 1 if the passage lacks a number of the question, "
        "`standing` of the passage. Empty where nothing was read."
    )


class AskResponse(BaseModel):
    """Answers, one for each question, all from one version of the knowledge base."""

    version: int
    answers: list[AnswerShape]


class FoundShape(BaseModel):
    """Passages found for a question, best first."""

    question: str
    evidence: list[EvidenceShape]


class SearchResponse(BaseModel):
    """Passages, for each question, all from one version of the knowledge base."""

    version: int
    results: list[FoundShape]


class NewDocument(Request):
    """A document to be added, or to take the place of the one with its id."""

    id: NewIdText
    title: FieldText = Field("", max_length=limits.MAX_ID_CHARACTERS)
    text: DocumentText
    source: FieldText = Field("", max_length=limits.MAX_ID_CHARACTERS, description="Where it came from, for people.")
    metadata: dict[FieldText, FieldText] = Field(
        {},
        max_length=100,
        description="Further fields; filters may name them: `year`, or `metadata.title` beside the document's own.",
    )

    def document(self) -> Document:
        """The document."""
        return Document(self.id, self.title, self.text, self.source, self.metadata)


class PutRequest(Request):
    """Documents to be added."""

    documents: list[NewDocument] = Field(min_length=1, max_length=limits.MAX_DOCUMENTS)


class WrittenShape(BaseModel):
    """What a change did. The next answer is from `version`, or a later one."""

    version: int
    added: int
    updated: int
    unchanged: int
    removed: int
    blocks: int = Field(description="Passages embedded.")


class DocumentShape(BaseModel):
    """A document."""

    id: str
    title: str
    version: int = Field(description="Version of the knowledge base that wrote it; offsets hold for it.")
    text: str
    source: str = Field(
        description="Where it came from: a file's name, without the server's folders; or a web address."
    )
    metadata: dict[str, str]


class ListedShape(BaseModel):
    """A document in a list."""

    id: str
    title: str
    version: int


class DocumentsResponse(BaseModel):
    """A page of the list of documents."""

    version: int = Field(description="If it changes between pages, the list has changed: begin again.")
    total: int
    documents: list[ListedShape]
    next_start: int | None = Field(description="`start` of the next page; null after the last.")


def evidence_shapes(evidence: Sequence[Evidence]) -> list[dict[str, Any]]:
    """Evidence as JSON; see `EvidenceShape`."""
    names = EvidenceShape.model_fields
    return [{name: getattr(one, name) for name in names} for one in evidence]


def answer_shape(answer: Answer) -> dict[str, Any]:
    """An answer as JSON; see `AnswerShape`. The same as `realm ask --json` prints."""
    return {
        "question": answer.question,
        "answer": answer.text,
        "confidence": answer.confidence,
        "evidence": evidence_shapes(answer.evidence),
        "seconds": dict(answer.seconds),
        "note": answer.note,
        "signs": dict(answer.signs),
    }


def document_shape(found: FoundDocument) -> DocumentShape:
    """A document as JSON."""
    document = found.document
    return DocumentShape(
        id=document.id,
        title=document.title,
        version=found.version,
        text=document.text,
        source=shown_source(document.source),
        metadata=dict(document.metadata),
    )


def page_shape(page: DocumentPage) -> DocumentsResponse:
    """A page of documents as JSON."""
    listed = [ListedShape(id=one.id, title=one.title, version=one.version) for one in page.documents]
    return DocumentsResponse(version=page.version, total=page.total, documents=listed, next_start=page.next_start)
