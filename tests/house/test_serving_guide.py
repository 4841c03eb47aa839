"""docs/serving.md is run: against a server that is started as it says, and with a client of the tools."""

from __future__ import annotations

import asyncio
import dataclasses
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.responses import Response
from readme_blocks import READ, RUN, CodeBlock, Workshop, read_blocks, read_steps

from realm.serving.edge import Edge
from realm.serving.guard import Guard
from realm.serving.metrics import Metrics
from realm.serving.settings import Settings

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "serving.md"
BLOCKS = read_blocks(PAGE.read_text("utf-8"))
ADDRESS = "http://127.0.0.1:8000"

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")


def serve_block() -> CodeBlock:
    """The block that starts the server: the only one that is not run as it stands."""
    [block] = [block for block in BLOCKS if block.language in RUN and not block.is_run]
    return block


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """One folder for the whole page."""
    return Workshop(tmp_path_factory.mktemp("serving"), ROOT)


@pytest.fixture(scope="module")
def address(workshop: Workshop) -> Iterator[str]:
    """A server of the knowledge base that the page has made; at a free port instead of the page's."""
    [step] = read_steps(serve_block().text)
    assert step.output == (ADDRESS,)
    program, *arguments = shlex.split(step.command)
    found = shutil.which(program, path=workshop.environment["PATH"])
    assert found
    with (workshop.folder.parent / "log").open("w") as log, subprocess.Popen(
        [found, *arguments, "--port", "0"], cwd=workshop.folder, env=workshop.environment, text=True,
        stdout=subprocess.PIPE, stderr=log,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


@pytest.mark.slow
def test_the_page_prints_what_it_says(workshop: Workshop, request: pytest.FixtureRequest) -> None:
    """One test, since every block needs those before it."""
    for block in (block for block in BLOCKS if block.is_run):
        if block.line > serve_block().line:
            address = request.getfixturevalue("address")
            assert address.startswith("http://127.0.0.1:")
            block = dataclasses.replace(block, text=tuple(line.replace(ADDRESS, address) for line in block.text))
        workshop.run_block(block)


def test_what_a_proxy_sends_is_served_as_the_page_says() -> None:
    [block] = [block for block in BLOCKS if any("proxy_pass" in line for line in block.text)]
    command, *lines = (line.strip().rstrip(";").split() for line in block.text)
    config = {line[0]: line[1:] for line in lines if len(line) > 1}
    origin = command[command.index("--allow-origin") + 1]
    [name] = config["server_name"]
    assert (origin, config["proxy_pass"], config["proxy_set_header"]) == (
        f"https://{name}",
        [ADDRESS],
        ["Host", "$host"],
    )
    guard = Guard(Response(), Settings(allow_origins=(origin,)), is_writable=False, open_paths=())
    app = Edge(guard, Metrics(), is_draining=lambda: False)

    async def status(host: str) -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=ADDRESS) as client:
            return (await client.post("/v1/ask", headers={"host": host, "origin": origin})).status_code

    hosts = (name, ADDRESS.removeprefix("http://"), "other.example")  # kept, rewritten, and another
    assert [asyncio.run(status(host)) for host in hosts] == [200, 200, 403]


def test_every_block_is_for_running_or_for_reading_and_says_why_it_is_not_run() -> None:
    assert {block.language for block in BLOCKS} <= RUN | READ
    assert dict(serve_block().notes)["no-run"]
