"""The HTTP app in this process: one request, or several at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import httpx
from fastapi import FastAPI

from realm.serving.app import create_app
from realm.serving.problems import STATUSES
from realm.serving.service import Service
from realm.serving.settings import Settings

T = TypeVar("T")
KEY = "0123456789abcdef0123"


def app_of(service: Service, **settings: Any) -> FastAPI:
    """The app around a service."""
    return create_app(service, Settings(**settings))


def with_client(app: FastAPI, use: Callable[[httpx.AsyncClient], Awaitable[T]]) -> T:
    """What `use` makes of a client of the app."""

    async def main() -> T:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000", timeout=60) as client:
            return await use(client)

    return asyncio.run(main())


def send(app: FastAPI, method: str, path: str, **options: Any) -> httpx.Response:
    """The response to one request."""
    return with_client(app, lambda client: client.request(method, path, **options))


def assert_problem(response: httpx.Response, code: str, *parts: str) -> None:
    """The response says no, in the one shape there is for that."""
    assert response.headers["content-type"] == "application/json", response.text
    body = response.json()
    assert (response.status_code, body["error"]["code"]) == (STATUSES[code], code), response.text
    assert set(body) == {"error", "request_id"}
    assert set(body["error"]) == {"code", "message"}
    assert body["request_id"] == response.headers["x-request-id"]
    message = body["error"]["message"]
    assert message
    assert "\n" not in message
    assert all(part in message for part in parts), message
