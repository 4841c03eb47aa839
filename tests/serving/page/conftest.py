"""The page in a real browser, over a small knowledge base behind a real server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="needs: pip install playwright")
pytest.importorskip("axe_playwright_python", reason="needs: pip install axe-playwright-python")

from browsing import SECONDS, launch, opened
from playwright.sync_api import Browser, Page, expect, sync_playwright
from running import serving
from waiting import QUICK

from realm.serving.service import Service

expect.set_options(timeout=1000 * SECONDS)


# Order: for a module, not for all of them: while it is there, its event loop runs in this thread, and no other can.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium."""
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def site(made_once: Path) -> Iterator[str]:
    """The address of a server that only reads."""
    with serving(Service(made_once, limits=QUICK)) as (url, _):
        yield url


@pytest.fixture
def writable_site(kb: Path) -> Iterator[str]:
    """The address of a server whose documents may be changed."""
    with serving(Service(kb, limits=QUICK, is_writable=True)) as (url, _):
        yield url


@pytest.fixture
def page(browser: Browser, site: str) -> Iterator[Page]:
    """A page of the server that only reads, not gone to yet."""
    with opened(browser, site) as page:
        yield page


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures of the page are kept: in $REALM_ARTIFACTS, or among pytest's files."""
    chosen = os.environ.get("REALM_ARTIFACTS")
    if chosen is None:
        return tmp_path_factory.mktemp("page")
    folder = Path(chosen) / "page"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
