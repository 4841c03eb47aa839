"""How a request that is not granted is told so: one JSON shape for all of them, and which status means what.

{"error": {"code": "overloaded", "message": "256 are waiting already. ..."}, "request_id": "4f0c..."}
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match

from realm.errors import BusyError, QuestionError, UsageError
from realm.serving.failures import ServingError

STATUSES = {
    "malformed": 400,
    "unauthorized": 401,
    "host_not_allowed": 403,
    "origin_not_allowed": 403,
    "read_only": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "too_slow": 408,
    "busy": 409,
    "too_large": 413,
    "not_json": 415,
    "invalid": 422,
    "bad_question": 422,
    "overloaded": 429,
    "client_left": 499,
    "internal": 500,
    "stopping": 503,
    "unavailable": 503,
    "not_ready": 503,
    "timeout": 504,
}
_MEANINGS = {
    400: "The request, or the JSON in it, is not well formed.",
    401: "The API key is missing, or is another.",
    403: "Not from this host or web page; or the server may not change documents.",
    404: "There is no such thing.",
    408: "The request took too long to arrive.",
    409: "Another process is changing the knowledge base; see Retry-After.",
    413: "The body is too long.",
    415: "The body is not said to be JSON.",
    422: "A value is not what it must be, or the question cannot be answered as it is.",
    429: "Too many are waiting; see Retry-After.",
    500: "A bug of the server.",
    503: "The server is being stopped, is not ready yet, or cannot read its knowledge base; see Retry-After.",
    504: "No answer in time.",
}
_CODES = {400: "malformed", 404: "not_found", 405: "method_not_allowed"}
_SHOWN = 3
_SHOWN_CHARACTERS = 100
_BUSY_SECONDS = 5


class ProblemDetail(BaseModel):
    """What is wrong."""

    code: str = Field(description=f"One of: {', '.join(STATUSES)}.")
    message: str = Field(description="One line for people: what was found, what was expected, what to do.")


class Problem(BaseModel):
    """The body of every response that does not grant the request."""

    error: ProblemDetail
    request_id: str = Field(description="As in the header X-Request-ID, and in the server's log.")


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says about these statuses, and that any other problem has the same shape."""
    found: dict[int | str, dict[str, Any]] = {
        status: {"model": Problem, "description": _MEANINGS[status]} for status in statuses
    }
    return found | {"default": {"model": Problem, "description": "Any other problem, in the same shape."}}


def problem(state: dict[str, Any], code: str, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """The response.

    Args:
        state: Of the request; notes the code for the log, and has the request's id.
        code: A key of `STATUSES`.
        message: One line for people. What cannot be written as UTF-8 is spelled out.
        headers: Further headers.
    """
    state["problem"] = code
    text = " ".join(message.split()).encode("utf-8", "backslashreplace").decode()
    body = {"error": {"code": code, "message": text}, "request_id": state.get("request_id", "")}
    return JSONResponse(body, STATUSES[code], headers)


def problem_of(state: dict[str, Any], exc: Exception) -> JSONResponse | None:
    """The response to an error that is expected to happen; None for any other."""
    if isinstance(exc, ServingError):
        after = {"Retry-After": str(exc.retry_after_seconds)} if exc.retry_after_seconds else None
        return problem(state, exc.code, str(exc), after)
    if isinstance(exc, BusyError):  # its own words name the server's folder
        message = "Another process is changing the knowledge base. Try again when it is done."
        return problem(state, "busy", message, {"Retry-After": str(_BUSY_SECONDS)})
    if isinstance(exc, QuestionError):
        return problem(state, "bad_question", str(exc))
    if type(exc) is UsageError:  # its subclasses are about files of the server
        return problem(state, "invalid", str(exc))
    return None


def add_to(app: FastAPI) -> None:
    """Have errors that reach the app answered in this shape."""

    async def expected(request: Request, exc: Exception) -> JSONResponse:
        response = problem_of(request.scope["state"], exc)
        if response is None:
            raise exc
        return response

    async def not_valid(request: Request, exc: Exception) -> JSONResponse:
        assert isinstance(exc, RequestValidationError)
        errors = exc.errors()
        is_json = not any(error["type"] == "json_invalid" for error in errors)
        said = "; ".join(map(_said, errors[:_SHOWN]))
        return problem(request.scope["state"], "invalid" if is_json else "malformed", f"{said}. See /docs.")

    async def refused(request: Request, exc: Exception) -> JSONResponse:
        assert isinstance(exc, HTTPException)
        code, said, headers = _CODES.get(exc.status_code, "malformed"), exc.detail, dict(exc.headers or {})
        if code == "method_not_allowed":
            headers["Allow"] = ", ".join(_methods(request))
            said = f"{request.method} is not for {request.url.path[:_SHOWN_CHARACTERS]}; it takes {headers['Allow']}"
        return problem(request.scope["state"], code, f"{said}. See /docs.", headers)

    app.add_exception_handler(ServingError, expected)
    app.add_exception_handler(UsageError, expected)
    app.add_exception_handler(RequestValidationError, not_valid)
    app.add_exception_handler(HTTPException, refused)


def _methods(request: Request) -> list[str]:
    """What can be done at the address of a request."""
    routes = request.app.router.routes
    return [
        method
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]


def _said(error: dict[str, Any]) -> str:
    """What is wrong with a body or a parameter, and where."""
    if error["type"] == "json_invalid":
        return f"The body is no JSON at character {error['loc'][-1]}, counted from 0: {error['ctx']['error']}"
    return f"{_place(error['loc'])}: {error['msg']}"


def _place(location: tuple[int | str, ...]) -> str:
    """Where in the request, without the word that is the same for all."""
    return ".".join(str(part) for part in location if part != "body")[:_SHOWN_CHARACTERS] or "body"
