"""Who may ask: the layer that refuses requests before a byte of their body is read.

- At a loopback address, the Host must be one that means this machine, or that of an allowed origin, which a proxy
  keeps: a web page elsewhere whose name has been made to point here (DNS rebinding) sends its own.
- A web page of another origin may not change anything, nor ask, unless it was allowed.
- With a key, everybody must send it; open are only `/healthz`, `/readyz` and files that are the same for everybody.
- A server that may not change documents says so.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection
from urllib.parse import urlsplit

from fastapi.datastructures import Headers
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from realm.serving.problems import problem
from realm.serving.settings import Settings

DOCUMENTS = "/v1/documents"
_SAFE_METHODS = ("GET", "HEAD")
_OWN_NAMES = ("localhost", "127.0.0.1", "::1")


class Guard:
    """ASGI middleware.

    Args:
        app: What is inside.
        settings: Who may use the server.
        is_writable: Whether it may change documents.
        open_paths: What needs no key.
    """

    def __init__(self, app: ASGIApp, settings: Settings, is_writable: bool, open_paths: Collection[str]) -> None:
        self._app = app
        self._settings = settings
        self._is_writable = is_writable
        self._open_paths = frozenset(open_paths)
        origins = (urlsplit(origin).netloc for origin in settings.allow_origins)
        self._hosts = frozenset({*_OWN_NAMES, settings.host, *map(_name, origins)})
        self._key = None if settings.api_key is None else _digest(settings.api_key)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers, state = Headers(scope=scope), scope["state"]
        host = headers.get("host", "")
        if self._settings.is_loopback and _name(host) not in self._hosts:
            message = f"This server is not {host!r}. Use http://127.0.0.1 and its port; for a proxy see --allow-origin."
            return problem(state, "host_not_allowed", message)
        origin = headers.get("origin")
        if origin is not None and scope["method"] not in _SAFE_METHODS and not self._is_own(origin, host):
            return problem(state, "origin_not_allowed", f"{origin!r} is not allowed; see --allow-origin.")
        if self._key is not None and scope["path"] not in self._open_paths and scope["method"] != "OPTIONS":
            scheme, _, bearer = headers.get("authorization", "").partition(" ")
            given = bearer.strip() if scheme.lower() == "bearer" else ""
            if not hmac.compare_digest(_digest(given), self._key):
                message = "An API key is needed. Send it as: Authorization: Bearer KEY"
                return problem(state, "unauthorized", message, {"WWW-Authenticate": "Bearer"})
        is_change = scope["method"] not in (*_SAFE_METHODS, "OPTIONS")
        if is_change and not self._is_writable and f"{scope['path']}/".startswith(f"{DOCUMENTS}/"):
            return problem(
                state, "read_only", "This server changes nothing. Start it with --writable to change documents."
            )
        return None

    def _is_own(self, origin: str, host: str) -> bool:
        return origin in self._settings.allow_origins or (host != "" and _authority(origin) == host)


def _authority(origin: str) -> str:
    """Host and port of an origin; "" if it is not well formed."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _name(host: str) -> str:
    """The name in a Host header, without the port; "" if it is not well formed."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _digest(key: str) -> bytes:
    """Of equal length whatever the key is, so that comparing takes equal time."""
    return hashlib.sha256(key.encode("utf-8")).digest()
