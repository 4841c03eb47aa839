"""`realm serve` and `realm mcp`: a knowledge base over HTTP, and as tools of a language model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from realm.cli.options import KbOption, ModelOption
from realm.errors import UsageError


def add_to(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command()(serve)
    app.command()(mcp)


HostOption = Annotated[str, typer.Option(help="Address to listen at; others can reach it only with a key.")]
KeyOption = Annotated[
    Path | None, typer.Option(help="File with the key that everybody must send; or set REALM_API_KEY.")
]
QueueOption = Annotated[int, typer.Option(min=1, help="Most questions that wait; beyond it they are refused.")]
OriginOption = Annotated[
    list[str] | None,
    typer.Option(help="Another web page's origin that may ask, or a proxy's, such as https://example.org."),
]
_HTTP = ("fastapi", "uvicorn", "prometheus_client", "fastapi_offline")


def serve(
    kb: KbOption = Path("kb"),
    model: ModelOption = None,
    host: HostOption = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0 takes a free one.")] = 8000,
    writable: Annotated[bool, typer.Option("--writable", help="Let documents be added and removed.")] = False,
    api_key_file: KeyOption = None,
    max_queue: QueueOption = 256,
    timeout_seconds: Annotated[float, typer.Option(min=0.1, help="Most time for an answer.")] = 30.0,
    allow_origin: OriginOption = None,
) -> None:
    """Answer over HTTP: an API described at /docs. Moves to newer versions of the knowledge base by itself.

    Prints its address when it is there. Stops at Ctrl-C or SIGTERM, when all that was accepted is answered.
    """
    from realm.extras import require

    for module in _HTTP:
        require(module, "serve")
    from realm.serving.limits import Limits
    from realm.serving.runner import run_server
    from realm.serving.service import Service
    from realm.serving.settings import Settings, read_api_key

    key = read_api_key(api_key_file, os.environ.get("REALM_API_KEY"))
    settings = Settings(host, port, key, tuple(allow_origin or ()))
    limits = Limits(max_queue=max_queue, timeout_seconds=timeout_seconds)
    service = Service(kb, limits=limits, is_writable=writable, model=model)
    run_server(service, settings, announce=lambda url: print(url, flush=True))


def mcp(
    context: typer.Context,
    kb: KbOption = Path("kb"),
    model: ModelOption = None,
    http: Annotated[bool, typer.Option("--http", help="Over HTTP instead of standard input and output.")] = False,
    host: HostOption = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0 takes a free one.")] = 8001,
    api_key_file: KeyOption = None,
    max_queue: QueueOption = 256,
    timeout_seconds: Annotated[float, typer.Option(min=0.1, help="Most time for an answer.")] = 30.0,
    allow_origin: OriginOption = None,
) -> None:
    """Offer the tools ask, search and get_document to a language model (Model Context Protocol).

    Over standard input and output, for programs that start it themselves; or with --http at the address it prints.
    """
    from realm.extras import require

    if not http and (given := _given_for_http(context)):
        raise UsageError(f"{given} is of use with --http only. Add that, or leave it out.")
    for module in (*_HTTP, "mcp"):
        require(module, "serve")
    from realm.serving.limits import Limits
    from realm.serving.mcp_transport import MCP_PATH, create_mcp_app, run_stdio
    from realm.serving.runner import run_server
    from realm.serving.service import Service
    from realm.serving.settings import Settings, read_api_key

    limits = Limits(max_queue=max_queue, timeout_seconds=timeout_seconds)
    if not http:
        run_stdio(Service(kb, limits=limits, model=model))
        return
    key = read_api_key(api_key_file, os.environ.get("REALM_API_KEY"))
    settings = Settings(host, port, key, tuple(allow_origin or ()))
    service = Service(kb, limits=limits, model=model)
    run_server(service, settings, announce=lambda url: print(f"{url}{MCP_PATH}", flush=True), make_app=create_mcp_app)


def _given_for_http(context: typer.Context) -> str:
    """An option that says something about the address, if one was typed."""
    for name in ("host", "port", "api_key_file", "allow_origin"):
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            return f"--{name.replace('_', '-')}"
    return ""
