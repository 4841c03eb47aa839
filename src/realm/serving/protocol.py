"""HTTP/1.1 connections that cannot be held open by doing nothing: a head that does not arrive, a response that is not
taken, more connections than there is room for.

Uvicorn's protocol has a time limit only for silence between requests. Bodies are `bodies`' business.
"""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from uuid import uuid4

from uvicorn.protocols.http.h11_impl import H11Protocol

from realm.serving.limits import Limits
from realm.serving.logs import say
from realm.serving.metrics import Metrics


class BoundedProtocol(H11Protocol):
    """A connection with time limits; `bounded_protocol` sets them, and who counts what is refused."""

    limits: Limits
    metrics: Metrics

    _head_timer: asyncio.TimerHandle | None = None
    _send_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head; or refuse, where there are too many connections."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", "There are too many connections.")
            return
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        self._cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Wait for the rest of a head, or not any more."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._is_idle():
            self._watch_head()
        elif self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def on_response_complete(self) -> None:
        """A response whose end the client does not take breaks the connection."""
        super().on_response_complete()
        self._watch_sending()

    def shutdown(self) -> None:
        """Close when nothing is being answered."""
        super().shutdown()
        self._watch_sending()

    def pause_writing(self) -> None:
        """The client takes less than it is sent."""
        super().pause_writing()
        self._watch_sending()

    def resume_writing(self) -> None:
        """The client has caught up."""
        super().resume_writing()
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is told so in our shape."""
        self._refuse(HTTPStatus.BAD_REQUEST, "malformed", msg)

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _watch_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.limits.header_seconds, self._head_is_late)

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._is_idle():
            seconds = self.limits.header_seconds
            message = f"The head of the request did not arrive within {seconds:g} s."
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "too_slow", message)

    def _watch_sending(self) -> None:
        if self._send_timer is None and self.transport.get_write_buffer_size():
            self._send_timer = self.loop.call_later(self.limits.send_seconds, self._send_is_late)

    def _send_is_late(self) -> None:
        self._send_timer = None
        if self.transport.get_write_buffer_size():
            self.transport.abort()

    def _refuse(self, status: HTTPStatus, code: str, message: str) -> None:
        """Answer without the app, and close. In the middle of a response, only close."""
        if not self.transport.is_closing() and (self._is_idle() or not self.cycle.response_started):
            request_id = uuid4().hex
            body = json.dumps({"error": {"code": code, "message": message}, "request_id": request_id}).encode()
            retry_after = "retry-after: 1\r\n" if status is HTTPStatus.SERVICE_UNAVAILABLE else ""
            head = (
                f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\nx-request-id: {request_id}\r\n{retry_after}"
                "x-content-type-options: nosniff\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode("ascii") + body)
            self.metrics.response(status.value)
            self.metrics.error(code)
            say("refused", request_id=request_id, status=status.value, problem=code)
        self.transport.close()
        self._watch_sending()

    def _cancel(self) -> None:
        for timer in (self._head_timer, self._send_timer):
            if timer is not None:
                timer.cancel()
        self._head_timer = self._send_timer = None


def bounded_protocol(limits: Limits, metrics: Metrics) -> type[BoundedProtocol]:
    """The protocol with these limits; what it refuses is counted in `metrics`."""
    return type("LimitedProtocol", (BoundedProtocol,), {"limits": limits, "metrics": metrics})
