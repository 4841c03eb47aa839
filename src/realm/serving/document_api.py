"""`/v1/documents`: list, read, and, where the server may, add and remove."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from realm.errors import UsageError
from realm.serving import limits
from realm.serving.access import ServiceOfApp, result_of
from realm.serving.guard import DOCUMENTS
from realm.serving.problems import documented
from realm.serving.shapes import (
    DocumentShape,
    DocumentsResponse,
    PutRequest,
    WrittenShape,
    document_shape,
    page_shape,
)

router = APIRouter(prefix=DOCUMENTS, tags=["documents"])

_LAST = 2**53


class Page(BaseModel):
    """Which part of the list."""

    model_config = ConfigDict(extra="forbid")

    start: int = Field(0, ge=0, le=_LAST)
    limit: int = Field(100, ge=1, le=limits.MAX_DOCUMENTS)


class AsOf(BaseModel):
    """Which state of a document."""

    model_config = ConfigDict(extra="forbid")

    version: int | None = Field(
        None, ge=1, le=_LAST, description="As this version had it, such as `document_version` of evidence."
    )


DocumentId = Annotated[str, Path(max_length=limits.MAX_ID_CHARACTERS, description="May contain slashes.")]


@router.get("", response_model=DocumentsResponse, responses=documented(401, 422, 429, 503, 504))
async def list_documents(service: ServiceOfApp, page: Annotated[Page, Query()]) -> DocumentsResponse:
    """A page of the list of all documents, in the order they are stored in."""
    return page_shape(await result_of(service.documents(page.start, page.limit), service.limits.timeout_seconds))


@router.get("/{document_id:path}", response_model=DocumentShape, responses=documented(401, 404, 422, 429, 503, 504))
async def read_document(
    document_id: DocumentId, service: ServiceOfApp, as_of: Annotated[AsOf, Query()]
) -> DocumentShape:
    """A document with its text, into which the offsets of answers point."""
    future = service.document(document_id, as_of.version)
    return document_shape(await result_of(future, service.limits.timeout_seconds))


@router.post("", response_model=WrittenShape, responses=documented(400, 401, 403, 408, 409, 413, 415, 422, 429, 503))
async def put_documents(body: PutRequest, service: ServiceOfApp) -> Response:
    """Add documents, or replace those of the same ids; done when answers come from them, however long it takes.

    Only for servers started with `--writable`.
    """
    ids = [document.id for document in body.documents]
    if len(set(ids)) != len(ids):
        raise UsageError("Two of the documents have the same id. Send each document once.")
    written = await result_of(service.put([document.document() for document in body.documents]), None)
    return JSONResponse(dataclasses.asdict(written))


@router.delete(
    "/{document_id:path}", response_model=WrittenShape, responses=documented(401, 403, 404, 408, 409, 422, 429, 503)
)
async def delete_document(document_id: DocumentId, service: ServiceOfApp) -> Response:
    """Take a document out; done when answers come without it. Only for servers started with `--writable`."""
    written = await result_of(service.delete(document_id), None)
    return JSONResponse(dataclasses.asdict(written))
