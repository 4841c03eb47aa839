"""Pages of docs/ that need no server are run, block after block in one folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from readme_blocks import READ, RUN, Workshop, read_blocks

ROOT = Path(__file__).parents[2]
PAGES = {
    name: read_blocks((ROOT / "docs" / f"{name}.md").read_text("utf-8")) for name in ("knowledge-bases", "training")
}


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_every_block_prints_what_the_page_says(page: str, tmp_path: Path) -> None:
    Workshop(tmp_path, ROOT).run_page(PAGES[page])


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_run_or_is_for_reading(page: str) -> None:
    assert {block.language for block in PAGES[page]} <= RUN | READ
    assert all(block.is_run or dict(block.notes).get("no-run") for block in PAGES[page] if block.language in RUN)
