"""The outermost layer of HTTP: every response gets its id, its security headers, its line in the log and its place in
the metrics; what nobody else has caught becomes a 500 in our shape.
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable, MutableMapping
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from realm.serving.logs import say
from realm.serving.metrics import Metrics
from realm.serving.problems import problem

_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_SHOWN_CHARACTERS = 500
_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


class Edge:
    """ASGI middleware.

    Args:
        app: What is inside.
        metrics: Counts responses and errors.
        is_draining: Whether the server is about to stop: then connections are closed after their response.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, is_draining: Callable[[], bool]) -> None:
        self._app = app
        self._metrics = metrics
        self._is_draining = is_draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin = time.monotonic()
        state: MutableMapping[str, Any] = scope.setdefault("state", {})
        state["request_id"] = _request_id(scope)
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in {**_HEADERS, "x-request-id": state["request_id"]}.items():
                    headers.setdefault(name, value)
                if self._is_draining():
                    headers["connection"] = "close"
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as exc:
            say("failed", level=logging.ERROR, error=exc, request_id=state["request_id"])
            if status:  # too late for another response: the server breaks the connection
                raise
            response = problem(scope["state"], "internal", "A bug of the server. Its log has the reason by request_id.")
            await response(scope, receive, send_with_headers)
        finally:
            self._note(scope, status, time.monotonic() - begin)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        code = scope["state"].get("problem")
        self._metrics.response(status)
        if code is not None:
            self._metrics.error(code)
        fields = {} if code is None else {"problem": code}
        say(
            "request",
            request_id=scope["state"]["request_id"],
            method=scope["method"],
            path=scope["path"][:_SHOWN_CHARACTERS],
            status=status,
            seconds=round(seconds, 6),
            **fields,
        )


def _request_id(scope: Scope) -> str:
    """The id that came with the request, if it is one; a new one if not."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _ID.fullmatch(value):
            return bytes(value).decode("ascii")
    return uuid.uuid4().hex
