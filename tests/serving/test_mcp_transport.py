"""The tools over standard input and output, and over HTTP, with the SDK's own client."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx
import httpx2
import pytest
from asking import KEY, assert_problem, send
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from running import SOURCE, realm_server, serving
from waiting import QUICK, eventually

from realm.serving.mcp_transport import MCP_PATH, create_mcp_app
from realm.serving.service import Service
from realm.serving.settings import Settings

T = TypeVar("T")
QUESTION = "who found the gold in Zürich?"
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
TAKES = {"accept": "application/json, text/event-stream"}


def over_http(url: str, use: Callable[[Client], Awaitable[T]], key: str | None = None, mode: str = "auto") -> T:
    """What `use` makes of a client of the tools at an address."""

    async def main() -> T:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=60) as http,
            Client(streamable_http_client(f"{url}{MCP_PATH}", http_client=http), mode=mode) as client,
        ):
            return await use(client)

    return asyncio.run(main())


async def use_all(client: Client) -> tuple[set[str], dict[str, Any], dict[str, Any]]:
    """Names of the tools, an answer, and the document it stands in."""
    names = {tool.name for tool in (await client.list_tools()).tools}
    asked = await client.call_tool("ask", {"question": QUESTION, "min_confidence": 0.0})
    answer = asked.structured_content
    assert isinstance(answer, dict)
    cited = answer["citation"]
    arguments = {"document_id": cited["document_id"], "version": cited["document_version"]}
    document = (await client.call_tool("get_document", arguments)).structured_content
    assert isinstance(document, dict)
    return names, answer, document


def assert_cited(found: tuple[set[str], dict[str, Any], dict[str, Any]]) -> None:
    """All tools are there, and the answer stands where it is said to."""
    names, answer, document = found
    cited = answer["citation"]
    assert names == {"ask", "search", "get_document"}
    assert document["text"][cited["start"] : cited["end"]] == answer["answer"]


def realm_mcp(kb: Path) -> tuple[list[str], dict[str, str]]:
    """Command line and environment of `realm mcp`."""
    return (
        [sys.executable, "-m", "realm", "mcp", "--kb", str(kb)],
        {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
def test_a_client_that_starts_realm_mcp_can_ask_and_read(made_once: Path, tmp_path: Path) -> None:
    line, environment = realm_mcp(made_once)
    log = (tmp_path / "log").open("w+", encoding="utf-8")

    async def main() -> tuple[set[str], dict[str, Any], dict[str, Any]]:
        server = StdioServerParameters(command=line[0], args=line[1:], env=environment)
        async with Client(stdio_client(server, errlog=log)) as client:
            return await use_all(client)

    with log:
        assert_cited(asyncio.run(main()))
        log.seek(0)
        lines = [json.loads(one) for one in log]
    assert [one["event"] for one in lines] == ["serving", "ready", "stopped"]


@pytest.mark.slow
def test_standard_output_has_nothing_but_the_protocol_whatever_comes_in(made_once: Path) -> None:
    line, environment = realm_mcp(made_once)
    call = {**LIST, "method": "tools/call", "params": {"name": "ask", "arguments": {"question": QUESTION}}}
    first = {
        **LIST,
        "method": "initialize",
        "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
    }
    said = [json.dumps(first), json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"})]
    said += ["nonsense", '{"jsonrpc": "2.0"}', "\ud800", json.dumps({**call, "id": 2}), json.dumps({**LIST, "id": 3})]
    with subprocess.Popen(
        line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("".join(f"{one}\n" for one in said).encode("utf-8", "surrogatepass"))
        process.stdin.flush()
        answers: dict[Any, Any] = {}
        while not {1, 2, 3} <= answers.keys():
            message = json.loads(process.stdout.readline())
            assert message["jsonrpc"] == "2.0"
            answers[message.get("id")] = message
        process.stdin.close()
        assert process.stdout.read() == b""
        assert process.wait(30) == 0
    assert answers[1]["result"]["serverInfo"]["name"] == "realm"
    assert answers[2]["result"]["structuredContent"]["question"] == QUESTION
    assert len(answers[3]["result"]["tools"]) == 3


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_client_over_http_can_ask_and_read(made_once: Path, mode: str) -> None:
    with serving(Service(made_once, limits=QUICK), create_mcp_app) as (url, server):
        assert_cited(over_http(url, use_all, mode=mode))
        eventually(lambda: not server.server_state.tasks)  # nothing is kept for a client that has gone


def test_many_clients_over_http_are_answered_together(made_once: Path) -> None:
    service = Service(made_once, limits=QUICK)

    async def crowd(client: Client) -> list[Any]:
        return await asyncio.gather(*(client.call_tool("ask", {"question": QUESTION}) for _ in range(12)))

    with serving(service, create_mcp_app) as (url, _):
        results = over_http(url, crowd)
        assert len({json.dumps(result.structured_content["citation"]) for result in results}) == 1
        assert b'realm_batch_questions_bucket{le="1.0"} 12.0' not in service.metrics.text()


def test_over_http_the_key_and_the_host_are_asked_for_as_by_realm_serve(made_once: Path) -> None:
    service = Service(made_once, limits=QUICK)
    with serving(service, create_mcp_app, api_key=KEY) as (url, _):
        assert_cited(over_http(url, use_all, key=KEY))
        with pytest.RaisesGroup(MCPError, allow_unwrapped=True, flatten_subgroups=True):
            over_http(url, use_all, key=f"{KEY}0")
    app = create_mcp_app(service, Settings(api_key=KEY))
    right = {**TAKES, "authorization": f"Bearer {KEY}"}
    assert_problem(send(app, "POST", MCP_PATH, json=LIST, headers=TAKES), "unauthorized")
    assert_problem(send(app, "POST", MCP_PATH, json=LIST, headers={**right, "host": "evil.test"}), "host_not_allowed")
    page = {**right, "origin": "https://evil.test"}
    assert_problem(send(app, "POST", MCP_PATH, json=LIST, headers=page), "origin_not_allowed")
    assert_problem(send(app, "POST", MCP_PATH, content=b"x" * 10_000_000, headers=right), "too_large")
    assert_problem(send(app, "POST", MCP_PATH, content=b"{}", headers={**right, "content-type": "text/x"}), "not_json")
    for method in ("GET", "DELETE", "PUT"):  # no streams that stay open, and no sessions
        assert_problem(send(app, method, MCP_PATH, headers=right), "method_not_allowed")
    assert send(app, "GET", "/healthz").status_code == 200
    assert_problem(send(app, "GET", "/v1/info"), "unauthorized")


def test_nothing_that_is_posted_makes_the_tools_fail(made_once: Path) -> None:
    call = {**LIST, "method": "tools/call"}
    unknown = {"name": "ask", "arguments": {"question": "\ud800"}}
    bodies: list[Any] = [
        b"", b"{", b"\xff\xfe", b"\x00" * 100, b"[" * 100_000, b'{"jsonrpc": "2.0", "id": 1e999}', [], {}, None, 7,
        [LIST] * 50, {**LIST, "method": "no/such"}, {**LIST, "id": None}, {**LIST, "params": []}, call,
        {**call, "params": {"name": "x"}}, {**call, "params": {"name": "ask", "arguments": []}},
        {**call, "params": unknown},
    ]  # fmt: skip
    with serving(Service(made_once, limits=QUICK), create_mcp_app) as (url, _), httpx.Client(timeout=60) as client:
        for body in bodies:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            response = client.post(
                url + MCP_PATH, content=content, headers={**TAKES, "content-type": "application/json"}
            )
            assert response.status_code < 500, (body, response.text)
        assert_cited(over_http(url, use_all))


@pytest.mark.slow
def test_realm_mcp_over_http_prints_its_address_and_stops_in_order(made_once: Path, tmp_path: Path) -> None:
    page = "https://page.example"
    options = ("--http", "--kb", made_once, "--allow-origin", page, "--max-queue", 8)
    with realm_server(tmp_path / "log", "mcp", *options) as (url, process):
        assert url.endswith(MCP_PATH)
        assert_cited(over_http(url.removesuffix(MCP_PATH), use_all))
        for origin, status in ((page, 200), ("https://other.example", 403)):
            assert httpx.post(url, json=LIST, headers={**TAKES, "origin": origin}).status_code == status
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
