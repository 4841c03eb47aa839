"""Wikitext to plain text: prose, headings and list items as lines; no templates, tables, references or files.

    page ──without_debris──> marks that balance ──mwparserfromhell, line by line──> lines ──> text

Knows wikitext, not dumps. Read `plain_text` first, then `wikitext_marks`.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any

from realm.corpus.wikitext_marks import without_debris
from realm.extras import require

_HEADING = re.compile(r"(={1,6})([^=].*?)\1[ \t]*", re.DOTALL)
_LIST_MARK = re.compile(r"\A[*#:;]+[ \t]*")
_RULE = re.compile(r"-{4,}")
_QUOTES = re.compile(r"'{2,}")
_MAGIC_WORD = re.compile(r"__[A-Z]{3,}__")
_NEEDS_PARSING = re.compile(r"\[\[|\{\{|\[[a-z/]|://")
_PLAIN_LINK = re.compile(r"\[\[([^\[\]{}|\n]*+)(?:\|([^\[\]{}|\n]*+))?\]\]")
_LEFT_OVER = re.compile(r"\{{2,}|\}{2,}|\[{2,}|\]{2,}")  # such as the third braces of two {{{1}}} in a row
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[a-z-]{2,})?|simple")

# What is left where something was cut out of a sentence. Possessive, so that no line takes more than linear time.
_HOLES = (
    (re.compile(r"[ \t]{2,}+"), " "),
    (re.compile(r"([(\[])[ ,;:]++"), r"\1"),
    (re.compile(r"(?<![ ,;])[ ,;]++\)"), ")"),
    (re.compile(r" ?(?:\(\)|\[\])"), ""),
    (re.compile(r" (?=[,;.](?:\s|$))"), ""),
)

# Templates that are part of a sentence, and the arguments they show.
_SHOWN_ARGUMENTS = {
    "lang": ("2",), "transl": ("2",), "transliteration": ("2",), "convert": ("1", "2"), "cvt": ("1", "2"),
    "nowrap": ("1",), "nobr": ("1",), "nobold": ("1",), "noitalic": ("1",), "abbr": ("1",), "abbrlink": ("1",),
    "small": ("1",), "smaller": ("1",), "big": ("1",), "tooltip": ("1",), "ill": ("1",), "interlanguage link": ("1",),
    "nihongo": ("1",), "korean": ("1",), "ship": ("1", "2"), "sup": ("1",), "sub": ("1",), "visible anchor": ("1",),
    "vanchor": ("1",), "circa": ("1",), "c.": ("1",),
    "blockquote": ("1",), "quote": ("1",), "cquote": ("1",), "val": ("1",), "not a typo": ("1",),
}  # fmt: skip
_RANGE_SIGNS = frozenset("- – to and or x × by".split())
_SIGNS = {
    "ndash": "–", "en dash": "–", "spnd": " – ", "snd": " – ", "spaced ndash": " – ", "mdash": "—", "em dash": "—",
    "spaced mdash": " — ", "'": "'", "'s": "'s", "nbsp": " ", "space": " ", "·": "·", "dot": "·", "!": "|", "=": "=",
    "circa": "c. ", "c.": "c. ",
}  # fmt: skip


def plain_text(markup: str, hidden: frozenset[str]) -> str:
    """The prose of a page.

    Args:
        markup: Its wikitext.
        hidden: Names of the namespaces whose links show no text, such as `file` and `category`, in lower case.

    Returns:
        Paragraphs, list items and headings, each on a line of its own. A heading that nothing follows is left out.
        Markup that does not close is taken for text and its marks are left out.

    Source: https://www.mediawiki.org/wiki/Help:Formatting and Help:Links.
    Differs: templates are not expanded, as their pages are not at hand: some that make up part of a sentence show their
        arguments, such as `{{lang|fr|mot}}`; all others show nothing.
    """
    markup = without_debris(markup.replace("\r", ""), lambda opening: _is_shown(opening, hidden))
    lines: list[tuple[int, str]] = []
    for unit in _units(_MAGIC_WORD.sub("", _QUOTES.sub("", markup))):
        heading = _HEADING.fullmatch(unit)
        level = len(heading[1]) if heading else 0
        unit = heading[2] if heading else _LIST_MARK.sub("", unit)
        if unit.startswith("|") or _RULE.match(unit):  # a row of a table that never closed, or a ruler
            continue
        lines += [(level, filled) for line in _inline(unit).splitlines() if (filled := _without_holes(line))]
    return "\n".join(_with_filled_headings(lines))


def _is_hidden_link(target: str, hidden: frozenset[str]) -> bool:
    """Whether a link `[[target` shows no text: to a file or category, or to the page in another language."""
    space, colon, _ = target.partition(":")
    if not colon or not space.strip():
        return False
    return space.strip().lower().replace("_", " ") in hidden or bool(_LANGUAGE.fullmatch(space) and "|" not in target)


def _is_shown(opening: str, hidden: frozenset[str]) -> bool:
    if opening.startswith("[["):
        return not _is_hidden_link(opening[2:], hidden)
    return _template_name(opening[2:].partition("|")[0]) is not None


def _template_name(name: str) -> str | None:
    """The name under which a template's arguments are shown; None for one that shows nothing."""
    name = name.strip().lower().replace("_", " ")
    if name.startswith("lang-"):
        return "nowrap"
    return name if name in _SHOWN_ARGUMENTS or name in _SIGNS else None


