"""Documents in the browser: the place in the text, texts that would do harm as HTML, the list, adding and removing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from browsing import DESKTOP, PHONE, ask, fits, opened, settled
from playwright.sync_api import Browser, Page, Route, expect
from running import serving
from tiny_model import stories, write_jsonl
from waiting import QUICK

from realm.openqa.indexing import index_sources, remove_documents
from realm.openqa.model_folder import ModelFolder
from realm.records import Document
from realm.serving.service import Service

HARM = (
    '<script>window.harmed = 1</script><img src=x onerror="window.harmed = 2"> &lt;b&gt; &amp; </p></main>'
    "<h1>ghost</h1>\n"
    "\u202eright to left\u202c \u2067isolated\u2069 \x01 'quotes\" {{braces}} ${dollar}\n" + "gold" * 2000 + "\n"
    '<style>body { display: none }</style><a href="javascript:window.harmed = 3">the ghost found gold</a>'
)
EMOJI = "😀 The 🏰 castle of the 👑 king.\nThe wolf 🐺 found gold 🥇 in Rome. 😀 The end.\n"


@pytest.fixture(scope="module")
def library(model: ModelFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A knowledge base of 120 stories, of which the last two are special."""
    folder = tmp_path_factory.mktemp("library")
    harm = Document(
        "<img src=y onerror='window.harmed = 4'>/../%2e?#&", "</title><script>window.harmed = 5</script>", HARM
    )
    special = [harm, Document("emoji", "Emoji \U0001f600", EMOJI)]
    index_sources(folder / "kb", [write_jsonl(folder / "d.jsonl", [*stories(118, sentences=1), *special])], model)
    return folder / "kb"


@pytest.fixture(scope="module")
def site(library: Path) -> Iterator[str]:
    """The address of a server that only reads."""
    with serving(Service(library, limits=QUICK)) as (url, _):
        yield url


def place(**values: Any) -> str:
    """The address of a place in a document."""
    return f"/#/document?{urlencode(values)}"


def assert_unharmed(page: Page) -> None:
    """No text has become anything but text."""
    assert page.evaluate("window.harmed") is None
    found = page.evaluate(
        "['script', 'img', 'style', 'h1 h1'].map((name) => document.querySelectorAll(`main ${name}`).length)"
    )
    assert found == [0, 0, 0, 0]


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_texts_of_documents_are_never_html(browser: Browser, site: str, library: Path, size: tuple[int, int]) -> None:
    with opened(browser, site, size) as page:
        page.goto("/#/ask?" + urlencode({"q": "who found the gold?", "where": "id LIKE '<img%'"}))
        settled(page)
        passages = page.locator("blockquote, .excerpt").all_text_contents()
        assert passages
        assert all(passage in HARM for passage in passages)
        expect(page.locator("a.place").first).to_have_text("</title><script>window.harmed = 5</script>")
        assert_unharmed(page)
        assert fits(page)
        page.locator("a.place").first.click()
        page.wait_for_selector(".text mark")
        assert page.locator(".text").text_content() == HARM
        assert page.title().startswith("</title><script>")
        assert_unharmed(page)
        assert fits(page)
        page.goto("/#/documents?start=100")
        expect(page.locator(".documents li")).to_have_count(20)
        assert_unharmed(page)
        assert fits(page)


def test_a_place_is_counted_in_characters_also_after_those_that_take_two_units(page: Page) -> None:
    start = EMOJI.index("gold 🥇")
    page.goto(place(id="emoji", start=start, end=start + len("gold 🥇")))
    expect(page.locator(".text mark")).to_have_text("gold 🥇")
    assert page.locator(".text").text_content() == EMOJI
    before = page.evaluate("document.querySelector('.text mark').previousSibling.data")
    assert before == EMOJI[:start]


def test_an_answer_is_at_the_same_place_in_its_document_as_in_its_passage(page: Page) -> None:
    for question in ("who found the gold?", "where is the ghost?"):
        page.goto("/#/")
        ask(page, question)
        answer = page.locator(".answer").text_content()
        page.locator(".passage a.place").click()
        page.wait_for_selector(".text mark")
        assert "".join(page.locator(".text mark").all_text_contents()) == answer
        expect(page.locator(".text mark").first).to_be_in_viewport()


def test_a_document_of_megabytes_is_shown_soon_and_at_its_place(page: Page) -> None:
    lines = [f"Line {number} 😀 of a long document, which says little." for number in range(80_000)]
    lines[40_000] = "x" * 50_000 + " and " * 20_000
    text = "\n".join(lines)
    needle = "Line 70001 😀"
    start = text.index(needle)
    body = json.dumps({"id": "long", "title": "Long", "version": 1, "text": text, "source": "", "metadata": {}})
    page.route("**/v1/documents/long", lambda route: route.fulfill(body=body, content_type="application/json"))
    page.goto("/")
    page.wait_for_selector("#info span")
    begin = time.monotonic()
    page.evaluate("hash => { location.hash = hash; }", place(id="long", start=start, end=start + len(needle))[1:])
    page.wait_for_selector(".text mark")
    seconds = time.monotonic() - begin
    assert len(text) > 4_000_000
    assert page.locator(".text mark").text_content() == needle
    assert page.evaluate("document.querySelector('.text').textContent") == text
    expect(page.locator(".text mark")).to_be_in_viewport()
    page.wait_for_timeout(300)  # and there it stays
    expect(page.locator(".text mark")).to_be_in_viewport()
    assert seconds < 10  # of which most is the transfer through the test's own pipe


