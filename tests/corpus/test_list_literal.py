"""Lists of strings, against Python's own and JSON's."""

from __future__ import annotations

import ast
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.corpus.list_literal import parse_string_list

STRINGS = st.lists(st.text(), max_size=4)


@given(STRINGS)
def test_what_repr_writes_comes_back(strings: list[str]) -> None:
    assert parse_string_list(repr(strings)) == strings
    assert parse_string_list(f" {strings!r}\n") == strings


@given(STRINGS, st.booleans())
def test_what_json_writes_comes_back(strings: list[str], ascii_only: bool) -> None:
    assert parse_string_list(json.dumps(strings, ensure_ascii=ascii_only)) == strings


@given(st.text(alphabet="[]'\",\\ nxu41abz", max_size=14))
def test_nothing_is_read_but_what_python_and_json_read_so(text: str) -> None:
    try:
        found = parse_string_list(text)
    except ValueError:
        return
    try:
        expected = json.loads(text)
    except ValueError:
        expected = ast.literal_eval(text.strip())
    assert found == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", 'character 1 should be "\\["'),
        ("'a'", 'character 1 should be "\\["'),
        ("['a'", 'character 5 should be ","'),
        ("['a' 'b']", 'character 6 should be ","'),
        ("['a'] + ['b']", "character 7 should not be there"),
        ("[a]", "character 2 should begin a quoted string"),
        ("[__import__('os')]", "character 2 should begin a quoted string"),
        ("['a', 1]", "character 7 should begin a quoted string"),
        ('["a", 1]', "it must be a list of strings"),
        ("['\\q']", "no escape"),
        ("['\\U00110000']", "no character"),
        ("[" * 100_000, "character 2 should begin"),
    ],
)
def test_anything_else_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_string_list(text)