def _units(markup: str) -> Iterator[str]:
    """Lines; those that a link or template reaches across stay together."""
    held: list[str] = []
    depth = 0
    for line in markup.split("\n"):
        depth += line.count("[[") + line.count("{{") - line.count("]]") - line.count("}}")
        held.append(line)
        if depth <= 0:
            yield " ".join(held).strip()
            held, depth = [], 0
    if held:
        yield " ".join(held).strip()


def _inline(unit: str) -> str:
    """What a line shows. The library is asked only about what is not plain: it is slow, and most links are."""
    unit = _PLAIN_LINK.sub(lambda link: _link_text(link[1]) if link[2] is None else link[2], unit)
    if _NEEDS_PARSING.search(unit):
        parser = require("mwparserfromhell", "wikipedia")
        unit = _shown(parser.parse(unit, skip_style_tags=True), parser.nodes)
    return _ENTITY.sub(lambda entity: html.unescape(entity[0]), _LEFT_OVER.sub(" ", unit))


def _link_text(target: str) -> str:
    return target.strip().lstrip(":#")


def _shown(code: Any, nodes: Any) -> str:
    """What the nodes of parsed wikitext show; `nodes` holds their classes."""
    parts = []
    for node in code.nodes:
        if isinstance(node, nodes.Wikilink):
            parts.append(_link_text(_shown(node.title, nodes)) if node.text is None else _shown(node.text, nodes))
        elif isinstance(node, nodes.ExternalLink):
            url = "" if node.brackets else str(node.url)
            parts.append(url if node.title is None else _shown(node.title, nodes))
        elif isinstance(node, nodes.Template):
            parts.append(_template(node, nodes))
        else:
            parts.append(str(node))
    return "".join(parts)


def _template(node: Any, nodes: Any) -> str:
    name = _template_name(str(node.name))
    if name is None:
        return ""
    arguments = _SHOWN_ARGUMENTS.get(name, ())
    if name in ("convert", "cvt") and node.has("2") and str(node.get("2").value).strip() in _RANGE_SIGNS:
        arguments = ("1", "2", "3", "4")
    texts = [_shown(node.get(argument).value, nodes).strip() for argument in arguments if node.has(argument)]
    return _SIGNS.get(name, "") + " ".join(texts)


def _without_holes(line: str) -> str:
    for pattern, filling in _HOLES:
        line = pattern.sub(filling, line)
    return line.strip()


def _with_filled_headings(lines: list[tuple[int, str]]) -> list[str]:
    """Lines in order, without the headings (level above 0) of sections in which nothing is left."""
    kept: list[str] = []
    level_below = 0  # of the heading that follows; 0 if nothing does, 7 if text does
    for level, line in reversed(lines):
        if level and level >= level_below:
            continue
        kept.append(line)
        level_below = level or 7
    return kept[::-1]
