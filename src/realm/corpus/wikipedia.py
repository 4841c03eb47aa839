"""Articles from a MediaWiki XML dump, plain or bzip2, one page at a time.

    dump ──expat──> Page ──filters──> articles ──wikitext──> Document

Memory is bounded by one page. A dump has neither a document type nor entities of its own; an XML file that brings them
is refused before anything in it is expanded. Knows dumps, not markup. Read `read_wikipedia_dump` first.
"""

from __future__ import annotations

import bz2
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from xml.parsers import expat

from realm.corpus.lines import open_source
from realm.corpus.skips import BadRecord, Skipper
from realm.corpus.wikitext import plain_text
from realm.records import Document

MAX_PAGE_CHARACTERS = 8 << 20  # four times what MediaWiki lets a page have

_READ_BYTES = 1 << 16
_MAX_TOKEN_BYTES = 64 << 20
_MAX_DEPTH = 32
_HIDDEN_KEYS = ("6", "14")  # namespaces of files and categories, in any language
_HIDDEN_NAMES = frozenset(["file", "image", "media", "category"])

_LIST_TITLE = re.compile(r"(?:List|Lists|Index|Outline) of |.*\(disambiguation\)", re.DOTALL)
_DISAMBIGUATION = re.compile(
    r"\{\{\s*(?:disambig|dab\s*[|}]|disamb\s*[|}]|hndis|geodis|human name disambig|place name disambig)|__DISAMBIG__",
    re.IGNORECASE,
)
_REDIRECT = re.compile(r"\s*#REDIRECT\b", re.IGNORECASE)
_WANTED = {
    "mediawiki/page/title": "title", "mediawiki/page/ns": "namespace", "mediawiki/page/id": "id",
    "mediawiki/page/revision/id": "revision", "mediawiki/page/revision/timestamp": "timestamp",
    "mediawiki/page/revision/model": "model", "mediawiki/page/revision/text": "text",
}  # fmt: skip


@dataclass
class _Page:
    """A page as the dump has it.

    Attributes:
        place: Where it begins, for people.
        fields: Text of the wanted elements, of the last revision.
        is_redirect: Whether it only leads elsewhere.
        is_too_long: Whether it was too long to be kept.
    """

    place: str
    fields: dict[str, str] = field(default_factory=dict)
    is_redirect: bool = False
    is_too_long: bool = False


def read_wikipedia_dump(path: Path, skipper: Skipper) -> Iterator[Document]:
    """Read the articles of a dump as plain text.

    Left out, and counted whatever the skipper does with bad records: pages outside the main namespace (`namespace`),
    redirects (`redirect`), lists, indexes and outlines (`list_title`), disambiguation pages (`disambiguation`), pages
    that are no wikitext (`other_model`) or have no prose (`no_prose`).

    Args:
        path: `pages-articles.xml`, or `.xml.bz2` of one or of many streams.
        skipper: What to do with a page that cannot be used, and with a file that breaks off.

    Returns:
        Documents: page id, title, prose; metadata `revision` and `timestamp`.

    Raises:
        SourceError: The file cannot be opened, or, unless bad records are skipped: it breaks off, is no dump or no XML,
            or a page is too long or lacks its id.

    Source: google-research `language/orqa` leaves out the same titles, and wikiextractor the disambiguation pages.
    """
    reader = _DumpReader(path)
    with open_source(path) as opened:
        file = bz2.BZ2File(opened) if path.suffix.lower() == ".bz2" else opened
        while True:
            stopped = reader.read(file)
            for page in reader.take():
                try:
                    document = _document_of(page, reader.hidden, skipper)
                except BadRecord as bad:
                    skipper.handle(page.place, bad)
                    continue
                if document is not None:
                    yield document
            if isinstance(stopped, BadRecord):
                skipper.handle(f"{path}:{reader.line}", stopped)
            if stopped:
                return