def test_the_list_goes_through_all_documents_a_page_at_a_time(page: Page, site: str) -> None:
    listed = httpx.get(f"{site}/v1/documents", params={"limit": 1000}).json()["documents"]
    names = [one["title"] or one["id"] for one in listed]
    page.goto("/")
    page.get_by_role("link", name="Documents").click()
    seen: list[str] = []
    for start in (0, 50, 100):
        expect(page.locator(".pager")).to_contain_text(f"{start + 1}–{min(start + 50, 120)} of 120")
        seen += page.locator(".documents a.place").all_text_contents()
        if start < 100:
            page.get_by_role("link", name="Next").click()
    assert seen == names
    expect(page.get_by_role("link", name="Next")).to_have_count(0)
    page.go_back()
    expect(page.locator(".pager")).to_contain_text("51–100 of 120")
    assert page.get_by_role("button", name="Remove").count() == 0
    assert page.get_by_role("button", name="Add").count() == 0


def test_a_document_of_a_long_list_is_opened_by_its_id(page: Page) -> None:
    page.goto("/#/documents")
    field = page.get_by_label("Id of a document")
    field.fill("emoji")
    field.press("Enter")
    expect(page.locator("#document-title")).to_have_text("Emoji 😀")


def test_a_document_that_is_not_there_is_said_and_a_version_that_is_not_kept_offers_the_present_one(page: Page) -> None:
    page.goto(place(id="nobody"))
    expect(page.get_by_role("alert")).to_contain_text("no document 'nobody'")
    expect(page.locator("#document-title")).to_be_focused()
    page.goto(place(id="emoji", version=77, start=0, end=1))
    expect(page.get_by_role("alert")).to_contain_text("77")
    page.locator("#notice button").click()
    expect(page.locator("#document-title")).to_have_text("Emoji 😀")


def test_a_document_is_added_and_answers_and_is_removed_after_a_question(browser: Browser, writable_site: str) -> None:
    title, text = "Über <b>Gold</b>", "The comet found 😀 the gold.\n\n<i>Nobody</i> else did."
    with opened(browser, writable_site) as page:
        page.goto("/#/documents")
        page.get_by_role("button", name="Add a document").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Title").fill(title)
        dialog.get_by_label("Text").fill(text)
        dialog.get_by_role("button", name="Add").click()
        expect(page.locator("#notice p")).to_contain_text("Added")
        expect(page.locator("#document-title")).to_have_text(title)
        assert page.locator(".text").text_content() == text
        expect(page.locator("#info")).to_contain_text("9 documents")
        new = page.evaluate("new URLSearchParams(location.hash.split('?')[1]).get('id')")
        page.goto("/#/ask?" + urlencode({"q": "who found the gold?", "where": f"id = '{new}'"}))
        settled(page)
        expect(page.locator("a.place").first).to_have_text(title)
        page.goto("/#/documents")
        page.get_by_role("button", name=f"Remove {title}").click()
        expect(dialog).to_contain_text(title)
        dialog.get_by_role("button", name="Keep it").click()
        expect(page.locator(".documents li")).to_have_count(9)
        page.get_by_role("button", name=f"Remove {title}").click()
        dialog.get_by_role("button", name="Remove").click()
        expect(page.locator(".documents li")).to_have_count(8)
        expect(page.locator("#notice p")).to_contain_text("Removed")
        listed = httpx.get(f"{writable_site}/v1/documents").json()["documents"]
        assert new not in [one["id"] for one in listed]


def test_what_cannot_be_added_stays_in_the_dialog_with_the_reason(browser: Browser, writable_site: str) -> None:
    def full(route: Route) -> None:
        if route.request.method != "POST":
            route.continue_()
            return
        body = {"error": {"code": "too_large", "message": "The body is too long."}, "request_id": "abc"}
        route.fulfill(status=413, json=body)

    with opened(browser, writable_site) as page:
        page.route("**/v1/documents*", full)
        page.goto("/#/documents")
        page.get_by_role("button", name="Add a document").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Title").fill("Long")
        dialog.get_by_label("Text").fill("gold")
        dialog.get_by_role("button", name="Add").click()
        expect(dialog.get_by_role("alert")).to_have_text("The body is too long.")
        expect(dialog.get_by_label("Text")).to_have_value("gold")


def test_the_list_follows_what_others_change(browser: Browser, writable_site: str, kb: Path) -> None:
    with opened(browser, writable_site) as page:
        page.goto("/#/documents")
        expect(page.locator(".documents li")).to_have_count(8)
        page.focus("#add")
        remove_documents(kb, ["story/1"])
        while httpx.get(f"{writable_site}/v1/info").json()["version"] == 1:
            time.sleep(0.05)
        page.evaluate("window.dispatchEvent(new Event('focus'))")
        expect(page.locator(".documents li")).to_have_count(7)
        expect(page.locator("#add")).to_be_focused()
