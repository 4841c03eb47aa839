"""Questions over HTTP: what comes back, as JSON and as events, and how bad ones are refused."""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from asking import app_of, assert_problem, send
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from waiting import QUICK, eventually

from realm.cli.output import answer_as_json
from realm.openqa.ask import OpenQA
from realm.records import Evidence
from realm.serving.service import Service
from realm.serving.shapes import EvidenceShape

QUESTION = "who found the gold in Zürich?"


@pytest.fixture(scope="module")
def app(shared: Service) -> FastAPI:
    """The app around the shared service."""
    return app_of(shared)


def without_times(answer: dict[str, Any]) -> dict[str, Any]:
    """What does not differ from run to run."""
    return json.loads(json.dumps({**answer, "seconds": sorted(answer["seconds"])}))  # type: ignore[no-any-return]


def events_in(text: str) -> list[tuple[str, Any]]:
    """Name and data of each server-sent event."""
    found = []
    for event in text.split("\n\n")[:-1]:
        name, data = event.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def test_an_answer_is_what_realm_ask_prints(app: FastAPI, reference: OpenQA) -> None:
    response = send(app, "POST", "/v1/ask", json={"question": QUESTION, "top": 2})
    [answer] = response.json()["answers"]
    assert (response.status_code, response.json()["version"]) == (200, 1)
    assert without_times(answer) == without_times(answer_as_json(reference.ask(QUESTION, top=2)))
    assert {field.name for field in dataclasses.fields(Evidence)} == set(EvidenceShape.model_fields)


def test_evidence_names_its_source_without_the_folders_of_the_server(app: FastAPI) -> None:
    for path, results in (("/v1/ask", "answers"), ("/v1/search", "results")):
        [found] = send(app, "POST", path, json={"question": QUESTION, "top": 2}).json()[results]
        assert [one["source"].partition(":")[0] for one in found["evidence"]] == ["stories.jsonl"] * 2


def test_several_questions_are_answered_in_their_order(app: FastAPI, reference: OpenQA) -> None:
    questions = [QUESTION, "who saw the ghost?"]
    answers = send(app, "POST", "/v1/ask", json={"question": questions, "min_confidence": 1.0}).json()["answers"]
    assert [answer["question"] for answer in answers] == questions
    assert [answer["answer"] for answer in answers] == [None, None]
    found = send(app, "POST", "/v1/search", json={"question": questions, "top": 3, "hybrid": False}).json()["results"]
    assert [one["question"] for one in found] == questions
    assert [len(one["evidence"]) for one in found] == [3, 3]


@pytest.mark.parametrize("asked_by", ["accept", "stream"])
def test_events_bring_the_evidence_before_the_answer(app: FastAPI, asked_by: str) -> None:
    body = {"question": [QUESTION, "who saw the ghost?"], "top": 2}
    headers = {"accept": "text/event-stream"} if asked_by == "accept" else {}
    body |= {"stream": True} if asked_by == "stream" else {}
    response = send(app, "POST", "/v1/ask", json=body, headers=headers)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["x-accel-buffering"] == "no"
    events = events_in(response.text)
    assert [name for name, _ in events] == ["evidence", "evidence", "answer", "answer"]
    assert {data["version"] for _, data in events} == {1}
    # An explicit no wins over what the client says it can take.
    plain = send(app, "POST", "/v1/ask", json={**body, "stream": False}, headers=headers).json()["answers"]
    for (_, early), (_, answer), expected in zip(events[:2], events[2:], plain, strict=True):
        assert [one["block_id"] for one in early["evidence"]] == [one["block_id"] for one in answer["evidence"]]
        assert (early["question"], answer["answer"]) == (expected["question"], expected["answer"])


def test_evidence_is_found_once_for_events_and_answer(app: FastAPI, shared: Service) -> None:
    qa, found = shared.library.current, []
    with pytest.MonkeyPatch.context() as patch:
        find = qa.find
        patch.setattr(qa, "find", lambda questions, *rest: found.append(list(questions)) or find(questions, *rest))
        events = events_in(send(app, "POST", "/v1/ask", json={"question": QUESTION, "stream": True}).text)
    assert [name for name, _ in events] == ["evidence", "answer"]
    assert found == [[QUESTION]]


def test_events_that_cannot_begin_have_a_proper_status(app: FastAPI) -> None:
    for question in (" ", "word " * 300):
        assert_problem(send(app, "POST", "/v1/ask", json={"question": question, "stream": True}), "bad_question")
    body = {"question": "who?", "stream": True, "filter": "no such"}
    assert_problem(send(app, "POST", "/v1/ask", json=body), "invalid", "no such")


def test_what_is_over_in_the_middle_of_events_is_told_as_an_event(made_once: Path) -> None:
    with Service(made_once, limits=replace(QUICK, timeout_seconds=0.3)) as service:
        service.library.current.ask("who?")
        read = service.library.current.read

        def slowly(*arguments: Any, **options: Any) -> Any:
            time.sleep(1)
            return read(*arguments, **options)

        service.library.current.read = slowly  # type: ignore[method-assign]
        events = events_in(send(app_of(service), "POST", "/v1/ask", json={"question": "who?", "stream": True}).text)
    assert [name for name, _ in events] == ["evidence", "error"]
    assert events[-1][1]["error"]["code"] == "timeout"
    assert events[-1][1]["request_id"]


