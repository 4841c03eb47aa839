"""The readable text of an HTML page, with its title.

Knows HTML, not files. libxml2 (through lxml) reads the page as a row of events, without building a tree: no
nesting is too deep, and memory is that of the text. Read `html_text` first.
"""

from __future__ import annotations

import codecs
import io
import re
from typing import Any

from realm.corpus.lines import decode
from realm.corpus.skips import BadRecord

# Not read: code, forms, pictures, and what stands around a page's content to lead elsewhere. Not `head`, for libxml2
# takes `main`, `article` and the like to be in the head of a page that leaves its tags out; and no element without an
# end tag, such as `embed`, for libxml2 may end it with its parent.
_LEFT_OUT = frozenset(
    "audio button canvas datalist footer iframe math nav noframes noscript object script select style svg template "
    "textarea title video".split()
)
_PARAGRAPHS = frozenset(
    "address article aside blockquote body details dl fieldset figure form h1 h2 h3 h4 h5 h6 header hr main ol p pre "
    "section table ul".split()
)
_LINES = frozenset("br caption center dd dir div dt figcaption hgroup legend li summary tr".split())
_CELLS = frozenset(("td", "th"))
_HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))

_FEED_BYTES = 1 << 16
# An end tag without a start tag is looked for among all open elements. Pages that need more than this many looks
# (some seconds) are made to waste time.
_MOST_LOOKS = 2_000_000_000

_DECLARED = re.compile(rb"""<meta[^>]{0,500}?charset\s*=\s*["']?\s*([\w.:-]{1,40})""", re.IGNORECASE)
_DECLARED_WITHIN_BYTES = 4096
_BYTE_ORDER_MARKS = ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
# Declared name as Python normalises it -> what browsers take it for (WHATWG Encoding Standard).
_WIDER = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
}
_ENCODINGS = frozenset(
    "big5 big5hkscs cp1250 cp1251 cp1252 cp1253 cp1254 cp1255 cp1256 cp1257 cp1258 cp866 cp874 cp932 cp949 euc_jp "
    "gb18030 iso2022_jp iso8859-2 iso8859-3 iso8859-4 iso8859-5 iso8859-6 iso8859-7 iso8859-8 iso8859-10 iso8859-13 "
    "iso8859-14 iso8859-15 iso8859-16 koi8-r koi8-u mac-roman".split()
)


def html_text(data: bytes) -> tuple[str, str]:
    """Title and readable text of a page.

    Runs of white space are one space, except in `pre`. Paragraphs, headings, lists and tables are set apart by a
    blank line; list items, rows, `div` and `br` by a line break; cells of a table by a tab. Navigation, footers, the
    fields of forms, scripts and pictures are left out.

    Args:
        data: The page, in UTF-8, UTF-16 with a byte order mark, or the encoding that a `meta` element declares.

    Returns:
        The `title` element, or else the first heading, or ""; and the text, which may be empty.

    Raises:
        BadRecord: The page is in none of these encodings, or made to waste time.
    """
    from lxml import etree

    # HTML knows one line break, whatever the file has.
    data = _decoded(data).replace("\r\n", "\n").replace("\r", "\n").encode("utf-8")
    if not data or data.isspace():
        return "", ""
    page = _Page()
    parser = etree.HTMLParser(target=page, huge_tree=True, encoding="utf-8")
    try:
        _feed(parser, page, data)
        parser.close()
    except etree.LxmlError as exc:
        raise BadRecord("broken_html", f"cannot be read as HTML: {exc}") from exc
    return page.title(), page.text()


def _feed(parser: Any, page: _Page, data: bytes) -> None:
    looks = 0
    for start in range(0, len(data), _FEED_BYTES):
        part = data[start : start + _FEED_BYTES]
        page.deepest = page.depth
        parser.feed(part)
        looks += part.count(b"</") * page.deepest
        if looks > _MOST_LOOKS:
            raise BadRecord("too_deep", f"elements are nested too deeply: {page.deepest:,} are open at once")


