"""Files that are the same for everybody: the web page, and the page about the API.

All of them are read when the server starts and looked up by their exact address: no path from a request is ever
opened. Knows neither the knowledge base nor what the files are about.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import PurePath

from fastapi import FastAPI
from fastapi.responses import Response

from realm.extras import require

PAGE = "page"
_INDEX = "index.html"
_SWAGGER = ("swagger-ui.css", "swagger-ui-bundle.js")
_DOCS = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>realm: the API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<main id="swagger-ui"></main>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/begin.js"></script>
</body>
</html>
"""
_BEGIN = """SwaggerUIBundle({
  url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null,
});
"""
# Its styles stand in its elements, and its pictures in its styles.
_DOCS_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)


# Not those of the machine: a browser that may not sniff runs no script of another type.
_MEDIA_TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is sent."""

    body: bytes
    media_type: str
    headers: Mapping[str, str]


def load_assets() -> dict[str, Asset]:
    """Every file by its address.

    Raises:
        MissingExtraError: The files of the page about the API are not installed.
    """
    found = {"/docs": Asset(_DOCS.encode(), "text/html", {"Content-Security-Policy": _DOCS_POLICY})}
    found["/docs/begin.js"] = Asset(_BEGIN.encode(), "text/javascript", {})
    require("fastapi_offline", "serve")
    static = resources.files("fastapi_offline") / "static"
    for name in _SWAGGER:
        found[f"/docs/{name}"] = _asset(static / name)
    page = resources.files("realm.serving") / PAGE
    if page.is_dir():
        for address, file in _files(page, ""):
            found[address] = _asset(file)
    if f"/{_INDEX}" in found:
        found["/"] = found[f"/{_INDEX}"]
    return found


def add_to(app: FastAPI, assets: Mapping[str, Asset]) -> None:
    """Serve the files, each at its address."""
    for address, asset in assets.items():
        app.add_api_route(address, _sender(asset), methods=["GET", "HEAD"], include_in_schema=False)


def _sender(asset: Asset) -> Callable[[], Awaitable[Response]]:
    async def send() -> Response:
        headers = {"Cache-Control": "no-cache", **asset.headers}
        return Response(asset.body, media_type=asset.media_type, headers=headers)

    return send


def _asset(file: Traversable) -> Asset:
    return Asset(file.read_bytes(), _MEDIA_TYPES.get(PurePath(file.name).suffix, "application/octet-stream"), {})


def _files(folder: Traversable, address: str) -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _files(entry, f"{address}/{entry.name}")
        elif not entry.name.startswith((".", "_")) and not entry.name.endswith(".py"):
            yield f"{address}/{entry.name}", entry
