"""Conditions on documents: what they hold for, by three-valued logic written out, and what they refuse to be."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realm.corpus.conditions import Condition
from realm.corpus.document_store import DocumentStore, StoredDocument
from realm.errors import CorruptFileError, UsageError
from realm.records import Document

Value = str | float | None
Truth = bool | None
Written = tuple[str, Callable[[Document], Truth]]

VALUES = ["x", "X", "it's", "100%", "a_b", "a\\b", "été\nZürich", "", "1990", "-3.5", " 7 ", "1e3", "+2", "12a", "NaN"]
KEYS = ["year", "my key", "order"]


def made_up() -> list[Document]:
    """Documents in which every value stands in every column, and every key is missing somewhere."""
    found = []
    for number, value in enumerate(VALUES):
        metadata = {key: VALUES[(number * 7 + at) % len(VALUES)] for at, key in enumerate(KEYS) if (number + at) % 3}
        found.append(Document(f"{number}", value, "text", VALUES[-number], {"title": "t\u2028{}", **metadata}))
    return found


DOCUMENTS = made_up()


def blocks_of(number: int) -> int:
    """How many blocks the n-th document has."""
    return (2, 1, 3, 1, 1, 0, 2)[number % 7]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> DocumentStore:
    """The documents, some of them without blocks, in two batches of another order than that of their blocks."""
    store = DocumentStore.create(tmp_path_factory.mktemp("conditions") / "documents.lance")
    firsts = np.cumsum([0, *map(blocks_of, range(len(DOCUMENTS)))])
    stored = [
        StoredDocument(document, "hash", number % 4, int(firsts[number]), blocks_of(number))
        for number, document in enumerate(DOCUMENTS)
    ]
    store.put(stored[9:])
    store.put(stored[:9])
    return store


def rows_of(documents: list[int]) -> list[int]:
    """Rows of the blocks of these documents."""
    firsts = np.cumsum([0, *map(blocks_of, range(len(DOCUMENTS)))])
    return [row for number in documents for row in range(firsts[number], firsts[number + 1])]


BLOCKS = len(rows_of(list(range(len(DOCUMENTS)))))


def holds(store: DocumentStore, text: str) -> list[int]:
    return list(np.flatnonzero(Condition(text).block_rows(store, BLOCKS)).tolist())


def value_of(document: Document, column: str) -> str | None:
    if column == "version":
        return str(int(document.id) % 4)
    if column in ("id", "title", "source"):
        return str(getattr(document, column))
    return document.metadata.get(column.removeprefix("metadata.").strip('"'))


def as_number(text: str | None) -> float | None:
    if text is None or not re.fullmatch(r"\s*[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?\s*", text):
        return None
    return float(text)


def quote(value: str | float) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else f"{value:g}"


def compared(column: str, sign: str, value: str | float) -> Callable[[Document], Truth]:
    tests = {"=": "__eq__", "<>": "__ne__", "<": "__lt__", "<=": "__le__", ">": "__gt__", ">=": "__ge__"}

    def test(document: Document) -> Truth:
        text = value_of(document, column)
        found = text if isinstance(value, str) else as_number(text)
        return None if found is None else bool(getattr(found, tests[sign])(value))

    return test


def negated(test: Callable[[Document], Truth]) -> Callable[[Document], Truth]:
    return lambda document: None if (truth := test(document)) is None else not truth


def joined(sign: str, *tests: Callable[[Document], Truth]) -> Callable[[Document], Truth]:
    decides = sign == "OR"

    def test(document: Document) -> Truth:
        truths = [test(document) for test in tests]
        return decides if decides in truths else None if None in truths else not decides

    return test


def like(column: str, pattern: str) -> Callable[[Document], Truth]:
    signs = {"%": ".*", "_": "."}
    expression = re.compile("".join(signs.get(sign, re.escape(sign)) for sign in pattern), re.DOTALL)

    def test(document: Document) -> Truth:
        text = value_of(document, column)
        return None if text is None else bool(expression.fullmatch(text))

    return test


@st.composite
def comparisons(draw: st.DrawFn) -> Written:
    column = draw(st.sampled_from(["id", "title", "source", "version", "year", '"my key"', "order", "metadata.title"]))
    values = st.sampled_from(VALUES) | st.sampled_from([1990.0, -3.5, 7.0, 1e3, 2.0, 0.0, 1.0])
    kind = draw(st.sampled_from(["compare", "mirror", "in", "like", "between", "null"]))
    no, turn = draw(st.sampled_from([("", lambda test: test), ("NOT ", negated)]))
    if kind in ("compare", "mirror"):
        sign, value = draw(st.sampled_from(["=", "<>", "<", "<=", ">", ">="])), draw(values)
        turned = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}.get(sign, sign)
        text = f"{column} {sign} {quote(value)}" if kind == "compare" else f"{quote(value)} {turned} {column}"
        return text, compared(column, sign, value)
    if kind == "in":
        chosen = draw(st.lists(values, min_size=1, max_size=4))
        tests = [compared(column, "=", value) for value in chosen]
        return f"{column} {no}IN ({', '.join(map(quote, chosen))})", turn(joined("OR", *tests))
    if kind == "like":
        pattern = draw(st.sampled_from([*VALUES, "%", "_", "%t%", "_\\b", "a%b", "1%", "%e\n%"]))
        return f"{column} {no}LIKE {quote(pattern)}", turn(like(column, pattern))
    if kind == "between":
        low, high = draw(values), draw(values)
        test = joined("AND", compared(column, ">=", low), compared(column, "<=", high))
        return f"{column} {no}BETWEEN {quote(low)} AND {quote(high)}", turn(test)
    return f"{column} IS {no}NULL", turn(lambda document: value_of(document, column) is None)


def grown(inner: st.SearchStrategy[Written]) -> st.SearchStrategy[Written]:
    def join(parts: tuple[str, list[Written]]) -> Written:
        sign, tests = parts
        return f" {sign} ".join(f"({text})" for text, _ in tests), joined(sign, *(test for _, test in tests))

    return st.builds(lambda part: (f"NOT ({part[0]})", negated(part[1])), inner) | st.tuples(
        st.sampled_from(["AND", "OR"]), st.lists(inner, min_size=2, max_size=3)
    ).map(join)


@settings(max_examples=80)
@given(st.recursive(comparisons(), grown, max_leaves=6))
def test_condition_holds_where_three_valued_logic_says_true(store: DocumentStore, written: Written) -> None:
    text, test = written
    expected = [number for number, document in enumerate(DOCUMENTS) if test(document) is True]
    assert holds(store, text) == rows_of(expected)


def test_not_binds_closer_than_and_which_binds_closer_than_or(store: DocumentStore) -> None:
    def ids(*numbers: int) -> list[int]:
        return rows_of([number for number in range(len(DOCUMENTS)) if number in numbers])

    assert holds(store, "id = 1 or id = 2 and version = 0") == ids(1)
    assert holds(store, "(id = 1 or id = 4) and version = 0") == ids(4)
    assert holds(store, "not id > 1 and version = 1") == ids(1)
    assert holds(store, "id not in (1, 2, 4) and id not between 5 and 99 and id not like '3'") == ids(0)
    assert holds(store, "id not like '_'") == ids(*range(10, 15))
    assert holds(store, "not id not like '3'") == ids(3) != []
    assert holds(store, "year is not null and id < 3 -- a remark") == ids(1, 2)


def test_columns_can_be_compared_with_each_other(store: DocumentStore) -> None:
    expected = [n for n, d in enumerate(DOCUMENTS) if "year" in d.metadata and d.title == d.metadata["year"]]
    assert holds(store, "year = title") == rows_of(expected)


def test_key_named_like_a_field_is_reached_with_its_prefix(store: DocumentStore) -> None:
    everything = list(range(BLOCKS))
    assert holds(store, "metadata.title = 't\u2028{}'") == everything
    assert holds(store, "title = 't\u2028{}'") == []


def test_condition_that_holds_for_no_document_gives_no_rows(store: DocumentStore) -> None:
    assert holds(store, "source = 'nowhere'") == []


def test_long_chains_are_understood(store: DocumentStore) -> None:
    ids = " OR ".join(f"id = '{number}'" for number in range(2000))
    assert holds(store, ids) == list(range(BLOCKS))
    assert holds(store, f"id IN ({', '.join(map(str, range(5000)))})") == list(range(BLOCKS))


@pytest.mark.parametrize(
    "text",
    [
        "title = '\udc80'", "id BETWEEN SYMMETRIC 1 AND 2",
        "", "  ", "source", "source =", "'", "source = 'x", "1 = 1", "TRUE", "source = NULL", "TRUE = TRUE", "NULL",
        "source = 'x'; DROP TABLE documents", "DROP TABLE documents", "SELECT 1", "id IN (SELECT id FROM documents)",
        "EXISTS (SELECT 1)", "lower(source) = 'x'", "source = lower('X')", "source || 'a' = 'xa'", "version + 1 = 2",
        "CAST(version AS TEXT) = '1'", "version::int = 1", "source = ?", "source = :name",
        "CASE WHEN id = 1 THEN TRUE END", "source ILIKE 'x'", "source LIKE 'x' ESCAPE '!'", "source LIKE 5",
        "source LIKE title", "source REGEXP 'x'", "source IS 3", "source IS TRUE", "id IN ()", "id IN (1, NULL)",
        "id IN (title)", "-'x' = id", "documents.source = 'x'", "a.b.c = 1", "metadata = 1 OR", "id = 1 ORDER BY id",
        "id = 1 UNION SELECT 1", "id = 1,", "id = 1 id = 2", "(id, title) = (1, 2)", "id = ANY (1, 2)", "* = 1",
        "id.* = 1", "id = 0x1F", "id = DATE '2000-01-01'", "`id` = 1", "id = 1\x00", "😀", "{{x}} = 1",
        "(" * 60 + "id = 1" + ")" * 60, "(" * 5000 + "id = 1" + ")" * 5000, "NOT " * 3000 + "id = 1",
    ],
)  # fmt: skip
def test_anything_else_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UsageError, match=r"^The condition .* cannot be used: .*such as: source = 'x'") as caught:
        Condition(text)
    assert "\n" not in str(caught.value).replace(text, "")
    assert len(str(caught.value)) < 500


@settings(max_examples=150)
@given(st.text("idyear=<>!'\"%_()., ;-*/\\\n:?[]{}@$#09NOTANDINLIKE", max_size=25) | st.text(max_size=12))
def test_any_text_is_a_condition_or_refused(store: DocumentStore, text: str) -> None:
    try:
        rows = holds(store, text)
    except UsageError:
        return
    assert len(rows) <= BLOCKS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("yaer > 1990", r"'yaer'.*nearest is 'year'"),
        ("Source = 'x'", r"'Source'.*nearest is 'source'"),
        ('source = "year1"', r"'year1'.*nearest is 'year'\. Texts stand in single quotes"),
        ("id = 1 OR metadata.id = 1", r"'id'.*There are: id, title, source, version, my key, order, title, year"),
    ],
)
def test_unknown_column_is_refused_with_the_nearest_known_one(store: DocumentStore, text: str, expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        holds(store, text)


def test_without_documents_nothing_holds_whatever_the_column(tmp_path: Path) -> None:
    empty = DocumentStore.create(tmp_path / "documents.lance")
    assert Condition("year > 3").block_rows(empty, 0).tolist() == []


def test_folders_that_are_hidden_cannot_be_asked_about(tmp_path: Path) -> None:
    store = DocumentStore.create(tmp_path / "documents.lance")
    sources = ["/home/me/secret/notes.jsonl:12", "https://example.org/a/b", "plain.txt"]
    documents = [Document(f"{n}", "title", "text", source) for n, source in enumerate(sources)]
    store.put([StoredDocument(document, "hash", 1, n, 1) for n, document in enumerate(documents)])

    def rows(text: str, *, hides: bool) -> list[int]:
        found = Condition(text, hides_folders=hides).block_rows(store, len(sources))
        return [int(row) for row in np.flatnonzero(found)]

    asked = {"source LIKE '/home/%'": [0], "source < '/i'": [0], "source LIKE '%secret%'": [0]}
    assert {text: rows(text, hides=False) for text in asked} == asked
    assert {text: rows(text, hides=True) for text in asked} == {text: [] for text in asked}
    assert rows("source = 'notes.jsonl:12'", hides=True) == [0]
    assert rows("source = 'https://example.org/a/b' OR source = 'plain.txt'", hides=True) == [1, 2]


def test_the_source_of_a_record_is_equal_to_its_file_too(tmp_path: Path) -> None:
    store = DocumentStore.create(tmp_path / "documents.lance")
    sources = ["src/a.csv:2", "src/a.csv:13", "src/b.csv:2", "a.txt", "src/a.csv:2:9"]
    documents = [Document(f"{n}", "title", "text", source) for n, source in enumerate(sources)]
    store.put([StoredDocument(document, "hash", 1, n, 1) for n, document in enumerate(documents)])
    for text, expected in {
        "source = 'src/a.csv'": [0, 1],
        "'src/a.csv' = source": [0, 1],
        "source = 'src/a.csv:2'": [0, 4],
        "source <> 'src/a.csv'": [2, 3, 4],
        "NOT source = 'src/a.csv'": [2, 3, 4],
        "source IN ('src/b.csv', 'a.txt')": [2, 3],
        "source NOT IN ('src/b.csv', 'a.txt')": [0, 1, 4],
        "source = 'src/a'": [],
    }.items():
        found = Condition(text).block_rows(store, len(sources))
        assert [int(row) for row in np.flatnonzero(found)] == expected, text
    found = Condition("source = 'b.csv'", hides_folders=True).block_rows(store, len(sources))
    assert [int(row) for row in np.flatnonzero(found)] == [2]


def test_truth_values_are_compared_as_they_are_kept(tmp_path: Path) -> None:
    store = DocumentStore.create(tmp_path / "documents.lance")
    for n, ok in enumerate(["true", "false", "maybe"]):
        store.put([StoredDocument(Document(f"{n}", "", "", "", {"ok": ok}), "", 1, n, 1)])
    store.put([StoredDocument(Document("3", "", "", "", {}), "", 1, 3, 1)])
    for text, expected in {
        "ok = true": [0],
        "ok = FALSE": [1],
        "ok <> true": [1, 2],
        "ok IN (true, false)": [0, 1],
    }.items():
        assert np.flatnonzero(Condition(text).block_rows(store, 4)).tolist() == expected, text


def test_large_metadata_is_read(tmp_path: Path) -> None:
    store = DocumentStore.create(tmp_path / "documents.lance")
    note = '\u0000\n"{é}\\' * 400_000
    store.put([StoredDocument(Document("a", "", "", "", {"note": note, "k": "1"}), "", 1, 0, 1)])
    store.put([StoredDocument(Document("b", "", "", "", {}), "", 1, 1, 1)])
    assert Condition("k = 1").block_rows(store, 2).tolist() == [True, False]
    assert Condition("note LIKE '%é%'").block_rows(store, 2).tolist() == [True, False]


def test_documents_with_blocks_that_are_not_there_are_told(store: DocumentStore) -> None:
    with pytest.raises(CorruptFileError, match=f"documents name block {BLOCKS} of 3"):
        Condition("version < 9").block_rows(store, 3)
