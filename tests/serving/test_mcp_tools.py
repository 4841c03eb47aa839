"""The tools a language model is offered: what they say they take and give, and that they do."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from mcp import Client
from mcp.server.mcpserver import MCPServer
from mcp.types import CallToolResult, Tool
from tiny_model import stories
from waiting import QUICK

from realm.openqa.ask import OpenQA
from realm.records import Document
from realm.serving.mcp_tools import tool_server
from realm.serving.service import Service

QUESTION = "who found the gold in Zürich?"


@pytest.fixture(scope="module")
def server(shared: Service) -> MCPServer:
    """The tools over the shared service."""
    return tool_server(shared)


def call(server: MCPServer, tool: str, **arguments: Any) -> CallToolResult:
    """What a tool gives to the SDK's own client, in this process."""

    async def main() -> CallToolResult:
        async with Client(server) as client:
            return await client.call_tool(tool, arguments)

    return asyncio.run(main())


def tools_of(server: MCPServer) -> dict[str, Tool]:
    """The tools by name, as the SDK's own client is told them."""

    async def main() -> list[Tool]:
        async with Client(server) as client:
            return (await client.list_tools()).tools

    return {tool.name: tool for tool in asyncio.run(main())}


def value_of(server: MCPServer, tool: str, **arguments: Any) -> tuple[dict[str, Any], str]:
    """Value and text of a call that must succeed; the value must fit the schema that the tool has said."""
    result = call(server, tool, **arguments)
    [content] = result.content
    assert not result.is_error, content
    assert content.type == "text"
    assert isinstance(result.structured_content, dict)
    schema = tools_of(server)[tool].output_schema
    assert schema
    jsonschema.validate(result.structured_content, schema)
    return result.structured_content, content.text


def refusal(server: MCPServer, tool: str, **arguments: Any) -> str:
    """What a call that must fail says."""
    result = call(server, tool, **arguments)
    assert result.is_error
    assert result.structured_content is None
    [content] = result.content
    assert content.type == "text"
    return content.text


def test_a_model_is_told_what_each_tool_is_for_and_every_value_it_takes_and_gives(server: MCPServer) -> None:
    tools = tools_of(server)
    assert set(tools) == {"ask", "search", "get_document"}
    for tool in tools.values():
        assert tool.title
        assert tool.description
        assert tool.annotations
        assert (tool.annotations.read_only_hint, tool.annotations.open_world_hint) == (True, False)
        for name, value in tool.input_schema["properties"].items():
            assert value.get("description"), (tool.name, name)
    assert tools["ask"].input_schema["required"] == ["question"]
    assert tools["get_document"].input_schema["required"] == ["document_id"]


def test_an_answer_is_that_of_realm_ask_with_its_place(server: MCPServer, reference: OpenQA) -> None:
    expected = reference.ask(QUESTION, top=3, min_confidence=0.0)
    value, text = value_of(server, "ask", question=QUESTION, top=3, min_confidence=0.0)
    assert (value["answer"], value["version"]) == (expected.text, 1)
    assert value["confidence"] == pytest.approx(expected.confidence, abs=1e-4)
    assert [one["text"] for one in value["passages"]] == [one.text for one in expected.evidence]
    cited = value["citation"]
    document = reference.knowledge_base.document(cited["document_id"])
    assert document.text[cited["start"] : cited["end"]] == expected.text
    for one in value["passages"]:
        document = reference.knowledge_base.document(one["document_id"])
        assert document.text[one["start"] : one["end"]] == one["text"]
    first, source, *_ = text.splitlines()
    assert first.startswith(f"{expected.text} (confidence ")
    assert source.startswith("Source: ")
    for part in (cited["title"], repr(cited["document_id"]), f"{cited['start']} to {cited['end']}"):
        assert part in source


def test_no_answer_is_said_plainly_and_the_passages_are_given(server: MCPServer) -> None:
    value, text = value_of(server, "ask", question=QUESTION, top=2, min_confidence=1.0)
    assert (value["answer"], value["citation"]) == (None, None)
    assert 0 < value["confidence"] < 1
    assert len(value["passages"]) == 2
    assert text.startswith("No answer is sure enough")
    value, text = value_of(server, "ask", question=QUESTION, filter="id = 'none'")
    assert (value["answer"], value["passages"]) == (None, [])
    assert value["note"] in text


