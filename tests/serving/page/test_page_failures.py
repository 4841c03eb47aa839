"""What the page does when it does not get what it asked for: it says so in one line, and goes on."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import httpx
from asking import KEY
from browsing import ask, opened, problem, settled
from playwright.sync_api import Browser, Page, Route, expect
from running import serving
from waiting import QUICK

from realm.serving.service import Service

QUESTION = "who found the gold in rome?"


def give_events(events: str, route: Route) -> None:
    """Answer a request with events, and end."""
    route.fulfill(body=events, content_type="text/event-stream")


def test_a_busy_server_is_waited_for_as_long_as_it_says(page: Page) -> None:
    asked: list[float] = []

    def busy(route: Route) -> None:
        asked.append(time.monotonic())
        if len(asked) == 1:
            problem(route, 429, "overloaded", "256 are waiting already.", Retry_After="2")
        else:
            route.continue_()

    page.route("**/v1/ask", busy)
    page.goto("/")
    page.fill("#question", QUESTION)
    page.press("#question", "Enter")
    expect(page.locator("#notice p")).to_contain_text("busy. Trying again in 2")
    expect(page.get_by_role("status")).to_contain_text("busy")
    settled(page)
    expect(page.locator("#notice")).to_be_hidden()
    assert len(asked) == 2
    assert 2 <= asked[1] - asked[0] < 20


def test_escape_ends_the_waiting(page: Page) -> None:
    page.route("**/v1/ask", lambda route: problem(route, 429, "overloaded", "Too many.", Retry_After="600"))
    page.goto("/")
    page.fill("#question", QUESTION)
    page.press("#question", "Enter")
    expect(page.locator("#notice p")).to_contain_text("Trying again")
    page.keyboard.press("Escape")
    expect(page.locator("#notice p")).to_have_text("Stopped.")
    page.wait_for_timeout(300)
    expect(page.locator("#notice p")).to_be_visible()
    page.unroute("**/v1/ask")
    ask(page, QUESTION)
    expect(page.locator(".answer")).to_be_visible()


def test_the_key_is_asked_for_sent_and_kept_for_the_session_only(browser: Browser, made_once: Path) -> None:
    with serving(Service(made_once, limits=QUICK), api_key=KEY) as (url, _), opened(browser, url) as page:
        page.goto("/#/ask?q=who")
        dialog = page.get_by_role("dialog", name="API key")
        for key, says in (("not this one", "asks for a key"), (KEY, "not accepted")):
            expect(dialog).to_contain_text(says)
            dialog.get_by_label("Key").fill(key)
            dialog.get_by_role("button", name="Continue").click()
        settled(page)
        expect(dialog).to_be_hidden()
        assert page.evaluate("Object.values(sessionStorage)") == [KEY]
        assert page.evaluate("Object.values(localStorage)") == []
        assert KEY not in page.url
        page.reload()
        settled(page)
        expect(page.locator("#info span").first).to_be_visible()
        expect(dialog).to_be_hidden()


def test_without_a_key_the_page_says_so_and_asks_again_on_request(page: Page) -> None:
    page.route("**/v1/**", lambda route: problem(route, 401, "unauthorized", "An API key is needed."))
    page.goto("/")
    dialog = page.get_by_role("dialog", name="API key")
    dialog.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("alert")).to_contain_text("key")
    page.locator("#notice button").click()
    expect(dialog).to_be_visible()


def test_a_server_that_is_gone_is_said_and_tried_again_on_request(page: Page) -> None:
    page.goto("/")
    page.wait_for_selector("#info span")
    page.route("**/v1/**", lambda route: route.abort())
    page.fill("#question", QUESTION)
    page.press("#question", "Enter")
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    expect(page.locator("#question")).to_have_value(QUESTION)
    page.unroute("**/v1/**")
    page.locator("#notice button").click()
    settled(page)
    expect(page.locator("#notice")).to_be_hidden()


def test_what_breaks_off_after_the_evidence_leaves_the_evidence(page: Page, site: str) -> None:
    stream = httpx.post(f"{site}/v1/ask", json={"question": QUESTION, "stream": True}).text
    first = stream.partition("\n\n")[0] + "\n\n"
    for rest, said in (
        ("", "ended before the answer"),
        (
            'event: error\ndata: {"error": {"code": "timeout", "message": "No answer in time."}}\n\n',
            "No answer in time.",
        ),
    ):
        page.route("**/v1/ask", partial(give_events, first + rest))
        page.goto("/")
        page.fill("#question", QUESTION)
        page.press("#question", "Enter")
        expect(page.locator("#notice p")).to_contain_text(said)
        expect(page.locator(".evidence li")).to_have_count(5)
        page.unroute("**/v1/ask")


def test_a_bug_of_the_server_is_said_with_the_id_that_its_log_has(page: Page) -> None:
    page.route("**/v1/ask", lambda route: problem(route, 500, "internal", "A bug of the server."))
    page.goto("/#/ask?q=who")
    expect(page.locator("#notice p")).to_have_text("A bug of the server. (request abc)")


def test_a_new_version_is_noticed_and_the_question_asked_again_on_request(browser: Browser, writable_site: str) -> None:
    with opened(browser, writable_site) as page:
        page.goto("/")
        ask(page, QUESTION)
        expect(page.locator("#info")).to_contain_text("8 documents")
        new = {"id": "new", "title": "New", "text": "The gold in Rome was found by a comet."}
        httpx.post(f"{writable_site}/v1/documents", json={"documents": [new]}, timeout=60).raise_for_status()
        page.evaluate("window.dispatchEvent(new Event('focus'))")
        expect(page.locator("#notice p")).to_contain_text("from version 1, now there is 2")
        expect(page.locator("#info")).to_contain_text("9 documents")
        page.locator("#notice button").click()
        settled(page)
        expect(page.locator(".footnote")).to_contain_text("version 2")
        expect(page.locator("#notice")).to_be_hidden()
