"""Documents and the server's state over HTTP; and that OpenAPI tells the truth about all of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asking import KEY, app_of, assert_problem, send
from fastapi import FastAPI
from tiny_model import stories, write_jsonl
from waiting import QUICK, eventually

from realm.openqa.indexing import index_sources
from realm.openqa.knowledge_base import KnowledgeBase
from realm.openqa.late_vectors import embed_blocks
from realm.openqa.model_folder import ModelFolder
from realm.openqa.write_lock import take_lock
from realm.records import Document
from realm.serving.documents import FoundDocument
from realm.serving.service import Service
from realm.serving.shapes import document_shape

NEW = {"id": "a/b c/ü", "title": "T", "text": "The <b>king</b> found gold.", "metadata": {"year": "1990"}}


@pytest.fixture
def app(writable: Service) -> FastAPI:
    """The app around a service whose documents may be changed."""
    return app_of(writable)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory, made_once: Path) -> Iterator[FastAPI]:
    """The app around a service that may change documents, and is never asked to in a way that it can."""
    kb = Path(shutil.copytree(made_once, tmp_path_factory.mktemp("untouched") / "kb"))
    with Service(kb, limits=QUICK, is_writable=True) as service:
        yield app_of(service)
    assert json.loads((kb / "kb.json").read_text("utf-8"))["version"] == 1


def put(app: FastAPI, *documents: dict[str, Any]) -> Any:
    """Put documents."""
    return send(app, "POST", "/v1/documents", json={"documents": list(documents)})


def test_a_document_is_put_read_asked_and_deleted(app: FastAPI) -> None:
    assert put(app, NEW).json() == {"version": 2, "added": 1, "updated": 0, "unchanged": 0, "removed": 0, "blocks": 1}
    for path in ("/v1/documents/a/b c/ü", "/v1/documents/a%2Fb%20c%2F%C3%BC?version=2"):
        found = send(app, "GET", path).json()
        assert found == {**NEW, "version": 2, "source": ""}
    body = {"question": "who found gold?", "filter": "year = '1990'"}
    asked = send(app, "POST", "/v1/ask", json=body).json()
    [evidence] = asked["answers"][0]["evidence"]
    assert (asked["version"], evidence["document_id"], evidence["document_version"]) == (2, NEW["id"], 2)
    if evidence["start"] is not None:
        assert NEW["text"][evidence["start"] : evidence["end"]] == asked["answers"][0]["answer"]
    assert send(app, "DELETE", "/v1/documents/a/b c/ü").json()["removed"] == 1
    assert_problem(send(app, "GET", "/v1/documents/a/b c/ü"), "not_found")
    assert_problem(send(app, "DELETE", "/v1/documents/a/b c/ü"), "not_found")


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("/srv/secret/a.jsonl:7", "a.jsonl:7"), ("a.txt", "a.txt"), ("", ""), ("../b/c.md", "c.md"),
        ("https://example.org/a", "https://example.org/a"), ("file:///srv/secret/a", "a"), ("a letter", "a letter"),
    ],
)  # fmt: skip
def test_where_a_document_came_from_is_shown_without_folders_of_the_server(source: str, shown: str) -> None:
    found = FoundDocument(Document("d", "", "text", source), 1)
    assert document_shape(found).source == shown


@pytest.mark.parametrize(("pattern", "found"), [("%/%", False), ("stories.jsonl%", True)])
def test_filters_cannot_ask_about_folders_of_the_server(untouched: FastAPI, pattern: str, found: bool) -> None:
    body = {"question": "who found gold?", "filter": f"source LIKE '{pattern}'"}
    response = send(untouched, "POST", "/v1/search", json=body).json()
    assert bool(response["results"][0]["evidence"]) is found


def test_the_list_has_every_document_once(app: FastAPI) -> None:
    first = send(app, "GET", "/v1/documents", params={"limit": 5}).json()
    second = send(app, "GET", "/v1/documents", params={"limit": 5, "start": first["next_start"]}).json()
    assert (first["total"], second["next_start"], first["version"]) == (8, None, 1)
    listed = first["documents"] + second["documents"]
    assert {(one["id"], one["title"]) for one in listed} == {(story.id, story.title) for story in stories(8)}


@pytest.mark.parametrize(
    "path",
    [
        "/v1/documents/", "/v1/documents/../../etc/passwd", "/v1/documents//etc/passwd", "/v1/documents/%00",
        "/v1/documents/%ff", "/v1/documents/' OR '1'='1", "/v1/documents/kb.json",
    ],
)  # fmt: skip
def test_an_id_that_is_a_path_or_a_condition_is_only_an_id(untouched: FastAPI, path: str) -> None:
    assert_problem(send(untouched, "GET", path), "not_found")
    assert_problem(send(untouched, "DELETE", path), "not_found")


@pytest.mark.parametrize("path", ["/v1/documents?start=0&foo=1", "/v1/documents/story/1?foo=1&version=1"])
def test_a_parameter_that_there_is_not_is_refused(untouched: FastAPI, path: str) -> None:
    assert_problem(send(untouched, "GET", path), "invalid", "foo")


@pytest.mark.parametrize("query", ["start=-1", "limit=0", "limit=1001", "start=x", "start=99999999999999999999"])
def test_a_page_that_cannot_be_is_refused(untouched: FastAPI, query: str) -> None:
    assert_problem(send(untouched, "GET", f"/v1/documents?{query}"), "invalid", query.partition("=")[0])


@pytest.mark.parametrize(
    "documents",
    [
        [], [{"id": "x"}], [{"text": "x"}], [{"id": "", "text": "x"}], [{"id": " ", "text": "x"}],
        [{"id": "x", "text": " "}], [{"id": "x" * 1025, "text": "x"}], [{"id": 1, "text": "x"}],
        [{"id": "x", "text": "y", "path": "/etc/passwd"}], [{"id": "x", "text": "y", "metadata": {"a": 1}}],
        [{"id": "x", "text": "y"}] * 2, [{"id": f"{n}", "text": "y"} for n in range(1001)],
        [{"id": ".", "text": "y"}], [{"id": "..", "text": "y"}], [{"id": "x\0", "text": "y"}],
        [{"id": " x", "text": "y"}], [{"id": "x\n", "text": "y"}], [{"id": "x", "text": "\t\n"}],
        [{"id": "x", "text": "\u200b"}], [{"id": "\u200b", "text": "y"}], [{"id": "x", "text": "y\0"}],
        [{"id": "x", "text": "y", "title": "\0"}], [{"id": "x", "text": "y", "metadata": {"a\0": "b"}}],
    ],
    ids=range(23),
)  # fmt: skip
def test_documents_that_are_none_are_refused_and_nothing_is_written(
    untouched: FastAPI, documents: list[dict[str, Any]]
) -> None:
    assert_problem(put(untouched, *documents), "invalid")
    assert send(untouched, "GET", "/v1/documents").json()["version"] == 1


def test_a_body_of_documents_may_be_longer_but_not_for_ever(untouched: FastAPI) -> None:
    assert_problem(put(untouched, {"id": "x", "text": "y" * 9_000_000}), "too_large")


def test_another_writer_is_409_with_retry_after(app: FastAPI, kb: Path) -> None:
    with take_lock(kb):
        response = put(app, NEW)
    assert_problem(response, "busy")
    assert str(kb) not in response.text
    assert int(response.headers["retry-after"]) >= 1
    assert put(app, NEW).status_code == 200


def test_the_state_is_told(app: FastAPI, writable: Service) -> None:
    assert send(app, "GET", "/healthz").json() == {"status": "ok"}
    eventually(lambda: writable.library.is_ready)
    assert send(app, "GET", "/readyz").json() == {"version": 1}
    info = send(app, "GET", "/v1/info").json()
    assert (info["version"], info["documents"], info["is_writable"], info["is_behind"]) == (1, 8, True, False)
    assert "/" not in info["model"]
    assert (info["is_calibrated"], info["min_confidence"]) == (False, None)
    metrics = send(app, "GET", "/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    assert "realm_knowledge_base_version 1.0" in metrics.text
    app.state.draining.set()
    assert_problem(send(app, "GET", "/readyz"), "stopping")
    assert send(app, "GET", "/healthz").headers["connection"] == "close"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_the_state_may_be_asked_for_without_its_words(untouched: FastAPI, path: str) -> None:
    eventually(lambda: send(untouched, "GET", "/readyz").status_code == 200)
    assert send(untouched, "HEAD", path).status_code == 200


def test_a_server_is_not_ready_before_its_first_answer(kb: Path) -> None:
    assert_problem(send(app_of(Service(kb)), "GET", "/readyz"), "not_ready")


def test_the_page_about_the_api_needs_nothing_from_elsewhere(untouched: FastAPI) -> None:
    page = send(untouched, "GET", "/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "http" not in page.text
    for address in ("/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js", "/docs/begin.js"):
        assert address in page.text
        assert send(untouched, "GET", address).status_code == 200
        assert send(untouched, "HEAD", address).content == b""


def test_openapi_says_which_problems_there_are_and_their_one_shape(shared: Service) -> None:
    schema = send(app_of(shared, api_key=KEY), "GET", "/openapi.json").json()
    assert set(schema["paths"]) == {
        "/v1/ask", "/v1/search", "/v1/documents", "/v1/documents/{document_id}", "/v1/info", "/healthz", "/readyz",
        "/metrics",
    }  # fmt: skip
    assert "HTTPValidationError" not in schema["components"]["schemas"]
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            problems = {status: answer for status, answer in operation["responses"].items() if status != "200"}
            assert "default" in problems
            for answer in problems.values():
                assert answer["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Problem"}
            is_open = path in ("/healthz", "/readyz")
            assert operation.get("security", schema["security"]) == ([] if is_open else [{"key": []}])
            assert ("401" in operation["responses"]) is not is_open


def test_where_blocks_lack_vectors_new_documents_are_found_by_words_as_the_others(
    tmp_path: Path, model: ModelFolder
) -> None:
    kb = tmp_path / "kb"
    index_sources(kb, [write_jsonl(tmp_path / "stories.jsonl", stories(3))], model, words_only=True)
    with Service(kb, limits=QUICK, is_writable=True) as service:
        app = app_of(service)
        assert put(app, NEW).json()["blocks"] == 1
        assert send(app, "GET", "/v1/info").json()["hybrid_weight"] == 1.0
        body = {"question": "who found gold?", "filter": "year = '1990'"}
        [answer] = send(app, "POST", "/v1/ask", json=body).json()["answers"]
        assert [one["document_id"] for one in answer["evidence"]] == [NEW["id"]]
        assert_problem(send(app, "POST", "/v1/ask", json={**body, "hybrid": True}), "invalid", "by words alone")
    assert KnowledgeBase.open(kb).manifest.embedded == 0
    embed_blocks(kb)
    assert KnowledgeBase.open(kb).manifest.is_embedded
