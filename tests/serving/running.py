"""A real server on a loopback port, in a thread of this process or in one of its own; and raw connections to it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from realm.serving.app import create_app
from realm.serving.runner import MakeApp, Server, listen, server_of
from realm.serving.service import Service
from realm.serving.settings import Settings

SOURCE = Path(__file__).parents[2] / "src"


@contextmanager
def serving(
    service: Service, make_app: MakeApp = create_app, api_key: str | None = None
) -> Iterator[tuple[str, Server]]:
    """A server in a thread, with its URL."""
    settings = Settings(port=0, api_key=api_key)
    listener, url = listen(settings)
    started = threading.Event()
    server = server_of(service, settings, started.set, make_app)
    thread = threading.Thread(target=server.run, args=([listener],))
    with listener, service:
        thread.start()
        assert started.wait(20)
        try:
            yield url, server
        finally:
            server.handle_exit(signal.SIGTERM, None)
            thread.join(60)
            assert not thread.is_alive()


@contextmanager
def realm_server(
    log: Path, command: str, *arguments: object, **environment: str
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A command that serves HTTP in a process of its own, with the address that it prints."""
    variables = {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1", **environment}
    line = [sys.executable, "-m", "realm", command, "--port", "0", *map(str, arguments)]
    with (
        log.open("w", encoding="utf-8") as errors,
        subprocess.Popen(line, stdout=subprocess.PIPE, stderr=errors, env=variables, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert url.startswith("http://127.0.0.1:"), log.read_text("utf-8")
            yield url, process
        finally:
            process.kill()


def connect(url: str) -> socket.socket:
    """A raw connection."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    connection = socket.create_connection((host, int(port)))
    connection.settimeout(20)
    return connection


def all_of(connection: socket.socket) -> bytes:
    """Everything the server sends until it closes the connection."""
    received = b""
    try:
        while part := connection.recv(65536):
            received += part
    except ConnectionResetError:
        pass
    return received
