"""How the page looks: nothing that axe holds to be serious, nothing to scroll sideways, in every state and on every
screen. Pictures of all of them are kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from browsing import DESKTOP, PHONE, ask, fits, keep_picture, opened, settled, violations
from playwright.sync_api import Browser, Page, expect

QUESTION = "who found the gold in rome?"
SCREENS = {
    "light": (DESKTOP, "light"),
    "dark": (DESKTOP, "dark"),
    "phone": (PHONE, "light"),
    "phone-dark": (PHONE, "dark"),
}


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


STATES: tuple[Callable[[Page], None], ...] = (
    show_start, show_answer, show_no_answer, show_unsure, show_document, show_list, show_adding, show_removing,
    show_error,
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
