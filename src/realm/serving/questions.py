"""A batch of questions put to one version of the knowledge base. Knows no queue and no HTTP."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, TypeVar

from realm.openqa.ask import OpenQA, Searching
from realm.records import Answer, Evidence

T = TypeVar("T")

OnEvidence = Callable[[int, Sequence[tuple[Evidence, ...]]], None]


@dataclass(frozen=True, slots=True)
class Answered:
    """Answers to the questions of a request, all from one version of the knowledge base."""

    version: int
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class Retrieved:
    """Evidence for the questions of a request, all from one version of the knowledge base."""

    version: int
    evidence: tuple[tuple[Evidence, ...], ...]


@dataclass(frozen=True, slots=True)
class Wish:
    """What requests must have in common to be worked on together; see `OpenQA.find` and `OpenQA.read`."""

    kind: Literal["ask", "search"]
    top: int
    searching: Searching


@dataclass(frozen=True, slots=True, eq=False)
class Asking:
    """The questions of a request, below which confidence they have no answer, and who is to be told the evidence before
    it is read.
    """

    questions: tuple[str, ...]
    min_confidence: float | None = None
    on_evidence: OnEvidence | None = None


def put_questions(qa: OpenQA, wish: Wish, askings: Sequence[Asking]) -> tuple[list[Answered | Retrieved], Counter[str]]:
    """The result of each request, and the seconds that each stage took for all of them."""
    version = qa.knowledge_base.manifest.version
    questions = [question for asking in askings for question in asking.questions]
    sizes = [len(asking.questions) for asking in askings]
    seconds: Counter[str] = Counter()
    found = qa.find(questions, wish.top, wish.searching)
    if wish.kind == "search":
        for one in found:  # a question's share of what all of them took
            seconds.update(one.seconds)
        return [Retrieved(version, part) for part in _parts(map(qa.evidence_of, found), sizes)], seconds
    for asking, part in zip(askings, _parts(found, sizes), strict=True):
        if asking.on_evidence is not None:
            asking.on_evidence(version, [qa.evidence_of(one) for one in part])
    least = [asking.min_confidence for asking in askings for _ in asking.questions]
    answers = qa.read(found, wish.top, least)
    for answer in answers:
        seconds.update(answer.seconds)
    return [Answered(version, part) for part in _parts(answers, sizes)], seconds


def _parts(values: Iterable[T], sizes: Iterable[int]) -> Iterator[tuple[T, ...]]:
    """Values in groups of these sizes."""
    rest = iter(values)
    for size in sizes:
        yield tuple(islice(rest, size))
