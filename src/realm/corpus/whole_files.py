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

_HEADING = re.compile(r" {0,3}#{1,6}(?:[ \t]|$)")
_UNDERLINE = re.compile(r" {0,3}(?:=+|-{3,})[ \t]*")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_KEY = re.compile(r"[\w\"'][^:]*:(?:\s|$)")
_TITLE = re.compile(r"title:\s+(.*)")
_STARTS_OTHER_YAML = frozenset("|>&*!{[%@`#~")
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
    """A Markdown file as one document; its title is that of its front matter, the first heading, or its name."""
    for document in read_text(path, name, skipper):
        lines = document.text.splitlines()
        front_matter = _front_matter(lines)
        title = _yaml_title(front_matter) or _first_heading(lines[len(front_matter) :]) or document.title
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


def _front_matter(lines: list[str]) -> list[str]:
    """The YAML that a Markdown text begins with, from `---` to `---`, or nothing."""
    if lines and lines[0].rstrip() == "---":
        for count, line in enumerate(lines[1:], 2):
            if line.rstrip() in ("---", "..."):
                return lines[:count] if any(map(_KEY.match, lines[1:count])) else []
    return []


def _yaml_title(lines: list[str]) -> str:
    """What `title:` says in YAML, if that stands in its line, or ""."""
    value = next((found[1].strip() for found in map(_TITLE.match, lines) if found), "")
    quote = value[:1]
    if quote in _STARTS_OTHER_YAML:
        return ""
    if quote in ("'", '"'):
        inner = value[1:].rpartition(quote)[0].strip()
        return inner.replace("''", "'") if quote == "'" else inner.replace('\\"', '"')
    return value.partition(" #")[0].rstrip()


def _first_heading(lines: list[str]) -> str:
    """The first heading of a Markdown text that is not part of a code block, or ""."""
    previous = fence = ""
    for line in lines:
        mark = _FENCE.match(line)
        behind = line[mark.end() :] if mark else ""
        if fence:
            if mark and mark[1].startswith(fence) and not behind.strip():
                fence = ""
        elif mark and not (mark[1][0] == "`" and "`" in behind):
            previous, fence = "", mark[1]
        elif _HEADING.match(line):
            previous = ""
            if heading := _heading(line):
                return heading
        elif previous and _UNDERLINE.fullmatch(line):
            return previous
        else:
            previous = "" if _is_break(line) else line.strip()
    return ""


def _heading(line: str) -> str:
    """`## A heading ##` as "A heading"."""
    text = line.strip().lstrip("#").strip()
    before = text.rstrip("#")
    is_closed = not before or before[-1].isspace()
    return before.rstrip() if is_closed else text


def _is_break(line: str) -> bool:
    """Whether a line such as `* * *` stands between paragraphs."""
    marks = "".join(line.split())
    return len(marks) >= 3 and marks[0] in "-*_" and not marks.strip(marks[0])
