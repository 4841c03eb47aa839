"""`POST /v1/ask` and `POST /v1/search`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from realm.records import Evidence
from realm.serving.access import ServiceOfApp, result_now, result_of, unless_left
from realm.serving.events import EVENT_SCHEMA, EVENT_STREAM, Early, events_of
from realm.serving.problems import documented
from realm.serving.questions import Answered
from realm.serving.service import Service
from realm.serving.shapes import (
    AskRequest,
    AskResponse,
    SearchRequest,
    SearchResponse,
    answer_shape,
    evidence_shapes,
)

router = APIRouter(prefix="/v1", tags=["questions"])
_PROBLEMS = documented(400, 401, 403, 408, 413, 415, 422, 429, 503, 504)
_EVENTS = (
    "With `stream`, or `Accept: text/event-stream` where `stream` is left out: events. First `evidence`, one for each "
    "question, before anything is read: JSON with `version`, `question` and `evidence`; if it comes again, the later "
    "one holds. Then `answer`, one for each question: JSON with `version` and what an answer has. Or `error`: JSON as "
    "of any problem."
)


@router.post(
    "/ask",
    response_model=AskResponse,
    responses={**_PROBLEMS, 200: {"description": _EVENTS, "content": {EVENT_STREAM: {"schema": EVENT_SCHEMA}}}},
)
async def ask(request: Request, body: AskRequest, service: ServiceOfApp) -> Response:
    """Answer a question, or several: each answer is a part of a document, with its place and its evidence."""
    takes_events = EVENT_STREAM in request.headers.get("accept", "")
    if body.stream or (takes_events and "stream" not in body.model_fields_set):
        return await _ask_in_events(request, body, service)
    future = service.ask(body.questions, top=body.top, min_confidence=body.min_confidence, searching=body.searching)
    answered = await unless_left(request, result_of(future, service.limits.timeout_seconds))
    return JSONResponse({"version": answered.version, "answers": [answer_shape(one) for one in answered.answers]})


@router.post("/search", response_model=SearchResponse, responses=_PROBLEMS)
async def search(request: Request, body: SearchRequest, service: ServiceOfApp) -> Response:
    """The best passages for a question, or several, without reading them."""
    future = service.search(body.questions, top=body.top, searching=body.searching)
    found = await unless_left(request, result_of(future, service.limits.timeout_seconds))
    results = [
        {"question": question, "evidence": evidence_shapes(evidence)}
        for question, evidence in zip(body.questions, found.evidence, strict=True)
    ]
    return JSONResponse({"version": found.version, "results": results})


async def _ask_in_events(request: Request, body: AskRequest, service: Service) -> Response:
    """Ask; the response begins with the evidence, so that what goes wrong before has its proper status."""
    loop = asyncio.get_running_loop()
    early: asyncio.Queue[Early | None] = asyncio.Queue()

    def tell(item: Early | None) -> None:
        with suppress(RuntimeError):  # the loop has ended, and with it whoever asked
            loop.call_soon_threadsafe(early.put_nowait, item)

    def on_evidence(version: int, evidence: Sequence[tuple[Evidence, ...]]) -> None:
        tell(Early(version, evidence))

    future: Future[Answered] = service.ask(
        body.questions,
        top=body.top,
        min_confidence=body.min_confidence,
        searching=body.searching,
        on_evidence=on_evidence,
    )
    future.add_done_callback(lambda _: tell(None))
    deadline = loop.time() + service.limits.timeout_seconds
    first = None
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                first = await unless_left(request, early.get())
    finally:
        if first is None:
            future.cancel()
    if first is None:  # it has failed, or there is no time left: this raises
        result_now(future)
    events = events_of(request.scope["state"], body.questions, first, early, future, deadline)
    # A proxy (nginx) would keep the evidence back until the answer is there.
    return StreamingResponse(events, media_type=EVENT_STREAM, headers={"X-Accel-Buffering": "no"})