class _DumpReader:
    """Gives XML to expat in small parts and collects finished pages."""

    def __init__(self, path: Path) -> None:
        self.hidden = _HIDDEN_NAMES
        self._path = path
        self._pages: list[_Page] = []
        self._page: _Page | None = None
        self._open: list[str] = []
        self._parts: list[str] | None = None
        self._characters = 0
        self._key = ""
        self._fed_bytes = 0
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._parser.StartDoctypeDeclHandler = self._refuse

    @property
    def line(self) -> int:
        """The line that was read last."""
        return self._parser.CurrentLineNumber

    def take(self) -> list[_Page]:
        """Pages finished since the last time."""
        pages, self._pages = self._pages, []
        return pages

    def read(self, file: IO[bytes]) -> BadRecord | bool:
        """Read a little on; gives whether that was the end, or what is wrong with the file."""
        try:
            data = file.read(_READ_BYTES)
        except (OSError, EOFError, ValueError) as exc:
            return BadRecord("broken_stream", f"the file breaks off here: {exc}")
        try:
            self._parser.Parse(data, not data)
        except BadRecord as bad:
            return bad
        except (expat.ExpatError, ValueError, LookupError) as exc:
            return BadRecord("broken_xml", f"broken XML: {exc}; get the dump again")
        self._fed_bytes += len(data)
        if self._fed_bytes - max(0, self._parser.CurrentByteIndex) > _MAX_TOKEN_BYTES:
            return BadRecord("broken_xml", f"broken XML: one tag is larger than {_MAX_TOKEN_BYTES >> 20} MiB")
        return not data

    def _refuse(self, *_: object) -> None:
        raise BadRecord("unsafe_xml", "it declares a document type, which no dump does and which may hide entities")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._open.append(name)
        if len(self._open) > _MAX_DEPTH:
            raise BadRecord("broken_xml", f"elements are nested deeper than {_MAX_DEPTH}, which no dump does")
        if len(self._open) == 1 and name != "mediawiki":
            raise BadRecord("not_a_dump", f"the file holds <{name[:40]}>; a dump of MediaWiki pages holds <mediawiki>")
        path = "/".join(self._open)
        if path == "mediawiki/page":
            self._page = _Page(f"{self._path}:{self.line}")
        elif path == "mediawiki/page/redirect" and self._page:
            self._page.is_redirect = True
        elif path in _WANTED or path == "mediawiki/siteinfo/namespaces/namespace":
            self._parts, self._characters, self._key = [], 0, attributes.get("key", "")

    def _text(self, text: str) -> None:
        if self._parts is None:
            return
        self._characters += len(text)
        if self._characters <= MAX_PAGE_CHARACTERS:
            self._parts.append(text)
        else:
            self._parts.clear()

    def _end(self, _: str) -> None:
        path = "/".join(self._open)
        self._open.pop()
        if path == "mediawiki/page" and self._page:
            self._pages.append(self._page)
            self._page = None
        elif self._parts is not None and (path in _WANTED or path.endswith("/namespace")):
            text, self._parts = "".join(self._parts), None
            if self._page is None:
                if self._key in _HIDDEN_KEYS:
                    self.hidden |= {text.strip().lower()}
            else:
                self._page.fields[_WANTED[path]] = text
                self._page.is_too_long |= self._characters > MAX_PAGE_CHARACTERS


def _document_of(page: _Page, hidden: frozenset[str], skipper: Skipper) -> Document | None:
    """The document of a page, or None for one that is no article."""
    title, markup = page.fields.get("title", "").strip(), page.fields.get("text", "")
    if page.is_too_long:
        raise BadRecord("too_long", f'page "{title[:80]}" has more than {MAX_PAGE_CHARACTERS >> 20} Mi characters')
    reason = _reason_to_leave_out(page, title, markup)
    text = "" if reason else plain_text(markup, hidden)
    if reason or not text:
        skipper.report.add(reason or "no_prose", f'{page.place}: page "{title[:80]}" is no article')
        return None
    page_id = page.fields.get("id", "").strip()
    if not page_id.isdecimal():
        raise BadRecord("bad_id", f'page "{title[:80]}" has the id "{page_id[:20]}"; it must be a number')
    metadata = {key: page.fields[key].strip() for key in ("revision", "timestamp") if page.fields.get(key)}
    return Document(id=page_id, title=title, text=text, source=page.place, metadata=metadata)


def _reason_to_leave_out(page: _Page, title: str, markup: str) -> str:
    if page.fields.get("namespace", "0").strip() not in ("0", ""):
        return "namespace"
    if page.fields.get("model", "wikitext").strip() not in ("wikitext", ""):
        return "other_model"
    if page.is_redirect or _REDIRECT.match(markup):
        return "redirect"
    if _LIST_TITLE.match(title):
        return "list_title"
    return "disambiguation" if _DISAMBIGUATION.search(markup) else ""