class _Page:
    """Hears what stands on a page (lxml calls `start`, `end`, `data` and `close`) and writes it down."""

    def __init__(self) -> None:
        self.depth = 0  # how many elements are open
        self.deepest = 0  # the most that were open at once
        self._text = io.StringIO()
        self._gap = ""  # white space that is due before the next word
        self._is_empty = True
        self._left_out = 0
        self._preformatted = 0
        self._titles: list[list[str]] = [[], []]  # of the title element, of the first heading
        self._title_tag = ""  # the element that a title is being read from

    def start(self, tag: str, attributes: Any) -> None:
        self.depth += 1
        if self.depth > self.deepest:
            self.deepest = self.depth
        if self._left_out or tag in _LEFT_OUT:
            # Pictures may have titles too.
            if tag == "title" and not self._left_out and not self._titles[0]:
                self._title_tag = tag
            self._left_out += 1
            return
        if tag in _HEADINGS and not self._titles[1]:
            self._title_tag = tag
        self._preformatted += tag == "pre"
        self._break(tag)

    def end(self, tag: str) -> None:
        self.depth -= 1
        if tag == self._title_tag:
            self._title_tag = ""
        if self._left_out:
            self._left_out -= 1
            return
        self._preformatted -= tag == "pre"
        if tag != "br":
            self._break(tag)

    def data(self, text: str) -> None:
        is_title = self._title_tag == "title"
        if is_title or (self._title_tag and not self._left_out):
            self._titles[not is_title].append(text)
        if self._left_out:
            return
        if self._preformatted:
            self._write_lines(text)
            return
        words = text.split()
        if not words:
            self._gap = self._gap or " "
            return
        if text[0].isspace():
            self._gap = self._gap or " "
        self._write(" ".join(words))
        if text[-1].isspace():
            self._gap = " "

    def close(self) -> None:
        """Nothing is left to do."""

    def title(self) -> str:
        titles = (" ".join("".join(parts).split()) for parts in self._titles)
        return next((title for title in titles if title), "")

    def text(self) -> str:
        return self._text.getvalue().rstrip()

    def _break(self, tag: str) -> None:
        if tag in _PARAGRAPHS:
            self._gap = "\n\n"
        elif tag in _LINES:
            self._gap = "\n\n" if self._gap == "\n\n" else "\n"
        elif tag in _CELLS and "\n" not in self._gap:
            self._gap = "\t"

    def _write_lines(self, text: str) -> None:
        """Write preformatted text as it is, but for empty lines where it begins and ends."""
        lines = text.strip("\n")
        if not self._gap.startswith("\n\n"):
            self._gap += "\n" * (len(text) - len(text.lstrip("\n")))
        if lines:
            self._write(lines)
            self._gap = "\n" * (len(text) - len(text.rstrip("\n")))

    def _write(self, text: str) -> None:
        if not self._is_empty:
            self._text.write(self._gap)
        self._gap = ""
        self._is_empty = False
        self._text.write(text)


def _decoded(data: bytes) -> str:
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return _decoded_as(data[len(mark) :], encoding, "its byte order mark says")
    declared = _DECLARED.search(data[:_DECLARED_WITHIN_BYTES])
    encoding = _known_encoding(declared[1].decode("ascii", "replace")) if declared else ""
    # Escape sequences of ISO-2022-JP are valid UTF-8.
    if encoding == "iso2022_jp":
        return _decoded_as(data, encoding, "it declares")
    try:
        return decode(data, 0)
    except BadRecord as bad:
        if bad.reason != "not_utf8":
            raise
        if not encoding:
            raise BadRecord(bad.reason, f"{bad.problem}, for the page declares no encoding that is known") from bad
    return _decoded_as(data, encoding, "it declares")


def _decoded_as(data: bytes, encoding: str, why: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as exc:
        found = f"byte 0x{data[exc.start]:02x} at offset {exc.start:,}"
        raise BadRecord("wrong_encoding", f"neither UTF-8 nor {encoding}, as {why}: {found}") from exc


def _known_encoding(label: str) -> str:
    """Python's name of a declared encoding that is not UTF-8, or ""."""
    try:
        name = codecs.lookup(label).name
    except (LookupError, ValueError):
        return ""
    name = _WIDER.get(name, name)
    return name if name in _ENCODINGS else ""
