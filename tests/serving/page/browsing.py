"""A real browser for the page: where it is, what it may do, and what axe says about what it shows."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Playwright, Request, Route

ARGUMENTS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
DESKTOP, PHONE = (1100, 850), (320, 640)
SECONDS = 30.0
_INSTALL_SECONDS = 300
_WATCH = """
window.refused = [];
document.addEventListener("securitypolicyviolation", (event) => window.refused.push(event.violatedDirective));
"""
# Of axe's four grades; the others are minor and moderate.
_SERIOUS = ("serious", "critical")


def chromium() -> str:
    """The system's Chromium; installed from the system's packages where this process may. Skips the test if not."""
    if (found := shutil.which("chromium")) is not None:
        return found
    if os.name != "posix" or os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip("There is no Chromium here, and no way to install it: apt-get install chromium")
    install = ["apt-get", "install", "-y", "--no-install-recommends", "chromium"]
    try:
        subprocess.run(install, check=True, capture_output=True, timeout=_INSTALL_SECONDS)
    except (subprocess.SubprocessError, OSError) as exc:
        pytest.skip(f"Chromium could not be installed with apt-get: {exc}")
    return shutil.which("chromium") or pytest.skip("apt-get installed no Chromium.")


def launch(playwright: Playwright) -> Browser:
    """The browser."""
    return playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)


@contextmanager
def opened(browser: Browser, url: str, size: tuple[int, int] = DESKTOP, **context: Any) -> Iterator[Page]:
    """A page of the server at `url` in a fresh context. Fails if it asks anybody else, raises or breaks its policy."""
    options = {"reduced_motion": "reduce", **context}
    made = browser.new_context(viewport={"width": size[0], "height": size[1]}, base_url=url, **options)
    made.set_default_timeout(1000 * SECONDS)
    made.add_init_script(_WATCH)
    page = made.new_page()
    wrong: list[str] = []

    def watch(request: Request) -> None:
        if not request.url.startswith((url, "data:")):
            wrong.append(f"asked {request.url}")

    page.on("request", watch)
    page.on("pageerror", lambda error: wrong.append(f"raised {error}"))
    page.on("dialog", lambda dialog: wrong.append(f"said {dialog.message}"))
    try:
        yield page
        assert wrong == []
        assert page.evaluate("window.refused") == []
    finally:
        made.close()


def ask(page: Page, question: str) -> None:
    """Type a question, press Enter, and wait for what comes of it."""
    page.fill("#question", question)
    page.press("#question", "Enter")
    settled(page)


def settled(page: Page) -> None:
    """Wait until a question has been answered, or not."""
    page.wait_for_selector("#result[aria-busy=false] article")


def problem(route: Route, status: int, code: str, message: str, **headers: str) -> None:
    """Answer a request with a problem, in the server's shape."""
    body = {"error": {"code": code, "message": message}, "request_id": "abc"}
    route.fulfill(status=status, json=body, headers={name.replace("_", "-"): value for name, value in headers.items()})


def fits(page: Page) -> bool:
    """Whether nothing has to be scrolled sideways to be seen."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))


def violations(page: Page) -> list[str]:
    """What axe holds to be serious, in short."""
    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {node['html'][:200]} ({node['failureSummary']})"
        for each in found
        if each["impact"] in _SERIOUS
        for node in each["nodes"]
    ]


def keep_picture(page: Page, folder: Path, name: str) -> None:
    """Keep what the page looks like."""
    page.screenshot(path=folder / f"{name}.png", full_page=True)
