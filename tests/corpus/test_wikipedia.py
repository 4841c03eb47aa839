"""Wikipedia dumps: which pages become documents, and what becomes of broken and hostile files."""

from __future__ import annotations

import bz2
import random
import re
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realm.corpus import wikipedia
from realm.corpus.readers import read_documents
from realm.corpus.skips import Skipper, SkipReport
from realm.corpus.wikipedia import read_wikipedia_dump
from realm.errors import SourceError
from realm.records import Document

HEAD = (
    '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" version="0.10" xml:lang="de">\n<siteinfo><namespaces>'
    '<namespace key="0" /><namespace key="6">Datei</namespace><namespace key="14">Kategorie</namespace>'
    "</namespaces></siteinfo>\n"
)
FOOT = "</mediawiki>\n"


def page(id: object, title: str, text: str, *, namespace: int = 0, extra: str = "", model: str = "wikitext") -> str:
    return (
        f"<page>\n<title>{escape(title)}</title>\n<ns>{namespace}</ns>\n<id>{id}</id>\n{extra}<revision>\n<id>77{id}</id>"
        f"<timestamp>2018-12-20T01:02:03Z</timestamp><contributor><username>x</username><id>5</id></contributor>"
        f"<model>{model}</model><text xml:space='preserve'>{escape(text)}</text></revision>\n</page>\n"
    )


def read(path: Path, skip_bad: bool = False) -> tuple[list[Document], SkipReport]:
    report = SkipReport()
    return list(read_wikipedia_dump(path, Skipper(skip_bad, report))), report


def dump(folder: Path, *pages: str, name: str = "dump.xml") -> Path:
    path = folder / name
    data = (HEAD + "".join(pages) + FOOT).encode()
    path.write_bytes(bz2.compress(data) if name.endswith(".bz2") else data)
    return path


def test_article_keeps_id_title_prose_place_revision_and_time(tmp_path: Path) -> None:
    path = dump(
        tmp_path,
        page(12, "Ada & Co", "'''Ada''' &lt;3 [[Datei:a.jpg]][[Kategorie:b]][[x|y]].\n\n== H ==\nEnd &amp; so."),
    )
    documents, report = read(path)
    metadata = {"revision": "7712", "timestamp": "2018-12-20T01:02:03Z"}
    assert documents == [Document("12", "Ada & Co", "Ada <3 y.\nH\nEnd & so.", f"{path}:3", metadata)]
    assert report.total == 0


def test_pages_that_are_no_articles_are_counted_even_where_bad_records_stop_the_run(tmp_path: Path) -> None:
    path = dump(
        tmp_path,
        page(1, "Talk:A", "text", namespace=1),
        page(2, "B", "text", extra='<redirect title="A" />\n'),
        page(3, "C", "#redirect [[A]]"),
        *(
            page(10 + n, title, "text")
            for n, title in enumerate(["List of A", "Index of A", "Outline of A", "A (disambiguation)"])
        ),
        page(20, "D", "D may be:\n{{Disambiguation|x}}"),
        page(21, "E", "E may be:\n{{hndis}}"),
        page(22, "F", "{{Infobox}}"),
        page(23, "G", "return {}", model="Scribunto"),
        page(30, "Listing of H", "Text with a {{disk}}."),
    )
    documents, report = read(path)
    assert [document.title for document in documents] == ["Listing of H"]
    assert dict(report.reasons) == {
        "namespace": 1, "redirect": 2, "list_title": 4, "disambiguation": 2, "no_prose": 1, "other_model": 1,
    }  # fmt: skip


