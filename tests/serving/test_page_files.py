"""The files of the page, without a browser: small, complete, and without anything from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import pytest
from asking import KEY, app_of, send

from realm.serving import assets
from realm.serving.service import Service

PAGE = Path(assets.__file__).parent / assets.PAGE
FILES = sorted(path.relative_to(PAGE).as_posix() for path in PAGE.rglob("*") if path.is_file())
TEXTS = {name: (PAGE / name).read_text(encoding="utf-8") for name in FILES}
SCRIPTS = [name for name in FILES if name.endswith(".js")]


def test_the_page_is_small() -> None:
    assert sum((PAGE / name).stat().st_size for name in FILES) < 65_000
    assert max(text.count("\n") for text in TEXTS.values()) <= 250


def test_every_file_that_is_named_is_there_and_every_file_is_named() -> None:
    named = {"index.html"}
    for name, text in TEXTS.items():
        folder = PurePosixPath(name).parent
        for found in re.findall(r'(?:src|href|from) ?=? ?"(?:\./)?([\w/.-]+\.(?:js|css|svg))"', text):
            named.add((folder / found).as_posix())
    assert named == set(FILES)


def test_nothing_comes_from_elsewhere() -> None:
    for name, text in TEXTS.items():
        assert re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]+", text.replace("http://www.w3.org/2000/svg", "")) == [], (
            name
        )
        assert "@import" not in text, name


def test_nothing_stands_in_the_html_that_the_policy_forbids() -> None:
    html = TEXTS["index.html"]
    assert re.findall(r"<style|\sstyle=|\son\w+=|javascript:", html) == []
    assert re.findall(r"<script(?![^>]*\ssrc=)", html) == []


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_script_reads_html_or_code_from_texts(name: str) -> None:
    forbidden = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|setHTML|eval\(|new Function|srcdoc|\.cssText"
    )
    assert re.findall(forbidden, TEXTS[name]) == []


def test_the_page_is_served_without_a_key_under_a_strict_policy(shared: Service) -> None:
    app = app_of(shared, api_key=KEY)
    for name in ["", *FILES]:
        response = send(app, "GET", f"/{name}")
        assert response.status_code == 200, name
        assert response.content == (PAGE / (name or "index.html")).read_bytes()
        policy = response.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        if name.endswith(".js"):
            assert "javascript" in response.headers["content-type"]
