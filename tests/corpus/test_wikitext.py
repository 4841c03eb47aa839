"""Wikitext to prose: by hand for what the marks mean, by properties and odd texts for what may never happen."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realm.corpus.wikitext import plain_text
from realm.corpus.wikitext_marks import without_debris

HIDDEN = frozenset(["file", "image", "category", "media", "datei"])
MARKS = [
    "{{", "}}", "[[", "]]", "{|", "|}", "|", "[", "]", "[http://a.org ", "''", "'''", "==", "== H ==", "\n", "\n* ",
    "\n|-\n", "<ref>", "</ref>", "<ref name=a/>", "e\u0301", "<!--", "-->",
    "<nowiki>", "</nowiki>", "<b>", "</b>", "<br/>", "<x>", "<", ">",
    "&amp;", "&#0;", "&bogus;", "{{{1|x}}}", "{{lang|fr|mot}}", "{{convert|5|km}}", "File:", "Category:", "__TOC__",
    "東", "<gallery>", "</gallery>", "<math>", "</math>", "-{", "}-", "http://b.org", "#REDIRECT", "word", " ",
]  # fmt: skip


def prose(markup: str) -> str:
    return plain_text(markup, HIDDEN)


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        ("'''Ada''' was ''English''.", "Ada was English."),
        ("an [[England|English]] [[mathematician]]s", "an English mathematicians"),
        ("see [[:Category:Shown]] and [[#Life]]", "see Category:Shown and Life"),
        ("one [[File:X.jpg|thumb|A [[caption]] with [http://x.org ext]]] two", "one two"),
        ("one [[Category:People]][[de:Ada]][[Datei:Y.png|mini]] two", "one two"),
        ("a [[so: what|link]] and [[Star Wars: A New Hope]]", "a link and Star Wars: A New Hope"),
        ("see [http://x.org the [[main]] site], [http://y.org] or http://z.org", "see the main site, or http://z.org"),
        ("a<ref>{{cite|x=[[y]]}}</ref> b<ref name=n/> c<ref name='n'>d", "a b cd"),
        ("a<!-- {{ -->b<!-- never closed", "ab"),
        ("{{Infobox\n| a = {{nowrap|b|c}}\n| d = [[e|f]]\n}}\nText", "Text"),
        ("{|\n! h\n|-\n| a\n{|\n| inner\n|}\n|}\nText", "Text"),
        ("{{t|}}\nText", "Text"),
        ("a {{lang|fr|mot ''juste''}} {{nowrap|[[b|c]]}} d", "a mot juste c d"),
        ("walked {{convert|5|km|mi}} or {{cvt|5|to|10|km}}", "walked 5 km or 5 to 10 km"),
        ("1815{{ndash}}1852, {{circa|1815}}", "1815–1852, c. 1815"),
        ("Ada ({{IPA|x}}; born 1815) ({{lang-xx}}) left .", "Ada (born 1815) left."),
        ("3 < 5 &amp; 5 &gt; 3, List<String>, x[1]", "3 < 5 & 5 > 3, List<String>, x[1]"),
        ("http://a.org/?b=1&copy=2 &not &copy;", "http://a.org/?b=1&copy=2 &not ©"),
        ("<nowiki>[[raw]] '''x''' &amp;</nowiki>", "[[raw]] '''x''' &amp;"),
        ("<math>x^2</math>y<gallery>\na.jpg\n</gallery>z<syntaxhighlight lang=c>{{</syntaxhighlight>", "yz"),
        ("a<br>b<small>c</small><div class=x>d</div>", "a\nbc\nd"),
        ("== Life ==\n* one\n*# two\n; term\n: said\n----\n", "Life\none\ntwo\nterm\nsaid"),
        ("== Empty ==\n=== Below ===\n{{reflist}}\n== Full ==\nText\n=== None ===\n", "Full\nText"),
        ("__NOTOC__Text {{DEFAULTSORT:Ada}}", "Text"),
        ("Text ]] }}\n|}\n{{Open | foo\n| name = bar\nText '''", "Text\nOpen | foo\nText"),
        ("[[open Text", "open Text"),
        ("[[a|two\nlines]] end", "two lines end"),
        ("a\r\n\r\n\r\nb", "a\nb"),
        ("", ""),
    ],
)  # fmt: skip
def test_markup_shows_what_a_reader_of_the_page_sees(markup: str, expected: str) -> None:
    assert prose(markup) == expected


@given(st.lists(st.sampled_from(MARKS) | st.text(max_size=3), max_size=60).map("".join))
@settings(max_examples=400)
def test_any_text_leaves_neither_an_error_nor_templates_tables_or_blank_lines(markup: str) -> None:
    found = prose(markup)
    assert all(line == line.strip() != "" for line in found.split("\n")) or not found
    if not re.search(r"nowiki|<pre|&", markup):
        assert not re.search(r"\{\{|\}\}|\[\[|__TOC__|<ref|<!--(?!>)|'''", found)


@given(st.text(st.characters(exclude_characters="{}[]<>&'|=*#:;_- \t(),", exclude_categories=["C", "Z"]), min_size=1))
def test_text_without_marks_stays_as_it_is(text: str) -> None:
    assert prose(f"Said {text} so") == f"Said {text} so"


@given(st.lists(st.sampled_from(MARKS), max_size=60).map("".join))
@settings(max_examples=100)
def test_marks_that_are_left_balance(markup: str) -> None:
    left = without_debris(re.sub("nowiki", "b", markup), lambda opening: True)
    depth = 0
    for mark in re.findall(r"\{\{|\}\}", left):
        depth += 1 if mark == "{{" else -1
        assert 0 <= depth <= 24
    assert depth == 0


@pytest.mark.parametrize(
    "part",
    ["{{", "[[", "{{{a|{{b|[[c|", "<div ", "<b>", "<ref>", "{|\n|-\n|", "[http://a ", "<nowiki>", "<!--", "''", "==",
     "\n;a:", "{{nowrap|", "[[a|{{nowrap|", "( ,", " ,", "&", "<", "[[a|]]]]"],
)  # fmt: skip
def test_odd_markup_takes_linear_time(part: str) -> None:
    # In quadratic time, let alone exponential, these would take minutes or for ever.
    markup = part * (30_000 // len(part))
    closing = "".join({"{": "}", "[": "]"}.get(letter, "") for letter in reversed(markup))
    begin = time.process_time()
    prose(markup)
    prose(markup + closing)
    assert time.process_time() - begin < 10
