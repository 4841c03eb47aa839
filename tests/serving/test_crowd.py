"""Many askers: who is read together, who is refused, and that nothing is read for those who have gone."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from asking import app_of, assert_problem, with_client
from running import connect, serving
from waiting import QUICK, eventually, figure

from realm.openqa.ask import OpenQA
from realm.serving.service import Service

BATCHES = "realm_batch_questions_count"
QUESTIONS = "realm_batch_questions_sum"


@contextmanager
def busy(service: Service) -> Iterator[None]:
    """Keep the model's thread at work, so that requests gather."""
    free, begun = threading.Event(), threading.Event()
    service._batcher.call(lambda: (begun.set(), free.wait(60)))
    assert begun.wait(20)
    try:
        yield
    finally:
        free.set()


@pytest.mark.parametrize(
    ("path", "extra"),
    [("/v1/ask", {}), ("/v1/ask", {"stream": True}), ("/v1/search", {})],
    ids=["ask", "events", "search"],
)
def test_questions_whose_asker_has_gone_are_not_answered(made_once: Path, path: str, extra: dict[str, Any]) -> None:
    service = Service(made_once, limits=replace(QUICK, max_queue=32))
    with serving(service) as (url, _):
        eventually(lambda: service.library.is_ready)
        before = figure(service, QUESTIONS)
        body = json.dumps({"question": ["who found the gold?"] * 30, **extra}).encode()
        with busy(service):
            leaver = connect(url)
            head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            leaver.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            eventually(lambda: service._batcher.waiting == 30)
            leaver.close()
            eventually(lambda: service._batcher.waiting == 0)  # and so there is room for others
        assert httpx.post(f"{url}/v1/ask", json={"question": "who?"}, timeout=60).status_code == 200
        assert figure(service, QUESTIONS) == before + 1
        eventually(lambda: b'realm_errors_total{code="client_left"} 1.0' in service.metrics.text())


def test_questions_with_different_thresholds_are_read_together_each_with_its_own(
    shared: Service, reference: OpenQA
) -> None:
    eventually(lambda: shared.library.is_ready)
    before = figure(shared, BATCHES)
    thresholds = (0.0, None, 0.3, 1.0)
    with busy(shared):
        futures = [shared.ask(["who found the gold?", "who saw it?"], min_confidence=least) for least in thresholds]
    answers = [[answer.text for answer in future.result(30).answers] for future in futures]
    assert figure(shared, BATCHES) == before + 1
    assert answers == [
        [reference.ask(question, min_confidence=least).text for question in ("who found the gold?", "who saw it?")]
        for least in thresholds
    ]
    assert answers[0] != answers[-1] == [None, None]


def test_a_full_queue_is_429_with_retry_after(made_once: Path) -> None:
    with Service(made_once, limits=replace(QUICK, max_queue=2)) as service:
        app = app_of(service)

        async def crowd(client: httpx.AsyncClient) -> list[httpx.Response]:
            with busy(service):
                asked = [asyncio.ensure_future(client.post("/v1/ask", json={"question": "who?"})) for _ in range(6)]
                while sum(one.done() for one in asked) < 4:
                    await asyncio.sleep(0.01)
            return await asyncio.gather(*asked)

        responses = with_client(app, crowd)
    assert [response.status_code for response in responses].count(200) == 2
    for response in responses:
        if response.status_code != 200:
            assert_problem(response, "overloaded", "2 are waiting")
            assert int(response.headers["retry-after"]) >= 1
