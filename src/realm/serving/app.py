"""The HTTP app: the service, its endpoints, and the layers around them.

Edge ─► [CORS] ─► Guard ─► Bodies ─► endpoints
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from realm.serving import assets, document_api, problems, question_api, state_api
from realm.serving.bodies import Bodies
from realm.serving.edge import Edge
from realm.serving.guard import Guard
from realm.serving.service import Service
from realm.serving.settings import Settings

_DESCRIPTION = """Answers from documents: a part of a document, where it stands, and how sure the model is.

Every response has the header `X-Request-ID`; one that a request brings (1 to 64 letters, digits, `.`, `_` or `-`)
is kept.
A response with another status than 2xx has a body of the shape `Problem`.
"""
_API_VERSION = "1"
OPENAPI = "/openapi.json"
OPEN = frozenset({"/healthz", "/readyz"})
"""What load balancers ask for, who have no key."""


def create_app(service: Service, settings: Settings) -> FastAPI:
    """The app around a service that somebody else starts and closes.

    Args:
        service: Answers.
        settings: Who may use it.

    Returns:
        The app. `app.state.draining` is an event: set it when the server is about to stop.

    Raises:
        MissingExtraError: A part of the extra `serve` is not installed.
    """
    app = FastAPI(
        title="realm",
        version=_API_VERSION,
        description=_DESCRIPTION,
        openapi_url=OPENAPI,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    problems.add_to(app)
    for api in (question_api, document_api, state_api):
        app.include_router(api.router)
    files = assets.load_assets()
    assets.add_to(app, files)
    add_layers(app, service, settings, open_paths={*OPEN, OPENAPI, *files})
    if settings.api_key is not None:
        _document_key(app)
    return app


def add_layers(app: FastAPI, service: Service, settings: Settings, *, open_paths: Collection[str]) -> None:
    """Put the layers that every app of ours has around it; `open_paths` need no key."""
    app.state.service = service
    app.state.draining = threading.Event()
    # Order: the last one added is the outermost.
    app.add_middleware(Bodies, limits=service.limits)
    app.add_middleware(Guard, settings=settings, is_writable=service.is_writable, open_paths=open_paths)
    if settings.allow_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.allow_origins),
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["X-Request-ID", "Retry-After"],
        )
    app.add_middleware(Edge, metrics=service.metrics, is_draining=app.state.draining.is_set)


def _document_key(app: FastAPI) -> None:
    """Say in OpenAPI that a key is needed, and where it is not."""
    schema: dict[str, Any] = app.openapi()  # kept by the app, which gives the same object again
    schema.setdefault("components", {})["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    schema["security"] = [{"key": []}]
    for path in OPEN:
        schema["paths"][path]["get"]["security"] = []
