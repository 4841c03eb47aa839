"""Who is let in, what every response carries, and bodies that are too long, too slow or no JSON."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from asking import KEY, app_of, assert_problem, send
from fastapi import FastAPI
from waiting import QUICK, figure

from realm.errors import UsageError
from realm.serving.logs import JsonFormatter
from realm.serving.service import Service
from realm.serving.settings import Settings, read_api_key

ASK = {"question": "who?"}


@pytest.fixture(scope="module")
def app(shared: Service) -> FastAPI:
    """The app at a loopback address, without a key."""
    return app_of(shared)


def test_every_response_has_an_id_and_the_headers_that_keep_browsers_safe(app: FastAPI) -> None:
    ids = set()
    for method, path in (("GET", "/healthz"), ("GET", "/nope"), ("POST", "/v1/ask"), ("GET", "/docs")):
        headers = send(app, method, path).headers
        assert "'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
        assert "access-control-allow-origin" not in headers
        ids.add(headers["x-request-id"])
    assert len(ids) == 4


@pytest.mark.parametrize(("given", "kept"), [("abc-1.2_3", True), ("a" * 64, True), ("a" * 65, False), ("", False),
                                             ("a b", False), ('"><script>', False)])  # fmt: skip
def test_a_request_id_is_kept_if_it_is_one(app: FastAPI, given: str, kept: bool) -> None:
    response = send(app, "GET", "/nope", headers={"x-request-id": given})
    assert (response.headers["x-request-id"] == given) is kept
    assert response.json()["request_id"] == response.headers["x-request-id"]


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "evil.example:8000", "", "[::2]", "[", "a@b"]
)
def test_a_host_that_is_not_this_machine_is_refused(app: FastAPI, host: str) -> None:
    assert_problem(send(app, "GET", "/healthz", headers={"host": host}), "host_not_allowed")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:8000", "[::1]:8000"])
def test_a_host_that_is_this_machine_is_served(app: FastAPI, host: str) -> None:
    assert send(app, "GET", "/healthz", headers={"host": host}).status_code == 200


def test_a_page_of_another_origin_is_refused_unless_allowed(app: FastAPI, shared: Service) -> None:
    other = {"origin": "https://page.example"}
    assert_problem(send(app, "POST", "/v1/ask", json=ASK, headers=other), "origin_not_allowed")
    assert_problem(send(app, "OPTIONS", "/v1/ask", headers=other), "origin_not_allowed")
    for malformed in ("null", "http://[", "https://[::1", "https://", "\xfc"):
        headers = {"origin": malformed.encode("latin-1")}
        assert_problem(send(app, "POST", "/v1/ask", json=ASK, headers=headers), "origin_not_allowed")
    own = {"origin": "http://127.0.0.1:8000"}
    assert send(app, "POST", "/v1/ask", json=ASK, headers=own).status_code == 200
    open_app = app_of(shared, allow_origins=("https://page.example",))
    response = send(open_app, "POST", "/v1/ask", json=ASK, headers=other)
    assert (response.status_code, response.headers["access-control-allow-origin"]) == (200, "https://page.example")
    preflight = {**other, "access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    assert send(open_app, "OPTIONS", "/v1/ask", headers=preflight).status_code == 200
    third = {"origin": "https://third.example"}
    assert_problem(send(open_app, "POST", "/v1/ask", json=ASK, headers=third), "origin_not_allowed")


@pytest.mark.parametrize(
    "headers",
    [
        {}, {"authorization": "Bearer"}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {KEY}"},
        {"authorization": KEY}, {"authorization": f"Bearer {KEY[:-1]}"}, {"authorization": f"Bearer {KEY}0"},
        {"authorization": "Bearer ü"}, {"x-api-key": KEY},
    ],
)  # fmt: skip
def test_without_the_key_only_health_and_public_files_are_open(shared: Service, headers: dict[str, str]) -> None:
    app = app_of(shared, host="0.0.0.0", api_key=KEY)
    encoded = {name: value.encode("utf-8") for name, value in headers.items()}
    for method, path in (("POST", "/v1/ask"), ("GET", "/v1/documents/story/1"), ("GET", "/metrics"),
                         ("GET", "/v1/info"), ("GET", "/nope"), ("GET", "http://127.0.0.1//healthz"),
                         ("GET", "/healthz/"),
                         ("GET", "/docs/../v1/info")):  # fmt: skip
        response = send(app, method, path, headers=encoded)
        assert_problem(response, "unauthorized")
        assert response.headers["www-authenticate"] == "Bearer"
    for path in ("/healthz", "/readyz", "/docs", "/openapi.json"):
        assert send(app, "GET", path, headers=encoded).status_code == 200


@pytest.mark.parametrize("said", [f"Bearer {KEY}", f"bearer  {KEY}"])
def test_with_the_key_everything_is_open_under_any_host(shared: Service, said: str) -> None:
    app = app_of(shared, host="0.0.0.0", api_key=KEY)
    headers = {"authorization": said, "host": "answers.example"}
    assert send(app, "POST", "/v1/ask", json=ASK, headers=headers).status_code == 200


@pytest.mark.parametrize("host", ["answers.example", "answers.example:443", "127.0.0.1:8000"])
def test_behind_a_proxy_the_page_may_ask_whether_its_host_is_kept_or_not(shared: Service, host: str) -> None:
    origin = "https://answers.example"
    headers = {"host": host, "origin": origin}
    app = app_of(shared, allow_origins=(origin,))
    assert send(app, "GET", "/", headers={"host": host}).status_code == 200
    assert send(app, "POST", "/v1/ask", json=ASK, headers=headers).status_code == 200
    other = {**headers, "host": "other.example"}
    assert_problem(send(app, "POST", "/v1/ask", json=ASK, headers=other), "host_not_allowed", "--allow-origin")


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT", "PATCH"])
def test_a_server_that_only_reads_says_so_whatever_the_body(app: FastAPI, method: str) -> None:
    path = "/v1/documents" if method == "POST" else "/v1/documents/story/1"
    assert_problem(send(app, method, path, content=b"x" * 10_000_000), "read_only", "--writable")


def test_a_body_that_is_not_said_to_be_json_is_refused(app: FastAPI) -> None:
    # A form or a text is what a web page of another origin can send without asking first.
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        response = send(app, "POST", "/v1/ask", content=json.dumps(ASK), headers={"content-type": kind})
        assert_problem(response, "not_json", "application/json")


def test_a_body_of_ten_megabytes_is_413_with_and_without_a_length(app: FastAPI) -> None:
    headers = {"content-type": "application/json"}
    assert_problem(send(app, "POST", "/v1/ask", content=b"x" * 10_000_000, headers=headers), "too_large")

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 100_000

    assert_problem(send(app, "POST", "/v1/ask", content=pieces(), headers=headers), "too_large")


def test_a_body_that_does_not_come_is_408(made_once: Path) -> None:
    with Service(made_once, limits=replace(QUICK, body_seconds=0.2)) as service:

        async def slow() -> AsyncIterator[bytes]:
            yield b"{"
            await asyncio.sleep(10)
            yield b"}"

        # httpx hands the body over piece by piece, and the app stops waiting for the next.
        response = send(
            app_of(service), "POST", "/v1/ask", content=slow(), headers={"content-type": "application/json"}
        )
        assert_problem(response, "too_slow")
        assert response.headers["connection"] == "close"


def test_a_bug_is_500_in_the_same_shape_and_its_reason_only_in_the_log(
    shared: Service, caplog: pytest.LogCaptureFixture
) -> None:
    app = app_of(shared)

    async def broken() -> None:
        raise RuntimeError("a secret path")

    app.add_api_route("/broken", broken)
    with caplog.at_level(logging.INFO, "realm.serving"):
        response = send(app, "GET", "/broken")
    assert_problem(response, "internal")
    assert "secret" not in response.text
    lines = [json.loads(JsonFormatter().format(record)) for record in caplog.records]
    [failed] = [line for line in lines if line["event"] == "failed"]
    assert failed["request_id"] == response.headers["x-request-id"]
    assert "RuntimeError: a secret path" in failed["traceback"]


def test_the_log_has_a_line_for_each_request_and_no_question(app: FastAPI, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "realm.serving"):
        send(app, "POST", "/v1/ask", json={"question": "who is my secret friend?"})
        send(app, "GET", "/v1/documents/none%0aat%0aall")
    lines = [JsonFormatter().format(record) for record in caplog.records]
    requests = [json.loads(line) for line in lines if json.loads(line)["event"] == "request"]
    assert [(one["method"], one["status"], one.get("problem")) for one in requests] == [
        ("POST", 200, None), ("GET", 404, "not_found"),
    ]  # fmt: skip
    assert not any("secret" in line or "\n" in line for line in lines)


def test_errors_are_counted_by_code(shared: Service, app: FastAPI) -> None:
    send(app, "GET", "/nope")
    before = figure(shared, 'realm_errors_total{code="not_found"}')
    send(app, "GET", "/nope")
    assert figure(shared, 'realm_errors_total{code="not_found"}') == before + 1


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"host": "0.0.0.0"}, "--api-key-file"),
        ({"host": "192.0.2.1"}, "--api-key-file"),
        ({"host": "answers.example"}, "--api-key-file"),
        ({"api_key": "short"}, "at least 16"),
        ({"api_key": "ü" * 20}, "ASCII"),
        ({"api_key": "x" * 20 + "\n" + "y"}, "one line"),
        *(
            ({"allow_origins": (origin,)}, "--allow-origin")
            for origin in ("*", "a.example", "https://a.example/", "https://", "http://[", "https://[::1", "https://:1",
                           "https://a.example:x", "https://me@a.example")
        ),
    ],
)  # fmt: skip
def test_settings_that_are_not_safe_are_refused(settings: dict[str, Any], part: str) -> None:
    with pytest.raises(UsageError, match=part):
        Settings(**settings)


def test_the_key_comes_from_a_file_or_the_environment(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n", encoding="utf-8")
    assert read_api_key(tmp_path / "key", "other") == KEY
    assert read_api_key(None, "other") == "other"
    assert read_api_key(None, "") is None
    with pytest.raises(UsageError, match="--api-key-file"):
        read_api_key(tmp_path / "none", None)
