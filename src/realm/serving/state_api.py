"""`/v1/info`, `/healthz`, `/readyz` and `/metrics`: how the server is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from realm.openqa.search import fusion_weight
from realm.serving.access import ServiceOfApp
from realm.serving.metrics import CONTENT_TYPE
from realm.serving.problems import documented, problem

router = APIRouter(tags=["state"])

_TEXT: dict[str, Any] = {"description": "Prometheus text.", "content": {"text/plain": {"schema": {"type": "string"}}}}


class Health(BaseModel):
    """The server is there."""

    status: str = "ok"


class Readiness(BaseModel):
    """The server has answered a question."""

    version: int


class InfoResponse(BaseModel):
    """What answers here."""

    version: int
    documents: int
    blocks: int
    model: str
    model_digest: str
    search: str
    hybrid_weight: float = Field(description="Share of the words in the order of passages, unless asked otherwise.")
    is_calibrated: bool = Field(description="Whether `confidence` is a measured probability of being right.")
    min_confidence: float | None = Field(
        description="What holds where a question gives none, in the search that this knowledge base is set to; null: "
        "every answer is given."
    )
    is_ready: bool
    is_behind: bool = Field(description="There is a newer version that could not be opened.")
    is_writable: bool


@router.get("/v1/info", responses=documented(401))
async def info(service: ServiceOfApp) -> InfoResponse:
    """What answers here: the knowledge base, its version and its model."""
    library, current = service.library, service.library.current
    base, calibration = current.knowledge_base, current.model.calibration
    manifest = base.manifest
    weight = fusion_weight(manifest)
    confidence = None if calibration is None else (calibration.words if weight else calibration.vectors)
    return InfoResponse(
        version=manifest.version,
        documents=manifest.documents,
        blocks=base.live_blocks,
        model=Path(current.model.name).name,
        model_digest=manifest.model.digest,
        search="exact" if manifest.faiss is None else "faiss",
        hybrid_weight=weight,
        is_calibrated=calibration is not None,
        min_confidence=None if confidence is None else confidence.threshold,
        is_ready=library.is_ready,
        is_behind=library.is_behind,
        is_writable=service.is_writable,
    )


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", response_model=Health, responses=documented())
async def healthz() -> Health:
    """Whether the server is there. Needs no key."""
    return Health()


@router.head("/readyz", response_model=Readiness, include_in_schema=False)
@router.get("/readyz", response_model=Readiness, responses=documented(503))
async def readyz(request: Request, service: ServiceOfApp) -> Readiness | Response:
    """Whether to send questions here: from the first real answer until the server is told to stop. Needs no key."""
    if request.app.state.draining.is_set():
        return problem(request.scope["state"], "stopping", "The server is being stopped.", {"Retry-After": "1"})
    if not service.library.is_ready:
        return problem(request.scope["state"], "not_ready", "No question answered yet.", {"Retry-After": "1"})
    return Readiness(version=service.library.current.knowledge_base.manifest.version)


@router.head("/metrics", include_in_schema=False)
@router.get("/metrics", response_class=Response, responses={**documented(401), 200: _TEXT})
async def metrics(service: ServiceOfApp) -> Response:
    """What the server measures of itself, for Prometheus."""
    return Response(service.metrics.text(), media_type=CONTENT_TYPE)
