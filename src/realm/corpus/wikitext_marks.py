"""The marks of wikitext, made to balance: what is not prose is cut out, and what opens or closes nothing goes.

One pass with one stack, in linear time whatever the input. It stands before the wikitext library for two reasons: the
library takes exponential time over marks that never close, and most of a page's markup (infoboxes, tables, references)
is thrown away, which is quicker before parsing. Knows marks, not what a link or heading looks like. Read
`without_debris` first.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

_DEEPEST = 24

# Contents of these are no wikitext, up to the closing tag. Those of `nowiki` and `pre` are shown.
_RAW_TAGS = frozenset(
    "ce chem graph hiero html inputbox mapframe maplink math nowiki pre score script source style syntaxhighlight "
    "templatedata templatestyles timeline".split()
)
_RAW_SHOWN = frozenset("nowiki pre".split())
_DROPPED_TAGS = frozenset("gallery imagemap includeonly indicator ref references table".split())
_SHOWN_TAGS = frozenset(
    "abbr b bdi bdo big blockquote br center cite code dd del dfn div dl dt em font h1 h2 h3 h4 h5 h6 hr i ins kbd li "
    "mark noinclude ol onlyinclude p poem q rb rp rt ruby s samp section small span strike strong sub sup td th tr tt "
    "u ul var wbr".split()
)
_LINE_TAGS = frozenset("blockquote br center dd div dl dt h1 h2 h3 h4 h5 h6 hr li ol p poem td th tr ul".split())
_KNOWN_TAGS = _RAW_TAGS | _DROPPED_TAGS | _SHOWN_TAGS

_MARK = re.compile(
    r"""<!--
    |<(?P<close>/?)(?P<tag>[A-Za-z][A-Za-z0-9]*+)(?P<rest>[^<>]*+)>
    |<
    |(?P<open>\{\{|\[\[|^[ \t:*]*+\{\||\[(?=(?:https?:|ftps?:|irc:|news:)?//|mailto:))
    |(?P<end>\}\}|\]\]|^[ \t]*+\|\}(?!\})|\])
    """,
    re.VERBOSE | re.MULTILINE,
)
_SIGN = re.compile(r"[\[\]{}|<>'=*#:;_~&-]")
_PAIRS = {"{{": "}}", "[[": "]]", "{|": "|}", "[": "]"}


def without_debris(markup: str, is_shown: Callable[[str], bool]) -> str:
    """Wikitext with comments, tables, references, galleries and hidden templates and links cut out.

    Args:
        markup: Wikitext of a page.
        is_shown: Whether something of a template `{{...` or link `[[...` is prose; gets it without the closing mark.

    Returns:
        Wikitext in which every template and link that is left closes, none deeper than two dozen. Tags that break lines
        have become line breaks, other tags are gone, and a sign that begins no tag is spelt as an entity.
    """
    return _Balancer(markup, is_shown).run()


class _Balancer:
    """One pass over the marks of a page."""

    def __init__(self, markup: str, is_shown: Callable[[str], bool]) -> None:
        self._markup = markup
        self._is_shown = is_shown
        self._stack: list[tuple[str, int, int]] = []  # what closes it, where it begins, where its mark ends
        self._open: Counter[str] = Counter()
        self._edits: list[tuple[int, int, str]] = []
        self._without_end: set[str] = set()

    def run(self) -> str:
        place = 0
        while match := _MARK.search(self._markup, place):
            place = match.end()
            if match["open"]:
                self._push(_PAIRS[match["open"].strip(" \t:*")], match.start(), place)
            elif match["end"]:
                place = self._end(match["end"].strip(), match.start(), place)
            elif match["tag"] and match["tag"].lower() in _KNOWN_TAGS:
                place = self._tag(match)
            elif match[0] == "<!--":
                place = self._end_of("-->", place)
                self._edits.append((match.start(), place, ""))
            else:  # no tag, but a sign: what stands behind it may be markup
                place = match.start() + 1
                self._edits.append((match.start(), place, "&lt;"))
        while self._stack:
            self._discard()
        return self._edited()

    def _end_of(self, closing: str, place: int) -> int:
        """One past the next `closing`; the end of the page if there is none. Looks no further than once per sign."""
        found = -1 if closing in self._without_end else self._markup.find(closing, place)
        if found < 0:
            self._without_end.add(closing)
            return len(self._markup)
        return found + len(closing)

    def _tag(self, match: re.Match[str]) -> int:
        """Deal with a known tag; gives the place to go on from."""
        name, start, place = match["tag"].lower(), match.start(), match.end()
        is_void = match["rest"].endswith("/")
        if name in _RAW_TAGS and not match["close"] and not is_void:
            return self._raw(name, start, place)
        if name in _DROPPED_TAGS and match["close"]:
            self._pop(f"</{name}>", start, place)
        elif name in _DROPPED_TAGS and not is_void:
            self._push(f"</{name}>", start, place)
        else:
            self._edits.append((start, place, "\n" if name in _LINE_TAGS else ""))
        return place

    def _raw(self, name: str, start: int, place: int) -> int:
        found = None
        if name not in self._without_end:
            found = re.compile(rf"</{name}\s*+>", re.IGNORECASE).search(self._markup, place)
        if found is None:
            self._without_end.add(name)
            self._edits.append((start, place, ""))
            return place
        text = self._markup[place : found.start()] if name in _RAW_SHOWN else ""
        self._edits.append((start, found.end(), _SIGN.sub(lambda sign: f"&#{ord(sign[0])};", text)))
        return found.end()

    def _push(self, closing: str, start: int, end: int) -> None:
        if len(self._stack) >= _DEEPEST:
            self._edits.append((start, end, ""))
            return
        self._stack.append((closing, start, end))
        self._open[closing] += 1

    def _end(self, closing: str, start: int, end: int) -> int:
        if closing == "]]" and self._stack and self._stack[-1][0] == "]":  # a link to a page that ends in a link out
            closing, end = "]", start + 1
        self._pop(closing, start, end)
        return end

    def _pop(self, closing: str, start: int, end: int) -> None:
        if not self._open[closing]:
            if closing != "]":
                self._edits.append((start, end, ""))
            return
        while self._stack[-1][0] != closing:
            self._discard()
        _, opened, opened_end = self._stack.pop()
        self._open[closing] -= 1
        self._closed(closing, opened, opened_end, start, end)

    def _closed(self, closing: str, opened: int, opened_end: int, start: int, end: int) -> None:
        if closing == "]":
            if self._markup.find("\n", opened, start) >= 0:
                self._edits.append((opened, opened_end, ""))
            return
        is_kept = closing in ("}}", "]]") and self._is_shown(self._markup[opened:start])
        if not is_kept:
            while self._edits and self._edits[-1][0] >= opened:
                self._edits.pop()
            self._edits.append((opened, end, ""))

    def _discard(self) -> None:
        """Take away an opening mark that nothing closes."""
        closing, start, end = self._stack.pop()
        self._open[closing] -= 1
        self._edits.append((start, end, ""))

    def _edited(self) -> str:
        parts, place = [], 0
        for start, end, text in sorted(self._edits):
            if start < place:
                continue
            parts += [self._markup[place:start], text]
            place = end
        return "".join([*parts, self._markup[place:]])
