"""Dialogs while their request runs or waits: what they show, and that nobody believes something taken back that was
done."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from browsing import opened, problem
from playwright.sync_api import Browser, Locator, Page, Route, expect


@pytest.fixture
def page(browser: Browser, writable_site: str) -> Iterator[Page]:
    """The list of documents, which may be changed."""
    with opened(browser, writable_site) as page:
        page.goto("/#/documents")
        expect(page.locator(".documents li")).to_have_count(8)
        yield page


@pytest.fixture
def held(page: Page) -> list[Route]:
    """Requests that change documents, which wait until the test lets them go on."""
    routes: list[Route] = []
    page.route("**/v1/documents*", lambda route: hold(route, routes))
    page.route("**/v1/documents/**", lambda route: hold(route, routes))
    return routes


def hold(route: Route, routes: list[Route]) -> None:
    if route.request.method == "GET":
        route.continue_()
    else:
        routes.append(route)


def remove_first(page: Page) -> Locator:
    """Confirm that the first document is to go; gives the dialog."""
    page.get_by_role("button", name="Remove").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Remove").click()
    return dialog


def add_one(page: Page) -> Locator:
    """Send a new document; gives the dialog."""
    page.get_by_role("button", name="Add a document").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Title").fill("New")
    dialog.get_by_label("Text").fill("The gold is old.")
    dialog.get_by_role("button", name="Add").click()
    return dialog


def documents(site: str) -> int:
    total: Any = httpx.get(f"{site}/v1/documents").json()["total"]
    return int(total)


def test_what_is_being_sent_cannot_be_cancelled(page: Page, held: list[Route], writable_site: str) -> None:
    dialog = remove_first(page)
    expect(dialog.get_by_role("status")).to_have_text("Sent. Waiting for the server.")
    for name in ("Keep it", "Remove"):
        button = dialog.get_by_role("button", name=name)
        expect(button).to_be_disabled()
        button.dispatch_event("click")
    expect(dialog.get_by_role("button", name="Remove")).to_be_focused()
    for _ in range(3):
        page.keyboard.press("Escape")
    page.wait_for_timeout(200)
    expect(dialog).to_be_visible()
    assert len(held) == 1
    held[0].continue_()
    expect(dialog).to_be_hidden()
    expect(page.locator("#notice p")).to_contain_text("Removed")
    assert documents(writable_site) == 7


def test_what_was_done_is_said_also_if_the_dialog_was_closed_meanwhile(page: Page, held: list[Route]) -> None:
    dialog = remove_first(page)
    expect(dialog.get_by_role("button", name="Keep it")).to_be_disabled()
    page.evaluate("document.querySelector('dialog[open]').close()")
    held.pop().continue_()
    expect(page.locator("#notice p")).to_contain_text("Removed")
    expect(page.locator(".documents li")).to_have_count(7)


def test_what_was_not_done_is_said_also_if_the_dialog_was_closed_meanwhile(page: Page, held: list[Route]) -> None:
    dialog = remove_first(page)
    expect(dialog.get_by_role("button", name="Keep it")).to_be_disabled()
    page.evaluate("document.querySelector('dialog[open]').close()")
    problem(held.pop(), 500, "internal", "A bug of the server.")
    expect(dialog.get_by_role("alert")).to_contain_text("A bug of the server.")
    dialog.get_by_role("button", name="Keep it").click()
    expect(dialog).to_be_hidden()


def test_dialog_that_is_open_again_before_its_closing_was_told_still_works(page: Page, held: list[Route]) -> None:
    dialog = remove_first(page)
    expect(dialog.get_by_role("button", name="Keep it")).to_be_disabled()
    problem(held.pop(), 500, "internal", "A bug of the server.")
    expect(dialog.get_by_role("alert")).to_contain_text("A bug of the server.")
    # A browser tells of a closing some time after it, here after the dialog was opened again.
    page.evaluate("document.querySelector('dialog[open]').dispatchEvent(new Event('close'))")
    dialog.get_by_role("button", name="Keep it").click()
    expect(dialog).to_be_hidden()


def test_waiting_for_a_busy_server_is_seen_in_the_dialog_and_can_be_given_up(page: Page, writable_site: str) -> None:
    sent: list[str] = []

    def busy(route: Route) -> None:
        if route.request.method == "GET":
            route.continue_()
            return
        sent.append(route.request.url)
        problem(route, 409, "busy", "Somebody else writes.", Retry_After="600")

    page.route("**/v1/documents*", busy)
    dialog = add_one(page)
    expect(dialog).to_contain_text("Trying again in 600")
    expect(dialog).to_contain_text("Trying again in 599")
    expect(dialog.get_by_role("status")).to_have_text("Somebody else is changing the documents.")
    expect(page.locator("#notice")).to_be_hidden()
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_be_hidden()
    page.wait_for_timeout(1500)
    assert len(sent) == 1
    assert documents(writable_site) == 8
    page.get_by_role("button", name="Add a document").click()
    expect(dialog).not_to_contain_text("Trying again")
    expect(dialog.get_by_role("button", name="Add")).to_be_enabled()


def test_a_server_that_has_room_again_does_what_the_dialog_asked(page: Page, writable_site: str) -> None:
    sent: list[str] = []

    def busy_once(route: Route) -> None:
        if route.request.method == "POST" and not sent:
            sent.append(route.request.url)
            problem(route, 429, "overloaded", "Too many.", Retry_After="1")
        else:
            route.continue_()

    page.route("**/v1/documents*", busy_once)
    add_one(page)
    expect(page.locator("#document-title")).to_have_text("New")
    assert documents(writable_site) == 9
