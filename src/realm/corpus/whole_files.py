"""Files that are one document each: plain text, Markdown, HTML.

Knows these formats, not folders or ids. Read `read_text`, `read_markdown` and `read_html`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from realm.corpus.fields import is_blank, require_text
from realm.corpus.html_text import html_text
from realm.corpus.lines import decode, read_whole
from realm.corpus.skips import BadRecord, Skipper
from realm.records import Document

_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+(.*?)[ \t]*#*[ \t]*")
_UNDERLINE = re.compile(r" {0,3}(?:=+|-{3,})[ \t]*")
_FENCE = re.compile(r" {0,3}(?:```|~~~)")
_SUFFIX = re.compile(r"(?<=.)\.[^.]+(?:\.gz|\.zst)?$", re.IGNORECASE)


def read_text(path: Path, name: str, skipper: Skipper) -> Iterator[Document]:
    """A text file as one document; its title is its name made readable."""
    try:
        text = require_text({"text": decode(read_whole(path), 0)}, "text", "no_text")
    except BadRecord as bad:
        skipper.handle(str(path), bad)
        return
    yield Document(id=name, title=_readable(name), text=text, source=str(path))


def read_markdown(path: Path, name: str, skipper: Skipper) -> Iterator[Document]:
    """A Markdown file as one document; its title is the first heading, or the name made readable."""
    for document in read_text(path, name, skipper):
        title = _first_heading(document.text) or document.title
        yield Document(id=name, title=title, text=document.text, source=document.source)


def read_html(path: Path, name: str, skipper: Skipper) -> Iterator[Document]:
    """An HTML page as one document: its readable text, which offsets point into, not the markup."""
    try:
        title, text = html_text(read_whole(path))
        if is_blank(text):
            raise BadRecord("no_text", "no text to read besides markup, scripts and navigation")
    except BadRecord as bad:
        skipper.handle(str(path), bad)
        return
    yield Document(id=name, title=title or _readable(name), text=text, source=str(path))


def _readable(name: str) -> str:
    """`how_to-win.txt` as "how to win"."""
    stem = _SUFFIX.sub("", name.rpartition("/")[2])
    return stem.replace("_", " ").replace("-", " ").strip()


def _first_heading(text: str) -> str:
    """The first heading of a Markdown text that is not part of a code block, or ""."""
    previous, is_code = "", False
    for line in text.splitlines():
        if _FENCE.match(line):
            is_code = not is_code
            previous = ""
        elif not is_code:
            heading = _HEADING.fullmatch(line)
            if heading and heading[1]:
                return heading[1].strip()
            if previous and _UNDERLINE.fullmatch(line):
                return previous
            previous = line.strip()
    return ""