@pytest.mark.parametrize(
    ("body", "code", "parts"),
    [
        ({"question": ""}, "invalid", ["question", "at least 1 character"]),
        ({"question": []}, "invalid", ["question"]),
        ({"question": ["who?"] * 33}, "invalid", ["question", "32"]),
        ({"question": "w" * 2001}, "invalid", ["2000"]),
        ({"question": 1}, "invalid", ["question"]),
        ({}, "invalid", ["question"]),
        ({"question": "who?", "top": 0}, "invalid", ["top"]),
        ({"question": "who?", "top": 21}, "invalid", ["top", "20"]),
        ({"question": "who?", "top": "5"}, "invalid", ["top"]),
        ({"question": "who?", "min_confidence": 1.5}, "invalid", ["min_confidence"]),
        ({"question": "who?", "weight": -1}, "invalid", ["weight"]),
        ({"question": "who?", "hybrid": False, "weight": 0.5}, "invalid", ["words"]),
        ({"question": "who?", "surprise": 1}, "invalid", ["surprise"]),
        ({"question": "who?", "filter": ""}, "invalid", ["filter", "eave it out"]),
        ({"question": "who?", "filter": " "}, "invalid", ["filter", "eave it out"]),
        ({"question": "who?", "filter": "(" * 1900}, "invalid", ["condition"]),
        ({"question": "who?", "filter": "id = 'x'; DROP TABLE y"}, "invalid", ["condition"]),
        ({"question": " \t"}, "bad_question", ["empty"]),
        ({"question": "word " * 200}, "bad_question", ["128"]),
        ([1], "invalid", []),
        (None, "invalid", []),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_in_one_line(app: FastAPI, body: Any, code: str, parts: list[str]) -> None:
    assert_problem(send(app, "POST", "/v1/ask", json=body), code, *parts)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid"),
        (b'{"question": "\xff\xfe"}', "malformed"),
        (b'{"question": "\\ud800"}', "invalid"),
        (b'{"\\ud800": 1}', "invalid"),
        (b'{"question": "who?", "weight": NaN}', "invalid"),
        (b'{"question": "who?", "top": 1e999}', "invalid"),
        (b'{"question": "who?", "top": ' + b"9" * 5000 + b"}", "malformed"),
        (b"[" * 100_000, "malformed"),
        (b"\x00" * 100, "malformed"),
    ],
    ids=range(9),
)
def test_bytes_that_are_no_question_are_refused(app: FastAPI, body: bytes, code: str) -> None:
    response = send(app, "POST", "/v1/ask", content=body, headers={"content-type": "application/json"})
    assert_problem(response, code)


@pytest.mark.parametrize(
    ("body", "place", "reason"),
    [(b"{", 1, "Expecting property name"), (b"nonsense", 0, "Expecting value"), (b"[] []", 3, "Extra data")],
)
def test_what_is_no_json_is_told_with_its_place_and_the_reason(
    app: FastAPI, body: bytes, place: int, reason: str
) -> None:
    response = send(app, "POST", "/v1/ask", content=body, headers={"content-type": "application/json"})
    assert_problem(response, "malformed", f"character {place}", reason)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/ask", "POST"),
        ("PUT", "/v1/search", "POST"),
        ("POST", "/metrics", "GET, HEAD"),
        ("POST", "/", "GET, HEAD"),
    ],
)
def test_a_method_that_is_not_for_an_address_is_refused_with_those_that_are(
    app: FastAPI, method: str, path: str, allowed: str
) -> None:
    response = send(app, method, path)
    assert_problem(response, "method_not_allowed", method, path, allowed)
    assert response.headers["allow"] == allowed


NAMES = st.sampled_from(["question", "top", "filter", "weight", "hybrid", "stream", "min_confidence"]) | st.text()
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=7),
    max_leaves=12,
)


@settings(max_examples=100)
@given(body=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass")))
def test_no_body_makes_the_server_fail(app: FastAPI, body: bytes) -> None:
    for path in ("/v1/ask", "/v1/search"):
        response = send(app, "POST", path, content=body, headers={"content-type": "application/json"})
        assert response.status_code in (200, 400, 422), (body, response.text)


def test_a_question_that_takes_too_long_is_504(made_once: Path) -> None:
    with Service(made_once, limits=replace(QUICK, timeout_seconds=0.1)) as service:
        app = app_of(service)
        eventually(lambda: service.library.is_ready)
        for is_stream in (False, True):
            service._batcher.call(lambda: time.sleep(0.5))
            body = {"question": "who?", "stream": is_stream}
            assert_problem(send(app, "POST", "/v1/ask", json=body), "timeout")


def test_a_service_that_is_closed_is_503(made_once: Path) -> None:
    service = Service(made_once, limits=QUICK).start()
    service.close()
    assert_problem(send(app_of(service), "POST", "/v1/ask", json={"question": "who?"}), "stopping")
    assert_problem(send(app_of(service), "GET", "/v1/documents"), "stopping")
