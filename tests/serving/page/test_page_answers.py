"""Asking in the browser: the answer in its passage, the evidence, and no answer. The oracle is the same knowledge base
without a server, and without a page."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from browsing import ask, settled
from playwright.sync_api import Page, Request, Route, expect

from realm.openqa.ask import OpenQA

QUESTION = "who found the gold in rome?"


@pytest.fixture
def asked(page: Page) -> list[dict[str, Any]]:
    """The bodies of the questions that the page sends."""
    bodies: list[dict[str, Any]] = []

    def note(request: Request) -> None:
        if request.url.endswith("/v1/ask"):
            bodies.append(json.loads(request.post_data or ""))

    page.on("request", note)
    return bodies


def shown_places(page: Page) -> list[str]:
    """Where the passages on the page say that they stand, from top to bottom."""
    return [str(href) for href in page.eval_on_selector_all("a.place", "all => all.map((one) => one.hash)")]


def test_an_answer_stands_marked_in_its_passage_with_title_confidence_and_the_other_evidence(
    page: Page, reference: OpenQA
) -> None:
    answer = reference.ask(QUESTION)
    chosen = next(one for one in answer.evidence if one.start is not None)
    others = [one for one in answer.evidence if one is not chosen]
    assert chosen.start is not None
    page.goto("/")
    ask(page, QUESTION)
    expect(page.locator(".answer")).to_have_text(answer.text or "")
    passage = page.locator(".passage blockquote")
    assert passage.text_content() == chosen.text
    before = passage.evaluate("quote => quote.querySelector('mark').previousSibling?.data ?? ''")
    assert before == chosen.text[: chosen.start - chosen.block_start]
    expect(passage.locator("mark")).to_have_text(answer.text or "")
    expect(page.locator(".passage a.place")).to_have_text(chosen.title or chosen.document_id)
    expect(page.get_by_role("meter")).to_have_attribute("aria-valuenow", str(round(100 * answer.confidence)))
    assert page.locator(".evidence .excerpt").all_text_contents() == [one.text for one in others]
    ranks = [str(answer.evidence.index(one) + 1) for one in others]
    assert page.locator(".evidence .rank").all_text_contents() == ranks
    figures = page.locator(".evidence li").first.locator(".scores .number").all_text_contents()
    assert [float(one) for one in figures] == pytest.approx([others[0].score, others[0].lexical_score], rel=0.05)
    assert QUESTION in page.title()


def test_bars_are_as_long_as_scores_are_high(page: Page, reference: OpenQA) -> None:
    evidence = reference.ask(QUESTION).evidence
    page.goto("/")
    ask(page, QUESTION)
    lengths: dict[str, list[tuple[str, float]]] = page.evaluate("""() => {
      const rows = [...document.querySelectorAll(".passage, .evidence li")];
      const length = (bar) => parseFloat(getComputedStyle(bar, "::before").width);
      return Object.fromEntries(["Vectors", "Words"].map((name, kind) => [name, rows.map((row) =>
        [row.querySelector(".rank").textContent, length(row.querySelectorAll(".bar:not(.sure)")[kind])])]));
    }""")
    for name, field in (("Vectors", "score"), ("Words", "lexical_score")):
        of_rank = {int(rank): length for rank, length in lengths[name]}
        scores = [getattr(one, field) for one in evidence]
        by_score = sorted(range(len(scores)), key=lambda place: scores[place])
        by_length = [of_rank[place + 1] for place in by_score]
        assert by_length == sorted(by_length)
        assert max(by_length) > 2 * min(by_length)


def test_evidence_is_shown_before_the_answer_however_the_stream_is_cut(page: Page, site: str) -> None:
    stream = httpx.post(f"{site}/v1/ask", json={"question": QUESTION, "stream": True}).content
    first = stream.index(b"\n\n") + 2
    # Order: the evidence with the first byte of what follows; then the rest, a byte at a time.
    page.add_init_script(f"""{{
      const bytes = new Uint8Array({list(stream)}), [whole, first] = [window.fetch, {first + 1}];
      window.fetch = async (path, ...rest) => path !== "v1/ask" ? whole(path, ...rest) :
        new Response(new ReadableStream({{ start(stream) {{
          for (let at = 0; at < first; at += 7) stream.enqueue(bytes.slice(at, Math.min(at + 7, first)));
          window.goOn = () => {{
            for (let at = first; at < bytes.length; at += 1) stream.enqueue(bytes.slice(at, at + 1));
            stream.close();
          }};
        }} }}));
    }}""")
    page.goto("/")
    page.fill("#question", QUESTION)
    page.press("#question", "Enter")
    expect(page.locator(".evidence li")).to_have_count(5)
    expect(page.locator("#result")).to_have_attribute("aria-busy", "true")
    expect(page.locator(".label")).to_contain_text("Reading 5 passages")
    expect(page.get_by_role("status")).to_have_text("5 passages found. Reading.")
    page.evaluate("window.goOn()")
    settled(page)
    expect(page.locator(".answer")).to_have_count(1)
    expect(page.get_by_role("status")).to_contain_text("Answer: ")


def test_only_what_was_chosen_is_sent(page: Page, asked: list[dict[str, Any]]) -> None:
    page.goto("/")
    ask(page, QUESTION)
    assert asked == [{"question": QUESTION, "top": 5, "stream": True}]
    page.click("summary")
    page.fill("#least", "40")
    settled(page)
    page.fill("#top", "3")
    page.fill("#where", "id != 'story/1'")
    page.press("#where", "Enter")
    expect(page.locator("a.place")).to_have_count(3)
    chosen = {"question": QUESTION, "top": 3, "stream": True, "min_confidence": 0.4, "filter": "id != 'story/1'"}
    assert asked[-1] == chosen
    expect(page.locator("#options summary")).to_have_text(
        "Options · at least 40\u00a0% sure · 3 passages · id != 'story/1'"
    )
    page.click("#least-reset")
    settled(page)
    assert "min_confidence" not in asked[-1]


def test_the_threshold_begins_where_the_model_was_calibrated(page: Page) -> None:
    def calibrated(route: Route) -> None:
        route.fulfill(json={**route.fetch().json(), "is_calibrated": True, "min_confidence": 0.24})

    page.goto("/")
    expect(page.locator("#least-said")).to_have_text("no limit")
    page.route("**/v1/info", calibrated)
    page.reload()
    expect(page.locator("#least-said")).to_have_text("24\u00a0%, as calibrated")
    expect(page.locator("#least")).to_have_value("24")
    expect(page.locator("#least-reset")).to_be_hidden()


def test_without_an_answer_the_evidence_is_shown_and_the_unsure_answer_on_request(
    page: Page, reference: OpenQA, asked: list[dict[str, Any]]
) -> None:
    answer = reference.ask(QUESTION)
    page.goto("/#/ask?q=who+found+the+gold+in+rome%3F&least=1")
    settled(page)
    expect(page.get_by_role("article")).to_have_accessible_name("No answer")
    assert answer.text is not None
    assert answer.text not in page.locator("article").inner_text()
    assert page.locator(".excerpt").all_text_contents() == [one.text for one in answer.evidence]
    page.get_by_role("link", name="Show the unsure answer").click()
    expect(page.locator(".card.unsure .answer")).to_have_text(answer.text)
    assert [body["min_confidence"] for body in asked] == [1, 0]
    page.go_back()
    expect(page.locator(".card.none")).to_be_visible()


def test_a_filter_that_no_document_fits_or_that_is_none_is_said_in_one_line(page: Page) -> None:
    page.goto("/#/ask?q=who&where=id+%3D+'nowhere'")
    settled(page)
    expect(page.locator(".card.none")).to_contain_text("No document has passages and fits")
    page.goto("/#/ask?q=who&where=colour+%3D+1")
    expect(page.locator("#notice p")).to_contain_text("colour")
    expect(page.get_by_role("alert")).to_contain_text("colour")


def test_a_question_can_be_linked_reloaded_and_gone_back_to_without_asking_again(
    page: Page, asked: list[dict[str, Any]]
) -> None:
    page.goto("/")
    ask(page, QUESTION)
    link = page.url
    answer = page.locator(".answer").inner_text()
    places = shown_places(page)
    page.locator("a.place").nth(1).click()
    page.wait_for_selector(".text mark")
    page.get_by_role("link", name="Back to the answer").click()
    settled(page)
    assert (page.url, len(asked)) == (link, 1)
    assert page.evaluate("document.activeElement.hash") == places[1]
    page.reload()
    settled(page)
    assert len(asked) == 2
    assert (page.locator(".answer").inner_text(), shown_places(page)) == (answer, places)
    expect(page.locator("#question")).to_have_value(QUESTION)


def test_the_keyboard_is_enough(page: Page) -> None:
    page.goto("/")
    expect(page.locator("#question")).to_be_focused()
    page.keyboard.type(QUESTION)
    page.keyboard.press("Enter")
    settled(page)
    places = page.locator("a.place")
    for number in (0, 1, 2):
        page.keyboard.press("ArrowDown")
        expect(places.nth(number)).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(places.nth(1)).to_be_focused()
    outline = places.nth(1).evaluate("link => getComputedStyle(link).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    expect(page.locator(".text mark").first).to_be_focused()
    page.keyboard.press("Escape")
    expect(places.nth(1)).to_be_focused()
    page.keyboard.press("/")
    expect(page.locator("#question")).to_be_focused()
    page.keyboard.press("/")
    expect(page.locator("#question")).to_have_value("/")  # which had been selected, as for a new question


def test_the_shortcut_of_one_key_can_be_switched_off_and_stays_off(page: Page) -> None:
    page.goto("/")
    expect(page.locator("#question")).to_be_focused()
    page.click("summary")
    page.get_by_label("goes to the question").uncheck()
    expect(page.locator(".field kbd")).to_be_hidden()
    for _ in range(2):
        page.locator("summary").focus()
        page.keyboard.press("/")
        expect(page.locator("summary")).to_be_focused()
        page.reload()
        expect(page.locator("#question")).to_be_focused()
    page.click("summary")
    page.get_by_label("goes to the question").check()
    page.keyboard.press("Tab")
    page.keyboard.press("/")
    expect(page.locator("#question")).to_be_focused()
