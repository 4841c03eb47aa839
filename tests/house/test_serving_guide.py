"""docs/serving.md is run: against a server that is started as it says, and with a client of the tools."""

from __future__ import annotations

import dataclasses
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from readme_blocks import READ, RUN, CodeBlock, Workshop, read_blocks, read_steps

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
@pytest.mark.parametrize(
    "block",
    [block for block in BLOCKS if block.is_run],
    ids=lambda block: f"line{block.line}-{block.language}",
)
def test_a_block_prints_what_the_page_says(
    workshop: Workshop, block: CodeBlock, request: pytest.FixtureRequest
) -> None:
    if block.line > serve_block().line:
        address = request.getfixturevalue("address")
        assert address.startswith("http://127.0.0.1:")
        block = dataclasses.replace(block, text=tuple(line.replace(ADDRESS, address) for line in block.text))
    workshop.run_block(block)


def test_every_block_is_for_running_or_for_reading_and_says_why_it_is_not_run() -> None:
    assert {block.language for block in BLOCKS} <= RUN | READ
    assert dict(serve_block().notes)["no-run"]
