"""Pages of docs/ that need no server are run, block after block in one folder for each."""

from __future__ import annotations

from pathlib import Path

import pytest
from readme_blocks import READ, RUN, CodeBlock, Workshop, read_blocks

ROOT = Path(__file__).parents[2]
PAGES = {
    name: read_blocks((ROOT / "docs" / f"{name}.md").read_text("utf-8")) for name in ("knowledge-bases", "training")
}


@pytest.fixture(scope="module")
def workshops(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Workshop]:
    return {name: Workshop(tmp_path_factory.mktemp(name), ROOT, blocks) for name, blocks in PAGES.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "block"),
    [
        pytest.param(page, block, id=f"{page}-line{block.line}-{block.language}")
        for page, blocks in PAGES.items()
        for block in blocks
        if block.is_run
    ],
)
def test_a_block_prints_what_the_page_says(workshops: dict[str, Workshop], page: str, block: CodeBlock) -> None:
    workshops[page].run_block(block)


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_run_or_is_for_reading(page: str) -> None:
    assert {block.language for block in PAGES[page]} <= RUN | READ
    assert all(block.is_run or dict(block.notes).get("no-run") for block in PAGES[page] if block.language in RUN)
