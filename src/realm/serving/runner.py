"""The server: a socket, the app, and an orderly end.

SIGTERM ─► /readyz says no, connections close after their response ─► a moment later: no new connections
        ─► what was accepted is answered ─► the service finishes its queue ─► exit 0
a second signal, a second later or more: now
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from realm.errors import UsageError
from realm.serving.app import create_app
from realm.serving.logs import log_to_stderr, say
from realm.serving.protocol import bounded_protocol
from realm.serving.service import Service
from realm.serving.settings import Settings

MakeApp = Callable[[Service, Settings], FastAPI]

_BACKLOG = 1024
_KEEP_ALIVE_SECONDS = 30
_ONE_SIGNAL_SECONDS = 1.0
"""Within this time it is the same one: `timeout` sends it to the process and to its group."""


def run_server(
    service: Service, settings: Settings, *, announce: Callable[[str], None], make_app: MakeApp = create_app
) -> None:
    """Serve until a signal says to stop; then finish what was accepted, and close the service.

    Args:
        service: Not started yet.
        settings: Where to listen, and to whom.
        announce: Told the address when connections are taken.
        make_app: Makes what is served.

    Raises:
        UsageError: The address cannot be listened at.
        MissingExtraError: A part of the extra `serve` is not installed.
    """
    listener, address = listen(settings)
    log_to_stderr()

    def started() -> None:
        say("listening", url=address, process=os.getpid())
        announce(address)

    with listener:
        server = server_of(service, settings, started, make_app)
        with service:
            server.run([listener])
            say("stopping")
    say("stopped")


def server_of(
    service: Service, settings: Settings, started: Callable[[], None], make_app: MakeApp = create_app
) -> Server:
    """A server that is not running yet; `started` is called when it takes connections."""
    app = make_app(service, settings)
    config = uvicorn.Config(
        app,
        http=bounded_protocol(service.limits, service.metrics),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
    )
    return Server(config, app.state.draining.set, service.limits.drain_seconds, started)


def listen(settings: Settings) -> tuple[socket.socket, str]:
    """A listening socket and its URL.

    Raises:
        UsageError: The port is taken, or the address is not this machine's.
    """
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except (OSError, OverflowError) as exc:
        reason = getattr(exc, "strerror", None) or exc
        raise UsageError(
            f"Cannot listen at {settings.host} port {settings.port}: {reason}. Give another --port; 0 takes a free one."
        ) from exc
    name = f"[{settings.host}]" if ":" in settings.host else settings.host
    return listener, f"http://{name}:{listener.getsockname()[1]}"


class Server(uvicorn.Server):
    """Uvicorn's server, which goes on taking connections for a moment after it was told to stop."""

    def __init__(
        self, config: uvicorn.Config, drain: Callable[[], None], drain_seconds: float, started: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._drain = drain
        self._drain_seconds = drain_seconds
        self._tell_started = started
        self._told_at: float | None = None

    async def startup(self, *arguments: Any, **options: Any) -> None:
        """Listen, and say so."""
        await super().startup(*arguments, **options)
        self._tell_started()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop; at a second signal, stop."""
        now = time.monotonic()
        if self._told_at is None:
            self._told_at = now
            self._drain()
        elif now - self._told_at >= _ONE_SIGNAL_SECONDS:
            self.should_exit = self.force_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Whether to stop taking connections."""
        if self._told_at is not None and time.monotonic() >= self._told_at + self._drain_seconds:
            self.should_exit = True
        return await super().on_tick(counter)
