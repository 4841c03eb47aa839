"""Bodies of requests: read whole, with a bound on length and time, before anything looks at them.

A body that is too long is read on, up to a point, and thrown away: a client that is still sending when the connection
is closed would not see why.
"""

from __future__ import annotations

import asyncio

from fastapi.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from realm.serving.guard import DOCUMENTS
from realm.serving.limits import Limits
from realm.serving.problems import problem

_CLOSE = {"Connection": "close"}
_DISCARDED_BYTES = 32 << 20
_WITHOUT_BODY = ("GET", "HEAD", "OPTIONS")


class _Left(Exception):
    """Raised when the client has left before its request was complete."""


class Bodies:
    """ASGI middleware.

    Args:
        app: What is inside; gets the body in one piece.
        limits: How long a body may be, and how long it may take.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http" or scope["method"] in _WITHOUT_BODY:
            await self._app(scope, receive, send)
            return
        limits, state = self._limits, scope["state"]
        most = limits.max_document_bytes if scope["path"] == DOCUMENTS else limits.max_body_bytes
        try:
            async with asyncio.timeout(limits.body_seconds):
                body = await _read(receive, most)
        except TimeoutError:
            message = f"The body did not arrive within {limits.body_seconds:g} s."
            await problem(state, "too_slow", message, _CLOSE)(scope, receive, send)
            return
        except _Left:
            await problem(state, "client_left", "The client has left.")(scope, receive, send)  # for the log alone
            return
        if body is None:
            message = f"The body is longer than {most:,} bytes. Send less at a time."
            await problem(state, "too_large", message, _CLOSE)(scope, receive, send)
            return
        kind = Headers(scope=scope).get("content-type", "").partition(";")[0].strip().lower()
        if body and kind != "application/json":
            message = f"The body is said to be {kind or 'nothing'!r}. Send JSON, with Content-Type: application/json"
            await problem(state, "not_json", message)(scope, receive, send)
            return
        await self._app(scope, _replay(body, receive), send)


async def _read(receive: Receive, most: int) -> bytes | None:
    """The body; None if it is too long."""
    parts: list[bytes] = []
    length = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Left
        part = message.get("body", b"")
        length += len(part)
        if length <= most:
            parts.append(part)
        elif length > most + _DISCARDED_BYTES:
            return None
        if not message.get("more_body", False):
            return b"".join(parts) if length <= most else None


def _replay(body: bytes, receive: Receive) -> Receive:
    """Gives the body once, then whatever comes."""
    is_given = False

    async def receive_again() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again
