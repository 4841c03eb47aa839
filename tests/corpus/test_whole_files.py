"""Titles of Markdown files."""

from __future__ import annotations

from pathlib import Path

import pytest

from realm.corpus.readers import read_documents
from realm.records import Document


def title_of(path: Path, text: str) -> str:
    path.write_text(text)
    (document,) = read_documents([path])
    assert document == Document(path.name, document.title, text, str(path))
    return document.title


@pytest.mark.parametrize(
    ("line", "title"),
    [
        ("# a", "a"),
        ("   ###### \t a \t b \t ", "a \t b"),
        ("# a #", "a"),
        ("# a ########  ", "a"),
        ("# a\t#", "a"),
        ("# a#", "a#"),
        ("# C# and F# #", "C# and F#"),
        ("# a # b", "a # b"),
        ("# a \\#", "a \\#"),
        ("# #", "the name"),
        ("#", "the name"),
        ("## ##\n---", "the name"),
        ("####### a", "the name"),
        ("    # a", "the name"),
        ("---\n---", "the name"),
        ("* * *\n---", "the name"),
        ("a\n===", "a"),
        ("a\n---", "a"),
    ],
)
def test_heading_is_read_as_markdown_has_it(tmp_path: Path, line: str, title: str) -> None:
    assert title_of(tmp_path / "the_name.md", f"\n{line}\n") == title


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("```\n~~~\n# no\n```\n# Real", "Real"),
        ("~~~\n```\n# no\n~~~\n# Real", "Real"),
        ("````\n```\n# no\n````\n# Real", "Real"),
        ("```\n# no\n`````  \n# Real", "Real"),
        ("```\n``` python\n# no\n```\n# Real", "Real"),
        ("``` `code` ```\n# Real", "Real"),
        ("~~~ `\n# no\n~~~\n# Real", "Real"),
        ("```\n# no", "the name"),
    ],
)
def test_heading_in_a_code_block_is_no_title(tmp_path: Path, text: str, title: str) -> None:
    assert title_of(tmp_path / "the_name.md", text) == title


@pytest.mark.parametrize(
    ("block", "title"),
    [
        ("title: Foo", "Foo"),
        ("layout: page\ntitle:   Foo: the bar  # so far\ntags: [a]", "Foo: the bar"),
        ("title: 'Foo''s bar' # so far", "Foo's bar"),
        ('title: "The \\"Foo\\" #1"', 'The "Foo" #1'),
        ("title: C#", "C#"),
        ("tags: [a]\nnested:\n  title: no", "Real"),
        ("# title: no\ntags:\n- a", "Real"),
        ("title:", "Real"),
        ("title: # no", "Real"),
        ("title: ~", "Real"),
        ("title: ''", "Real"),
        ("title: >-\n  folded", "Real"),
        ('title: "open', "Real"),
        ("title:no\nlayout: page", "Real"),
    ],
)
def test_title_of_the_front_matter_comes_before_the_first_heading(tmp_path: Path, block: str, title: str) -> None:
    for end in ("---", "--- ", "..."):
        assert title_of(tmp_path / "the_name.md", f"---\n{block}\n{end}\n# Real\n") == title
    assert title_of(tmp_path / "the_name.md", f"---\n{block}\n---\nText.\n") == title.replace("Real", "the name")


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("---\n\n# Real\n\n---\n# Second", "Real"),
        ("---\ntitle: Foo\n\n# Real", "Real"),
        ("\n---\ntitle: Foo\n---\n# Second", "title: Foo"),
        ("---", "the name"),
    ],
)
def test_line_between_paragraphs_is_no_front_matter(tmp_path: Path, text: str, title: str) -> None:
    assert title_of(tmp_path / "the_name.md", text) == title


@pytest.mark.parametrize(
    ("line", "title"),
    [
        ("# a{}b", "a{}b"),
        ("# a {}b", "a {}b"),
        ("a{}# a", "the name"),
    ],
)
@pytest.mark.parametrize("run", [" ", "#", "# ", " \t", "`", "-", "="])
def test_heading_with_long_runs_takes_linear_time(tmp_path: Path, line: str, title: str, run: str) -> None:
    # Hours, if the time were that of the square.
    runs = run * (1_000_000 // len(run))
    found = title_of(tmp_path / "the_name.md", line.format(runs))
    assert found == title.format(runs)