@pytest.mark.parametrize("streams", [1, 3])
def test_bzip2_of_one_or_many_streams_reads_as_plain(tmp_path: Path, streams: int) -> None:
    pages = [page(number, f"T{number}", f"Text é東 {number}. " * 400) for number in range(1, 40)]
    plain, _ = read(dump(tmp_path, *pages))
    data = (HEAD + "".join(pages) + FOOT).encode()
    cuts = [len(data) * part // streams for part in range(streams + 1)]
    packed = tmp_path / "dump.xml.bz2"
    packed.write_bytes(b"".join(bz2.compress(data[a:b]) for a, b in pairwise(cuts)))
    found, _ = read(packed)
    assert [(d.id, d.text) for d in found] == [(d.id, d.text) for d in plain]
    assert len(found) == 39


def test_last_revision_of_a_page_counts(tmp_path: Path) -> None:
    twice = page(1, "A", "old").replace("</page>", "<revision><id>9</id><text>new</text></revision></page>")
    documents, _ = read(dump(tmp_path, twice))
    assert (documents[0].text, documents[0].metadata["revision"]) == ("new", "9")


def test_dump_is_read_among_other_sources(tmp_path: Path) -> None:
    dump(tmp_path, page(1, "A", "text"), name="a.xml.bz2")
    (tmp_path / "b.txt").write_text("other")
    assert [document.id for document in read_documents([tmp_path])] == ["1", "b.txt"]


BOMB = '<!DOCTYPE mediawiki [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
OUTSIDE = '<!DOCTYPE mediawiki [<!ENTITY a SYSTEM "file:///etc/hostname">]>'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BOMB + HEAD + page(1, "A", "x").replace(">x<", ">&b;<") + FOOT, "declares a document type"),
        (OUTSIDE + HEAD + page(1, "A", "x").replace(">x<", ">&a;<") + FOOT, "declares a document type"),
        (HEAD + page(1, "A", "x").replace(">x<", ">&a;<") + FOOT, "broken XML: undefined entity"),
        ("<html><page/></html>", "holds <html>; a dump of MediaWiki pages"),
        ("", "broken XML: no element found"),
        (HEAD + page(1, "A", "x"), "broken XML: no element found"),
        (HEAD + "<page><title>A</page>" + FOOT, "broken XML: mismatched tag"),
        (HEAD + "<a>" * 40, "nested deeper than 32"),
        ('<?xml version="1.0" encoding="nonsense"?>' + HEAD, "broken XML: unknown encoding"),
        (HEAD + page("x1", "A", "text") + FOOT, 'has the id "x1"; it must be a number'),
        (HEAD + page(1, "A", "a\0b") + FOOT, "broken XML: not well-formed"),
    ],
)
def test_broken_or_hostile_xml_is_told_with_its_place(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "dump.xml"
    path.write_text(content)
    with pytest.raises(SourceError, match=message) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}:")
    assert "\n" not in str(caught.value)
    documents, report = read(path, skip_bad=True)
    assert (len(documents), report.total) in ((0, 1), (1, 1))


def test_pages_before_a_break_are_kept_when_bad_records_are_skipped(tmp_path: Path) -> None:
    pages = [page(number, f"T{number}", "".join(random.choices("abcdefgh ", k=3000))) for number in range(1, 200)]
    path = dump(tmp_path, *pages, name="dump.xml.bz2")
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(SourceError, match="the file breaks off here"):
        read(path)
    documents, report = read(path, skip_bad=True)
    assert [document.id for document in documents] == [str(n) for n in range(1, len(documents) + 1)]
    assert dict(report.reasons) == {"broken_stream": 1}


def test_too_long_page_is_told_and_the_next_one_read_in_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wikipedia, "MAX_PAGE_CHARACTERS", 1 << 16)
    path = dump(tmp_path, page(1, "Long", "word " * 1_000_000), page(2, "Short", "Text."), name="dump.xml.bz2")
    tracemalloc.start()
    try:
        documents, report = read(path, skip_bad=True)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [document.id for document in documents] == ["2"]
    assert dict(report.reasons) == {"too_long": 1}
    assert peak < 3 << 20
    with pytest.raises(SourceError, match='page "Long" has more than'):
        read(path)


def test_tag_without_end_does_not_fill_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wikipedia, "_MAX_TOKEN_BYTES", 1 << 20)
    path = tmp_path / "dump.xml"
    path.write_text(HEAD + '<page a="' + "x" * (4 << 20))
    with pytest.raises(SourceError, match="one tag is larger than 1 MiB"):
        read(path)


def test_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be opened"):
        read(tmp_path / "none.xml.bz2")


def damaged() -> Iterator[bytes]:
    whole = (HEAD + page(1, "A", "{{a|[[b]]}} text") + page(2, "B", "other") + FOOT).encode()
    yield from (whole, bz2.compress(whole))


@pytest.mark.parametrize(
    ("whole", "name"), list(zip(damaged(), ["d.xml", "d.xml.bz2"], strict=True)), ids=["plain", "bzip2"]
)
@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_file_gives_documents_or_one_clear_error(
    tmp_path: Path, whole: bytes, name: str, data: st.DataObject
) -> None:
    content = bytearray(whole[: data.draw(st.integers(0, len(whole)))] if data.draw(st.booleans()) else whole)
    for place, value in data.draw(
        st.lists(st.tuples(st.integers(0, max(0, len(content) - 1)), st.integers(0, 255)), max_size=4)
    ):
        content[place : place + 1] = bytes([value])
    path = tmp_path / name
    path.write_bytes(content + data.draw(st.binary(max_size=5)))
    documents, report = read(path, skip_bad=True)
    assert len(documents) <= 2
    if any("no article" not in message for message in report.examples.values()):
        with pytest.raises(SourceError, match=rf"^{re.escape(str(path))}:"):
            read(path)
    else:
        assert read(path)[0] == documents
