"""An answer as server-sent events: evidence as soon as it is found, answers when they are read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from realm.records import Evidence
from realm.serving.access import result_now
from realm.serving.problems import problem, problem_of
from realm.serving.questions import Answered
from realm.serving.shapes import answer_shape, evidence_shapes

EVENT_STREAM = "text/event-stream"
EVENT_SCHEMA = {
    "type": "object",
    "properties": {"event": {"enum": ["evidence", "answer", "error"]}, "data": {"type": "string"}},
    "required": ["event", "data"],
}
"""Of each event, as OpenAPI describes it."""


@dataclass(frozen=True, slots=True)
class Early:
    """Evidence that has been found and not been read yet, of each question."""

    version: int
    evidence: Sequence[tuple[Evidence, ...]]


async def events_of(
    state: dict[str, Any],
    questions: Sequence[str],
    first: Early | None,
    early: asyncio.Queue[Early | None],
    future: Future[Answered],
    deadline: float,
) -> AsyncIterator[str]:
    """The events of a request.

    Args:
        state: Of the request.
        questions: What was asked.
        first: The evidence.
        early: Brings further evidence, if the version was dropped meanwhile; and None when the future is done.
        future: The answers.
        deadline: When to give up, in the time of the loop.
    """
    try:
        async with asyncio.timeout_at(deadline):
            while first is not None:
                for question, evidence in zip(questions, first.evidence, strict=True):
                    yield _event(
                        "evidence",
                        {"version": first.version, "question": question, "evidence": evidence_shapes(evidence)},
                    )
                first = await early.get()
        answered = result_now(future)
    except Exception as exc:
        error = _problem_event(state, exc)
        if error is None:
            raise
        yield error
        return
    finally:
        future.cancel()  # where the client has left, or the time is over
    for answer in answered.answers:
        yield _event("answer", {"version": answered.version, **answer_shape(answer)})


def _problem_event(state: dict[str, Any], exc: Exception) -> str | None:
    """What went wrong, as an event; None for a bug."""
    if isinstance(exc, TimeoutError):
        response = problem(state, "timeout", "No answer in time. Ask for less, or later.")
    else:
        found = problem_of(state, exc)
        if found is None:
            return None
        response = found
    return f"event: error\ndata: {bytes(response.body).decode()}\n\n"


def _event(name: str, values: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(values, ensure_ascii=False)}\n\n"
