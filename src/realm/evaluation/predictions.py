"""Predictions on disk: JSON lines that hold all that scoring needs, one line a question.

    {"id", "question", "answers": [...], "answer_type", "prediction", "confidence", "read",
     "evidence": [{"document_id", "title", "block_id", "score", "text", "start", "end", "has_answer", "is_gold"}, ...],
     "seconds": {"embed", "search", "read"}}

`id`, `question` and `prediction` must be there. Also reads SQuAD's files of answers, `{id: answer}`. Knows no metrics
and no model.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any, Literal

from realm.corpus.fields import kind_of, record_id, require_text
from realm.corpus.lines import MAX_RECORD_BYTES, Record, open_source, read_records
from realm.corpus.skips import BadRecord, Skipper, UniqueIds
from realm.errors import SourceError


@dataclass(frozen=True, slots=True)
class RankedBlock:
    """A block that was retrieved.

    Attributes:
        document_id: Its document.
        title: The document's title.
        block_id: The block.
        score: The retriever's.
        text: The block, verbatim; None where only the best blocks' texts were kept.
        start: First character of the answer in the document, or None where the answer is not from this block.
        end: One past its last character, or None.
        has_answer: Whether a reference answer stands in it; None where that was not looked at.
        is_gold: Whether it is of the passage the question was asked about; None where that is unknown.
    """

    document_id: str
    title: str
    block_id: str
    score: float
    text: str | None = None
    start: int | None = None
    end: int | None = None
    has_answer: bool | None = None
    is_gold: bool | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """What was answered to one question, with its references.

    Attributes:
        id: The question's.
        question: As asked.
        answers: The references; see `ReferenceQuestion`.
        answer_type: How they are to be compared.
        prediction: The answer, or None for "no answer".
        confidence: How sure, 0 to 1; None where the system does not say.
        evidence: Retrieved blocks, best first.
        read: How many of them were read for the answer.
        seconds: Time of each stage: an equal share of what the batch took that the question was asked in.
        problem: Why the question could not be asked, or empty.
    """

    id: str
    question: str
    answers: tuple[str, ...]
    answer_type: Literal["string", "regex"]
    prediction: str | None
    confidence: float | None = None
    evidence: tuple[RankedBlock, ...] = ()
    read: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    problem: str = ""


def prediction_line(prediction: Prediction) -> str:
    """The prediction as a line of JSON, with its line break."""
    values = {name: getattr(prediction, name) for name in Prediction.__slots__}
    values["evidence"] = [
        {key: value for key, value in dataclasses.asdict(block).items() if value is not None}
        for block in prediction.evidence
    ]
    values["seconds"] = {stage: round(seconds, 6) for stage, seconds in prediction.seconds.items()}
    if not prediction.problem:
        del values["problem"]
    return json.dumps(values, ensure_ascii=False, default=list) + "\n"


def read_predictions(path: Path) -> Iterator[Prediction]:
    """Read a file of predictions, one after the other.

    Raises:
        SourceError: The file is missing, a line is no prediction (the message names it), or an id occurs twice.
    """
    ids = UniqueIds()

    def convert(record: Record) -> Prediction:
        prediction = _prediction(record)
        ids.claim(prediction.id)
        return prediction

    return read_records(path, convert, Skipper(False, None))


def is_answer_file(path: Path) -> bool:
    """Whether the file is one JSON object of answers, as SQuAD's script takes it, and not JSON lines of predictions.

    Raises:
        SourceError: It cannot be opened.
    """
    if not path.is_file():
        raise SourceError(f"{path}: there is no such file")
    try:
        with open_source(path) as file:
            first = json.loads(file.readline(MAX_RECORD_BYTES))
    except OSError as exc:
        raise SourceError(f"{path}: the file breaks off: {exc}") from exc
    except (ValueError, RecursionError):
        return ".jsonl" not in path.name.lower()
    return isinstance(first, dict) and not {"id", "prediction"} <= first.keys() and ".jsonl" not in path.name.lower()


def read_answer_file(path: Path) -> dict[str, str]:
    """Read SQuAD's `{question id: answer}`; an empty answer is "no answer".

    Raises:
        SourceError: The file is missing or is not such an object.
    """
    try:
        with open_source(path) as file:
            found = json.loads(file.read())
    except (OSError, ValueError, RecursionError) as exc:
        raise SourceError(f"{path}: neither predictions (JSON lines) nor SQuAD's {{id: answer}}: {exc}") from exc
    if not isinstance(found, dict):
        raise SourceError(f"{path}: it is {kind_of(found)}; it must be an object {{id: answer}}")
    for key, answer in found.items():
        if not isinstance(answer, str):
            raise SourceError(f'{path}: the answer to "{key}" is {kind_of(answer)}; it must be a string')
    return found


def _prediction(record: Record) -> Prediction:
    fields = record.fields
    for key in ("id", "prediction"):
        if key not in fields:
            raise BadRecord("no_" + key, f'"{key}" is missing')
    answers = fields.get("answers", [])
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        raise BadRecord("bad_answers", '"answers" must be a list of strings')
    answer_type = fields.get("answer_type", "string")
    if answer_type not in ("string", "regex"):
        raise BadRecord("bad_answers", f'"answer_type" is {answer_type!r}; it must be "string" or "regex"')
    evidence = _typed(fields, "evidence", (list,), [])
    return Prediction(
        id=record_id(fields, record.default_id),
        question=require_text(fields, "question", "no_question"),
        answers=tuple(answers),
        answer_type=answer_type,
        prediction=_typed(fields, "prediction", (str,), None),
        confidence=_confidence(fields.get("confidence")),
        evidence=tuple(_block(block) for block in evidence),
        read=_typed(fields, "read", (int,), len(evidence)),
        seconds=_seconds(fields),
        problem=_typed(fields, "problem", (str,), ""),
    )


def _block(value: object) -> RankedBlock:
    if not isinstance(value, dict):
        raise BadRecord("bad_evidence", f'"evidence" holds {kind_of(value)}; it must hold objects')
    values: tuple[Any, ...] = tuple(map(value.get, _BLOCK_KEYS))
    if not _fit(tuple(map(type, values))):  # something is missing, or wrong and to be named
        values = tuple(_typed(value, key, kinds, default) for key, kinds, default in _BLOCK_FIELDS)
    return RankedBlock(*values)


@functools.cache
def _fit(found: tuple[type, ...]) -> bool:
    """Whether these are the types of a block, so that a million of them need not be looked at one by one."""
    return all(
        kind in kinds or (kind is NoneType and default is None)
        for kind, (_, kinds, default) in zip(found, _BLOCK_FIELDS, strict=True)
    )


_BLOCK_FIELDS: tuple[tuple[str, tuple[type, ...], Any], ...] = (
    ("document_id", (str,), ""),
    ("title", (str,), ""),
    ("block_id", (str,), ""),
    ("score", (float, int), 0.0),
    ("text", (str,), None),
    ("start", (int,), None),
    ("end", (int,), None),
    ("has_answer", (bool,), None),
    ("is_gold", (bool,), None),
)
_BLOCK_KEYS = tuple(key for key, _, _ in _BLOCK_FIELDS)


def _typed(fields: Mapping[str, Any], key: str, kinds: tuple[type, ...], default: Any) -> Any:
    """The value under `key`, which must be of one of these kinds; the default where it is missing or null."""
    value = fields.get(key)
    if value is None:
        return default
    if type(value) not in kinds:  # exactly: true is no whole number
        raise BadRecord("bad_prediction", f'"{key}" is {kind_of(value)}, which it must not be')
    return value


def _confidence(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise BadRecord("bad_confidence", f'"confidence" is {value!r}; it must be a number from 0 to 1')
    return float(value)


def _seconds(fields: Mapping[str, Any]) -> dict[str, float]:
    seconds: dict[str, float] = _typed(fields, "seconds", (dict,), {})
    for stage in seconds:
        _typed(seconds, stage, (int, float), 0.0)
    return seconds
