"""How the page looks: nothing that axe holds to be serious, nothing to scroll sideways, in every state, on both
sizes of screen and in both themes. Pictures of all of them are kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from browsing import DESKTOP, PHONE, ask, fits, keep_picture, opened, problem, settled, violations
from playwright.sync_api import Browser, Locator, Page, Route, expect

QUESTION = "who found the gold in rome?"
# Both sizes and both themes once: what fits does not depend on colours, and contrast not on the size.
SCREENS = {"light": (DESKTOP, "light"), "phone-dark": (PHONE, "dark")}


def show_start(page: Page) -> None:
    """Nothing asked yet."""
    page.goto("/")


def show_answer(page: Page) -> None:
    """An answer, with all there is to choose."""
    page.goto("/")
    ask(page, QUESTION)
    page.click("summary")
    page.get_by_role("button", name="Show all").first.click()


def show_no_answer(page: Page) -> None:
    """No answer."""
    page.goto("/#/ask?q=who&least=1")
    settled(page)


def show_unsure(page: Page) -> None:
    """An answer that was asked for although it is unsure."""
    page.goto("/#/ask?q=who&unsure=1")
    settled(page)


def show_document(page: Page) -> None:
    """A document at a place."""
    page.goto("/#/document?id=story%2F4&start=40&end=60")
    page.wait_for_selector(".text mark")


def show_list(page: Page) -> None:
    """The list of documents."""
    page.goto("/#/documents")
    page.wait_for_selector(".documents")


def show_adding(page: Page) -> None:
    """The form for a new document."""
    show_list(page)
    page.click("#add")


def show_removing(page: Page) -> None:
    """The question before a document is removed."""
    show_list(page)
    page.get_by_role("button", name="Remove").first.click()


def show_error(page: Page) -> None:
    """Something that went wrong."""
    page.goto("/#/ask?q=who&where=colour+%3D+1")
    page.wait_for_selector("#notice[data-kind=problem]")


def show_missing(page: Page) -> None:
    """A document that is not there."""
    page.goto("/#/document?id=nobody")
    page.wait_for_selector("#notice[data-kind=problem]")


def show_empty_list(page: Page) -> None:
    """A page of the list with nothing on it."""
    page.goto("/#/documents?start=5000")
    expect(page.locator("#documents")).to_contain_text("There are none here.")


def show_long_list(page: Page) -> None:
    """A list of more documents than anybody looks through."""
    page.route("**/v1/documents?*", lambda route: route.fulfill(json={**route.fetch().json(), "total": 300_000}))
    show_list(page)
    expect(page.get_by_label("Id of a document")).to_be_visible()


def show_searching(page: Page) -> None:
    """A question that is being answered."""
    page.route("**/v1/ask", lambda route: None)
    page.goto("/#/ask?q=who")
    page.wait_for_selector(".waiting")


def show_busy(page: Page) -> None:
    """A question that waits until the server has room."""
    page.route("**/v1/ask", lambda route: problem(route, 429, "overloaded", "Too many.", Retry_After="600"))
    page.goto("/#/ask?q=who")
    expect(page.locator("#notice")).to_contain_text("Trying again")


def show_key(page: Page) -> None:
    """The form for the key."""
    page.route("**/v1/ask", lambda route: problem(route, 401, "unauthorized", "An API key is needed."))
    page.goto("/#/ask?q=who")
    expect(page.get_by_role("dialog")).to_contain_text("asks for a key")


def send_removal(page: Page, answer: Callable[[Route], None]) -> Locator:
    """Confirm that a document is to go, and have the request answered like this; gives the dialog."""
    page.route("**/v1/documents/**", answer)
    show_removing(page)
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Remove").click()
    return dialog


def show_sending(page: Page) -> None:
    """A change that was sent and is not done yet."""
    expect(send_removal(page, lambda route: None)).to_contain_text("Sent.")


def show_busy_dialog(page: Page) -> None:
    """A change that waits until the server has room."""
    dialog = send_removal(page, lambda route: problem(route, 409, "busy", "Locked.", Retry_After="600"))
    expect(dialog).to_contain_text("Trying again")


def show_failed_dialog(page: Page) -> None:
    """A change that was refused."""
    dialog = send_removal(page, lambda route: problem(route, 403, "read_only", "This server only reads."))
    expect(dialog.get_by_role("alert")).to_be_visible()


STATES: tuple[Callable[[Page], None], ...] = (
    show_start, show_answer, show_no_answer, show_unsure, show_document, show_list, show_adding, show_removing,
    show_error, show_missing, show_empty_list, show_long_list, show_searching, show_busy, show_key, show_sending,
    show_busy_dialog, show_failed_dialog,
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("screen", SCREENS)
def test_every_state_is_accessible_and_fits(browser: Browser, writable_site: str, pictures: Path, screen: str) -> None:
    size, scheme = SCREENS[screen]
    for show in STATES:
        with opened(browser, writable_site, size, color_scheme=scheme) as page:
            show(page)
            page.wait_for_selector("#info span")
            name = show.__name__.removeprefix("show_")
            keep_picture(page, pictures, f"{name}-{screen}")
            assert violations(page) == [], name
            assert fits(page), name


def test_axe_sees_what_is_wrong(page: Page) -> None:
    page.goto("/")
    page.evaluate("document.querySelector('main').append(document.createElement('button'))")
    assert [one.split(":")[0] for one in violations(page)] == ["button-name"]


def background(page: Page) -> tuple[int, ...]:
    """The colour of the page: red, green and blue, 0 to 255."""
    pixel = page.evaluate("""() => {
      const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d");
      canvas.fillStyle = getComputedStyle(document.body).backgroundColor;
      canvas.fillRect(0, 0, 1, 1);
      return [...canvas.getImageData(0, 0, 1, 1).data.slice(0, 3)];
    }""")
    return tuple(pixel)


def test_the_theme_is_the_systems_until_one_is_chosen_which_is_kept(browser: Browser, site: str) -> None:
    with opened(browser, site, color_scheme="dark") as page:
        page.goto("/")
        assert max(background(page)) < 64
        button = page.get_by_role("button", name="Dark theme")
        expect(button).to_have_attribute("aria-pressed", "true")
        button.click()
        assert min(background(page)) > 192
        expect(button).to_have_attribute("aria-pressed", "false")
        page.reload()
        assert min(background(page)) > 192
        page.emulate_media(color_scheme="light")
        button.click()
        assert max(background(page)) < 64


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_nothing_moves_for_those_who_want_that(browser: Browser, site: str, motion: str) -> None:
    with opened(browser, site, reduced_motion=motion) as page:
        page.goto("/")
        ask(page, QUESTION)
        name = page.locator(".bar").first.evaluate("bar => getComputedStyle(bar, '::before').animationName")
        assert (name == "none") is (motion == "reduce")


def test_on_paper_there_is_the_answer_and_nothing_to_press(page: Page, pictures: Path) -> None:
    page.goto("/")
    page.get_by_role("button", name="Dark theme").click()
    ask(page, QUESTION)
    page.emulate_media(media="print")
    for hidden in (".top", "#question-form button", "#options", ".more"):
        assert not page.locator(hidden).first.is_visible(), hidden
    for kept in ("#question", ".answer", ".passage mark", ".evidence li"):
        expect(page.locator(kept).first).to_be_visible()
    assert min(background(page)) > 192
    excerpt = page.locator(".excerpt").first
    assert excerpt.evaluate("text => text.scrollHeight <= text.clientHeight + 1")
    keep_picture(page, pictures, "answer-paper")


def test_focus_theme_and_bars_are_seen_in_forced_colours(browser: Browser, site: str, pictures: Path) -> None:
    with opened(browser, site, forced_colors="active") as page:
        page.goto("/")
        expect(page.locator("#question")).to_be_focused()
        assert page.locator(".field").evaluate("field => getComputedStyle(field).outlineStyle") == "solid"
        assert "gradient" in page.locator(".half").evaluate("half => getComputedStyle(half).backgroundImage")
        ask(page, QUESTION)
        for bar in page.locator(".bar").all():
            full, empty, edge = bar.evaluate("""bar => [
              getComputedStyle(bar, "::before").backgroundColor, getComputedStyle(bar).backgroundColor,
              getComputedStyle(bar).borderTopStyle]""")
            assert full != empty
            assert edge == "solid"
        link = page.locator("nav a[aria-current]")
        assert link.evaluate("link => getComputedStyle(link).textDecorationLine") == "underline"
        keep_picture(page, pictures, "answer-forced")


def test_screen_readers_are_told_where_they_are(page: Page) -> None:
    page.goto("/")
    page.keyboard.press("Shift+Tab")
    expect(page.locator("#question")).not_to_be_focused()
    page.get_by_role("link", name="Documents").click()
    expect(page.get_by_role("heading", name="Documents")).to_be_focused()
    expect(page.get_by_role("link", name="Documents")).to_have_attribute("aria-current", "page")
    page.locator(".documents a.place").first.click()
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    for role in ("banner", "main", "contentinfo", "navigation"):
        assert page.get_by_role(role).count() >= 1
