"""What is refused before it is a request is told, counted and logged like any other refusal; and stopping takes two
signals that are meant as two.
"""

from __future__ import annotations

import json
import logging
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from running import all_of, connect, serving
from waiting import QUICK, figure

from realm.serving import runner
from realm.serving.logs import JsonFormatter, log_to_stderr
from realm.serving.service import Service

LIMITS = replace(QUICK, header_seconds=1.0, drain_seconds=0.1, max_connections=2)


def said_in(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    """The lines of the log."""
    return [json.loads(JsonFormatter().format(record)) for record in caplog.records]


def sent(url: str, content: bytes) -> bytes:
    """What is answered to these bytes."""
    connection = connect(url)
    connection.sendall(content)
    received = all_of(connection)
    connection.close()
    return received


def one_too_many(url: str) -> bytes:
    """What is answered where there is no room for another connection."""
    kept = [connect(url) for _ in range(LIMITS.max_connections)]
    received = sent(url, b"")
    for connection in kept:
        connection.close()
    return received


@pytest.mark.parametrize(
    ("connecting", "status", "code"),
    [
        (lambda url: sent(url, b"nonsense\r\n\r\n"), 400, "malformed"),
        (lambda url: sent(url, b"GET /healthz HT"), 408, "too_slow"),
        (one_too_many, 503, "overloaded"),
    ],
    ids=["malformed", "too_slow", "overloaded"],
)
def test_a_refused_connection_has_its_place_in_the_metrics_and_one_line_in_the_log(
    made_once: Path, connecting: Callable[[str], bytes], status: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    service = Service(made_once, limits=LIMITS)
    with serving(service) as (url, _), caplog.at_level(logging.INFO, "realm.serving"):
        head, _, body = connecting(url).partition(b"\r\n\r\n")
        assert figure(service, f'realm_errors_total{{code="{code}"}}') == 1
        assert figure(service, f'realm_responses_total{{status="{status}"}}') == 1
        lines = [line for line in said_in(caplog) if line.get("problem") == code]
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert (b"\r\nretry-after: 1\r\n" in head) is (status == 503)
    [line] = lines
    assert (line["event"], line["status"], line["request_id"]) == ("refused", status, json.loads(body)["request_id"])


def test_the_server_says_nothing_of_its_own_about_what_clients_send(
    made_once: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (None, "realm.serving", "uvicorn", "mcp"):
        logger = logging.getLogger(name)
        for attribute in ("handlers", "level", "propagate"):
            monkeypatch.setattr(logger, attribute, getattr(logger, attribute))
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    log_to_stderr()
    with serving(Service(made_once, limits=LIMITS)) as (url, _):
        headers = {"upgrade": "websocket", "connection": "upgrade"}
        assert httpx.get(f"{url}/healthz", headers=headers).status_code == 200
        sent(url, b"nonsense\r\n\r\n")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    assert {line["event"] for line in lines} == {"request", "refused", "ready"}


def test_a_signal_that_comes_twice_at_once_is_one_and_a_later_one_means_now(
    made_once: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(Service(made_once, limits=LIMITS)) as (_, server):
        for _ in range(2):  # as `timeout` sends it, to the process and to its group
            server.handle_exit(signal.SIGTERM, None)
        assert not server.force_exit
        later = time.monotonic() + 1.0
        monkeypatch.setattr(runner, "time", type("Later", (), {"monotonic": staticmethod(lambda: later)}))
        server.handle_exit(signal.SIGTERM, None)
        assert server.force_exit
        monkeypatch.undo()
