"""How the tools are reached: over standard input and output, or over HTTP behind the same guard as the API.

stdio ─► tools ─► Service
POST /mcp ─► Edge ─► Guard ─► Bodies ─► streamable HTTP, one JSON response a request, no sessions ─► tools ─► Service
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from mcp.server.streamable_http_manager import StreamableHTTPASGIApp
from mcp.server.transport_security import TransportSecuritySettings
from starlette.routing import Route

from realm.serving import problems, state_api
from realm.serving.app import OPEN, add_layers
from realm.serving.logs import log_to_stderr, say
from realm.serving.mcp_tools import tool_server
from realm.serving.service import Service
from realm.serving.settings import Settings

MCP_PATH = "/mcp"


def run_stdio(service: Service) -> None:
    """Serve one client until it closes standard input. Standard output is the protocol's alone."""
    log_to_stderr()
    with service:
        say("serving", transport="stdio")
        tool_server(service).run("stdio")
    say("stopped")


def create_mcp_app(service: Service, settings: Settings) -> FastAPI:
    """The HTTP app of the tools, with the state of the server beside them.

    Args:
        service: Answers; somebody else starts and closes it.
        settings: Who may use it.

    Returns:
        The app, like that of `create_app`.
    """
    tools = tool_server(service)
    # Hosts and origins are the guard's business. Nothing here lasts longer than a request.
    unguarded = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    tools.streamable_http_app(json_response=True, stateless_http=True, transport_security=unguarded)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with tools.session_manager.run():
            yield

    app = FastAPI(title="realm", openapi_url=None, redirect_slashes=False, lifespan=lifespan)
    problems.add_to(app)
    app.include_router(state_api.router)
    app.router.routes.append(Route(MCP_PATH, StreamableHTTPASGIApp(tools.session_manager), methods=["POST"]))
    add_layers(app, service, settings, open_paths=OPEN)
    return app
