"""A real server: connections that do nothing, versions that change under load, and an end without a lost request."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import pytest
from asking import KEY
from running import all_of, connect, realm_server, serving
from tiny_model import stories, write_jsonl
from waiting import QUICK, eventually, figure

from realm.openqa.indexing import index_sources, remove_documents
from realm.openqa.model_folder import ModelFolder
from realm.serving.limits import Limits
from realm.serving.runner import Server
from realm.serving.service import Service

ASK = json.dumps({"question": "who found the gold in rome?", "top": 2}).encode()
HEAD = b"POST /v1/ask HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
IMPATIENT = replace(QUICK, header_seconds=0.3, body_seconds=0.3, send_seconds=0.3, drain_seconds=0.1)


@dataclass
class Client:
    """Asks one question after the other over one connection, until told to stop or nobody listens any more."""

    url: str
    stop: threading.Event
    statuses: Counter[int] = field(default_factory=Counter)
    versions: list[int] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    last_unanswered: float = 0.0

    def run(self) -> None:
        """Until the end."""
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=60)
        while not self.stop.is_set():
            sent = time.monotonic()
            try:
                connection.request("POST", "/v1/ask", ASK, {"content-type": "application/json"})
                response = connection.getresponse()
            except (ConnectionError, http.client.RemoteDisconnected):  # not a byte of a response
                self.last_unanswered = sent
                connection.close()
                return
            try:
                body = json.loads(response.read())
            except (ValueError, http.client.HTTPException) as exc:
                self.broken.append(repr(exc))
                continue
            self.statuses[response.status] += 1
            if response.status == 200:
                self.versions.append(body["version"])
                newest = max(one["document_version"] for one in body["answers"][0]["evidence"])
                if newest > body["version"]:
                    self.broken.append(f"version {body['version']} with a document of {newest}")
        connection.close()


def crowd(url: str, count: int) -> tuple[list[Client], list[threading.Thread], threading.Event]:
    """Clients that have begun to ask."""
    stop = threading.Event()
    clients = [Client(url, stop) for _ in range(count)]
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in threads:
        thread.start()
    eventually(lambda: all(client.statuses for client in clients))
    return clients, threads, stop


def test_no_question_fails_while_versions_change(kb: Path, model: ModelFolder, tmp_path: Path) -> None:
    service = Service(kb, limits=QUICK)
    with serving(service) as (url, _):
        clients, threads, stop = crowd(url, 6)
        for step in range(3):
            version = 2 * step + 2
            index_sources(kb, [write_jsonl(tmp_path / f"{step}.jsonl", stories(10 + step))], model)
            eventually(lambda version=version: all(client.versions[-1] >= version for client in clients))
            remove_documents(kb, ["story/9"])
            eventually(lambda version=version: all(client.versions[-1] > version for client in clients))
        stop.set()
        for thread in threads:
            thread.join(60)
        assert figure(service, "realm_knowledge_base_version") == 7
        assert figure(service, 'realm_swaps_total{result="failed"}') == 0
        assert figure(service, "realm_batch_questions_sum") > figure(service, "realm_batch_questions_count")
    for client in clients:
        assert set(client.statuses) == {200}
        assert client.broken == []
        assert client.versions == sorted(client.versions)


@pytest.mark.slow
def test_every_request_accepted_before_sigterm_is_answered(kb: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with realm_server(log, "serve", "--kb", kb) as (url, process):
        assert httpx.get(f"{url}/healthz").status_code == 200
        clients, threads, _ = crowd(url, 8)
        told = time.monotonic()
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(60)
        assert process.wait(30) == 0
    for client in clients:
        assert set(client.statuses) == {200}
        assert client.broken == []
        assert client.last_unanswered > told
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines() if line.startswith("{")]
    answered = [line for line in lines if line["event"] == "request" and line["path"] == "/v1/ask"]
    assert len(answered) == sum(client.statuses[200] for client in clients)
    assert [line["event"] for line in lines if line["event"] != "request"] == [
        "listening", "ready", "stopping", "stopped",
    ]  # fmt: skip


def drop_by_drop(connection: socket.socket) -> None:
    """Send the head of a request a character at a time, for as long as the server takes it, or 20 s."""
    for _ in range(1000):
        connection.sendall(b"x")
        time.sleep(0.02)


@pytest.fixture(scope="module")
def impatient(made_once: Path) -> Iterator[tuple[str, Server]]:
    """A server that waits for nobody, with its URL."""
    with serving(Service(made_once, limits=IMPATIENT)) as found:
        yield found


def test_a_connection_that_says_nothing_is_told_and_closed(impatient: tuple[str, Server]) -> None:
    url, _ = impatient
    for begun in (b"", b"GET /healthz HT", HEAD):
        connection = connect(url)
        connection.sendall(begun)
        assert b"408 Request Timeout" in all_of(connection)
        connection.close()
    # Drop by drop is no better.
    connection = connect(url)
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        drop_by_drop(connection)
    connection.close()
    # Nor is it after a first request that was in order.
    connection = connect(url)
    connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
    time.sleep(0.05)
    connection.sendall(b"GET /he")
    assert all_of(connection).count(b"HTTP/1.1") == 2
    connection.close()


def test_a_body_that_does_not_come_is_told_and_the_connection_closed(impatient: tuple[str, Server]) -> None:
    connection = connect(impatient[0])
    connection.sendall(HEAD + b"content-length: 100\r\n\r\n{")
    received = all_of(connection)
    connection.close()
    assert b" 408 " in received.split(b"\r\n")[0]
    assert json.loads(received.partition(b"\r\n\r\n")[2])["error"]["code"] == "too_slow"


def test_a_client_that_takes_nothing_holds_up_nobody(impatient: tuple[str, Server]) -> None:
    url, server = impatient
    connection = connect(url)
    request = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nhost: localhost\r\n\r\n"
    connection.sendall(request * 20)  # more than the buffers of both sides
    eventually(lambda: not server.server_state.connections)
    assert httpx.get(f"{url}/healthz").status_code == 200
    connection.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n\r\n",
        HEAD + b"content-length: x\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\nnonsense\r\n",
    ],
    ids=range(7),
)
def test_what_is_no_http_is_told_in_the_same_shape(impatient: tuple[str, Server], sent: bytes) -> None:
    url, _ = impatient
    connection = connect(url)
    connection.sendall(sent)
    received = all_of(connection)
    connection.close()
    assert httpx.get(f"{url}/healthz").status_code == 200
    head, _, body = received.partition(b"\r\n\r\n")
    assert b" 400 " in head or b" 408 " in head
    assert json.loads(body)["error"]["code"] in ("malformed", "too_slow")


def test_ten_megabytes_are_told_413_by_a_real_server(made_once: Path) -> None:
    with serving(Service(made_once, limits=replace(QUICK, drain_seconds=0.1))) as (url, _):
        for content in (b"x" * 10_000_000, iter([b"x" * 1_000_000] * 10)):
            response = httpx.post(f"{url}/v1/ask", content=content, headers={"content-type": "application/json"})
            assert (response.status_code, response.json()["error"]["code"]) == (413, "too_large")


def test_more_connections_than_there_is_room_for_are_refused(made_once: Path) -> None:
    limits = Limits(max_connections=3, drain_seconds=0.1)
    with serving(Service(made_once, limits=limits)) as (url, server):
        kept = [connect(url) for _ in range(3)]
        eventually(lambda: len(server.server_state.connections) == 3)
        refused = connect(url)
        assert b"503 Service Unavailable" in all_of(refused)
        kept[0].sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        assert b"200 OK" in all_of(kept[0])
        for connection in (*kept, refused):
            connection.close()


def test_a_server_that_was_told_to_stop_still_answers_for_a_moment_and_closes_connections(made_once: Path) -> None:
    with serving(Service(made_once, limits=replace(QUICK, drain_seconds=1.0))) as (url, server):
        eventually(lambda: httpx.get(f"{url}/readyz").status_code == 200)
        server.handle_exit(signal.SIGTERM, None)
        response = httpx.get(f"{url}/readyz")
        assert (response.status_code, response.json()["error"]["code"]) == (503, "stopping")
        response = httpx.post(f"{url}/v1/ask", content=ASK, headers={"content-type": "application/json"})
        assert (response.status_code, response.headers["connection"]) == (200, "close")


@pytest.mark.slow
def test_realm_serve_asks_for_its_key(kb: Path, tmp_path: Path) -> None:
    with realm_server(tmp_path / "log", "serve", "--kb", kb, "--writable", REALM_API_KEY=KEY) as (url, process):
        assert httpx.get(f"{url}/healthz").status_code == 200
        assert httpx.get(f"{url}/v1/info").status_code == 401
        info = httpx.get(f"{url}/v1/info", headers={"authorization": f"Bearer {KEY}"})
        assert info.json()["is_writable"] is True
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
