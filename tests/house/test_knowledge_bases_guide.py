"""docs/knowledge-bases.md is run, block after block in one folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from readme_blocks import READ, RUN, CodeBlock, Workshop, read_blocks

ROOT = Path(__file__).parents[2]
BLOCKS = read_blocks((ROOT / "docs" / "knowledge-bases.md").read_text("utf-8"))


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """One folder for the whole page."""
    return Workshop(tmp_path_factory.mktemp("knowledge-bases"), ROOT, BLOCKS)


@pytest.mark.slow
@pytest.mark.parametrize(
    "block",
    [block for block in BLOCKS if block.is_run],
    ids=lambda block: f"line{block.line}-{block.language}",
)
def test_a_block_prints_what_the_page_says(workshop: Workshop, block: CodeBlock) -> None:
    workshop.run_block(block)


def test_every_block_is_run_or_is_for_reading() -> None:
    assert {block.language for block in BLOCKS} <= RUN | READ
    assert all(block.is_run or dict(block.notes).get("no-run") for block in BLOCKS if block.language in RUN)
