"""The nouns of realm that every room shares: plain frozen data, standard library only.

Positions are half-open character ranges `[start, end)` into `Document.text`, counted in Python characters
(Unicode code points), so `document.text[start:end]` is always the quoted text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Document:
    """One document as the user gave it.

    Attributes:
        id: Stable across re-indexing; from the record, or the path relative to the source.
        title: May be empty.
        text: The whole text, unchanged (of HTML and wikitext: the readable text taken from it); all offsets point
            into it.
        source: Where it came from, for people: a path, with `:line` for files of many records.
        metadata: Further fields of the record, as strings.
    """

    id: str
    title: str
    text: str
    source: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Block:
    """A passage of a document that is retrieved and read as one.

    Attributes:
        id: Stable: digest of document id, document content and offsets.
        document_id: The document it is cut from.
        title: The document's title.
        start: First character in the document.
        end: One past the last character; `text == document.text[start:end]`.
        text: The passage, verbatim.
        token_ids: Word pieces of `text` (no special tokens), so that nothing is tokenised at question time.
    """

    id: str
    document_id: str
    title: str
    start: int
    end: int
    text: str
    token_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its reference answers.

    Attributes:
        id: Unique in its file.
        text: As asked.
        answers: Any of them is right; regular expressions if `answer_type` is `"regex"`.
        answer_type: How `answers` are to be compared.
    """

    id: str
    text: str
    answers: tuple[str, ...] = ()
    answer_type: Literal["string", "regex"] = "string"


@dataclass(frozen=True, slots=True)
class ReadingExample:
    """A question together with the passage that answers it.

    Attributes:
        question: The question; its answers are texts.
        title: Title of the passage; may be empty.
        context: The passage.
        answer_starts: First character in `context` of each of `question.answers`.
        hard_negatives: Title and text of blocks that look like the passage to a search, and do not answer.
    """

    question: Question
    title: str
    context: str
    answer_starts: tuple[int, ...]
    hard_negatives: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """A block that was retrieved for a question.

    Attributes:
        title: Title of its document.
        document_id: Its document.
        document_version: Version of the knowledge base that last wrote the document; offsets hold for it.
        block_id: The block.
        text: The block, verbatim.
        block_start: First character of the block in the document.
        score: Inner product of question and block.
        probability: Share of belief the retriever gives this block among the retrieved ones (sums to 1).
        start: First character of the answer in the document, or None where the answer is not read from this block.
        end: One past its last character, or None.
        lexical_score: BM25 of question and block; 0.0 where words were not asked for or did not find it.
        fused_score: What the order of the evidence is by: `score` in a search by vectors alone, else 0 to 1.
        source: Where its document came from; see `Document`. Answers for people elsewhere leave folders out.
        metadata: Of its document.
    """

    title: str
    document_id: str
    document_version: int
    block_id: str
    text: str
    block_start: int
    score: float
    probability: float
    start: int | None = None
    end: int | None = None
    lexical_score: float = 0.0
    fused_score: float = 0.0
    source: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What realm says to a question.

    Attributes:
        question: As asked.
        text: Verbatim span of a document (original casing), or None for "no answer".
        confidence: Probability that the answer is right, 0 to 1, where the model was calibrated; else its probability
            among all spans of all blocks read. Also given where `text` is None because it is too low.
        evidence: Retrieved blocks, best first. The one that answers has `start` and `end`.
        seconds: Time of each stage: embed, search, read.
        note: Why there is no evidence, where the question is not the reason; empty otherwise.
        signs: What the confidence is made of; see `realm.openqa.calibration.Signs`. Empty where nothing was read.
    """

    question: str
    text: str | None
    confidence: float
    evidence: tuple[Evidence, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)
    note: str = ""
    signs: Mapping[str, float] = field(default_factory=dict)
