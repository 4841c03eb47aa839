"""Questions into a file of predictions, in batches; a run that was cut short goes on where it stopped.

Knows how to write predictions down, not how questions are answered: that is handed in as a function.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from realm.artifacts import write_json_atomically
from realm.corpus.expressions import ExpressionMatcher
from realm.corpus.fields import kind_of
from realm.corpus.questions import ReferenceQuestion
from realm.errors import QuestionError, UsageError
from realm.evaluation.judging import holds_answer
from realm.evaluation.predictions import Prediction, RankedBlock, prediction_line, read_predictions
from realm.records import Answer, Evidence, Question

PREDICTIONS = "predictions.jsonl"
SETTINGS = "settings.json"

Ask = Callable[[Sequence[str]], Sequence[Answer]]
Progress = Callable[[int, int], None]


@contextmanager
def claim_folder(folder: Path, settings: Mapping[str, Any], name: str = PREDICTIONS) -> Iterator[Path]:
    """Make a folder that holds predictions, or other answers, of these settings alone, and be its only writer.

    Args:
        folder: Made unless it is there.
        settings: What they depend on, JSON-able.
        name: Of the file that they are kept in.

    Yields:
        That file, which may hold some of an earlier run already.

    Raises:
        UsageError: The folder cannot be used, another run is writing to it, or it holds answers made with other
            settings.
    """
    path = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / f".{name}.lock").open("w")
    except OSError as exc:
        raise _unusable(folder, exc) from exc
    with lock:
        _take(lock, folder)
        try:
            _require_same_settings(path, settings)
            write_json_atomically(folder / SETTINGS, settings)
            path.open("a+b").close()  # what cannot be written or read is better known before anything is asked
        except OSError as exc:
            raise _unusable(folder, exc) from exc
        yield path


def _take(lock: IO[str], folder: Path) -> None:
    """Lock it until it is closed; the lock is the operating system's, so that it ends with its process."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        message = f"{folder} is being written by another run. Wait until it is done, or give another folder"
        raise UsageError(message) from exc
    except OSError as exc:
        raise _unusable(folder, exc) from exc


def _require_same_settings(path: Path, settings: Mapping[str, Any]) -> None:
    """Refuse to mix answers that depend on different things."""
    file = path.with_name(SETTINGS)
    try:
        found = json.loads(file.read_bytes())
    except FileNotFoundError:
        if path.exists():
            raise UsageError(f"{path} is there, but not the {SETTINGS} it was made with. Give another folder") from None
        return
    except (ValueError, RecursionError) as exc:
        raise _unusable(path.parent, f"{SETTINGS} is broken JSON: {exc}") from exc
    if not isinstance(found, dict):
        raise _unusable(path.parent, f"{SETTINGS} holds {kind_of(found)}, expected an object")
    wanted = json.loads(json.dumps(settings))
    for key in dict.fromkeys([*wanted, *found]):
        if found.get(key) != wanted.get(key):
            raise UsageError(
                f"{path} was made with {key} {found.get(key)!r}; now it is {wanted.get(key)!r}. "
                f"Give another folder, or delete the two files {path} and {file}"
            )


def _unusable(folder: Path, why: OSError | str) -> UsageError:
    problem = (why.strerror or str(why)) if isinstance(why, OSError) else why
    return UsageError(f"{folder}: cannot be used for a report: {problem}. Give another folder")


def predict(
    questions: Sequence[ReferenceQuestion],
    ask: Ask,
    path: Path,
    *,
    read: int,
    batch: int = 16,
    progress: Progress | None = None,
) -> int:
    """Ask the questions that have no prediction yet, and append what is answered.

    Every batch is on disk before the next is asked. Texts of blocks that were not read are not kept, only whether they
    hold an answer; without references, all are. A question that the system refuses gets a prediction without answer.

    Args:
        questions: All of them.
        ask: Answers a batch; evidence best first, the blocks that were read before all others.
        path: The file of predictions.
        read: How many blocks `ask` reads for an answer.
        batch: Questions asked together.
        progress: Told how many of the open questions are done, and how many there are.

    Returns:
        How many questions were asked now.

    Raises:
        SourceError: The file of predictions is damaged; the message names the line.
    """
    done = _finished(path)
    open_questions = [asked for asked in questions if asked.question.id not in done]
    matcher = ExpressionMatcher()
    asked_now = 0
    with path.open("a", encoding="utf-8") as file:
        for start in range(0, len(open_questions), batch):
            group = open_questions[start : start + batch]
            for asked, (answer, problem) in zip(group, _answers(ask, [g.question.text for g in group]), strict=True):
                file.write(prediction_line(_prediction(asked, answer, problem, read, matcher)))
            file.flush()
            os.fsync(file.fileno())
            asked_now += len(group)
            if progress is not None:
                progress(asked_now, len(open_questions))
    return asked_now


def _finished(path: Path) -> set[str]:
    """Ids of the questions that have a prediction."""
    if not path.exists():
        return set()
    drop_broken_end(path)
    return {prediction.id for prediction in read_predictions(path)}


def drop_broken_end(path: Path) -> None:
    """Take a line that was cut short off a file."""
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.truncate(_end_of_last_line(file, size))


def _end_of_last_line(file: Any, size: int) -> int:
    """One past the last line break, looked for from the end."""
    step = 1 << 16
    while size:
        start = max(0, size - step)
        file.seek(start)
        if (place := file.read(size - start).rfind(b"\n")) >= 0:
            return int(start + place + 1)
        size = start
    return 0


def _answers(ask: Ask, texts: list[str]) -> list[tuple[Answer, str]]:
    """Answers, each with the problem why there is none, or an empty string."""
    try:
        return [(answer, "") for answer in ask(texts)]
    except QuestionError as exc:
        if len(texts) == 1:
            return [(Answer(texts[0], None, 0.0, ()), str(exc))]
    return [pair for text in texts for pair in _answers(ask, [text])]


def _prediction(
    asked: ReferenceQuestion, answer: Answer, problem: str, read: int, matcher: ExpressionMatcher
) -> Prediction:
    question = asked.question
    passage = " ".join(asked.passage.split())
    blocks = (
        _ranked(evidence, question, passage, rank <= read, matcher) for rank, evidence in enumerate(answer.evidence, 1)
    )
    return Prediction(
        id=question.id,
        question=question.text,
        answers=question.answers,
        answer_type=question.answer_type,
        prediction=answer.text,
        confidence=min(1.0, max(0.0, answer.confidence)),
        evidence=tuple(blocks),
        read=min(read, len(answer.evidence)),
        seconds=answer.seconds,
        problem=problem,
    )


def _ranked(
    evidence: Evidence, question: Question, passage: str, was_read: bool, matcher: ExpressionMatcher
) -> RankedBlock:
    has_references = any(question.answers)
    return RankedBlock(
        document_id=evidence.document_id,
        title=evidence.title,
        block_id=evidence.block_id,
        score=round(evidence.score, 6),
        text=evidence.text if was_read or not has_references else None,
        start=evidence.start,
        end=evidence.end,
        has_answer=holds_answer(evidence.text, question, matcher) if has_references else None,
        is_gold=_is_part(" ".join(evidence.text.split()), passage) if passage else None,
    )


def _is_part(text: str, passage: str) -> bool:
    """Whether a block is cut from the passage, or holds it whole."""
    return text in passage or passage in text