def test_passages_are_those_of_a_search_and_stand_in_the_text_in_full(server: MCPServer, reference: OpenQA) -> None:
    value, text = value_of(server, "search", question=QUESTION, top=4)
    [expected] = reference.retrieve([QUESTION], 4)
    assert [one["document_id"] for one in value["passages"]] == [one.document_id for one in expected]
    assert sum(one["belief"] for one in value["passages"]) == pytest.approx(1, abs=1e-5)
    for one in value["passages"]:
        assert one["text"] in text
        assert repr(one["document_id"]) in text
    value, text = value_of(server, "search", question=QUESTION, filter="id = 'none'")
    assert (value["passages"], text) == ([], "No passages: no document fits the filter.")


def test_a_document_is_read_in_parts_that_make_the_whole(server: MCPServer) -> None:
    story = stories(3)[2]
    whole, text = value_of(server, "get_document", document_id=story.id)
    assert (whole["text"], whole["next_start"], whole["total_characters"]) == (story.text, None, len(story.text))
    assert story.text in text
    parts, start = [], 0
    while start is not None:
        value, _ = value_of(server, "get_document", document_id=story.id, start=start, max_characters=10)
        assert value["text"] == story.text[value["start"] : value["end"]]
        parts.append(value["text"])
        start = value["next_start"]
    assert "".join(parts) == story.text
    beyond, _ = value_of(server, "get_document", document_id=story.id, start=10**6)
    assert (beyond["text"], beyond["next_start"]) == ("", None)


def test_a_place_can_be_read_after_the_document_has_changed(writable: Service) -> None:
    server = tool_server(writable)
    old, new = Document("d", "T", "The king found gold.", "/srv/secret/a.jsonl:7"), Document("d", "T", "The queen.")
    written = writable.put([old]).result(30)
    writable.put([new]).result(30)
    value, _ = value_of(server, "get_document", document_id="d", version=written.version)
    assert (value["text"], value["source"]) == (old.text, "a.jsonl:7")
    assert value_of(server, "get_document", document_id="d")[0]["text"] == new.text


@pytest.mark.parametrize(
    ("tool", "arguments", "part"),
    [
        ("ask", {}, "question"),
        ("ask", {"question": ""}, "question"),
        ("ask", {"question": " \t"}, "empty"),
        ("ask", {"question": "word " * 200}, "128"),
        ("ask", {"question": "who?", "top": 0}, "top"),
        ("ask", {"question": "who?", "top": 1000}, "top"),
        ("ask", {"question": "who?", "min_confidence": 2}, "min_confidence"),
        ("search", {"question": "who?", "filter": "no such"}, "condition"),
        ("search", {"question": "who?", "filter": ""}, "eave it out"),
        ("get_document", {"document_id": "../../etc/passwd"}, "There is no document"),
        ("get_document", {"document_id": "story/1", "version": 99}, "Version 99"),
        ("get_document", {"document_id": "story/1", "start": -1}, "start"),
    ],
)
def test_what_cannot_be_done_is_said_in_words_a_model_can_act_on(
    server: MCPServer, tool: str, arguments: dict[str, Any], part: str
) -> None:
    assert part in refusal(server, tool, **arguments)


@contextmanager
def broken(service: Service) -> Iterator[None]:
    """A service whose model raises what nobody has foreseen."""
    qa = service.library.current
    with pytest.MonkeyPatch.context() as patch:

        def fail(*arguments: Any, **options: Any) -> None:
            raise RuntimeError("a secret path")

        patch.setattr(qa, "find", fail)
        yield


def test_a_bug_fails_the_call_without_its_reason(shared: Service, server: MCPServer) -> None:
    with broken(shared):
        assert "secret" not in refusal(server, "ask", question=QUESTION)


def test_a_question_that_takes_too_long_is_told_so(made_once: Path) -> None:
    with Service(made_once, limits=replace(QUICK, timeout_seconds=0.0)) as service:
        assert re.search("in time|within", refusal(tool_server(service), "ask", question=QUESTION))
