"""Conditions on documents, such as `source = 'x' AND year >= 1990`, and the blocks of the documents they hold for.

    text ──sqlglot──> tree ──compiled──> a test of columns ──batches of documents──> documents ──> rows of blocks

Columns are id, title, source and version, and every key of the documents' metadata, also as `metadata.key` and, where
it is no plain word, in double quotes. There are comparisons, IN, LIKE, BETWEEN and IS NULL, joined with AND, OR and
NOT; nothing else of SQL. Compared with a number, a column counts as a number (double precision), and is NULL where it
is none; compared with a text or another column, as a text. A key that a document does not have is NULL. A truth value
is the text `true` or `false`. The source of a record, such as `a.csv:2`, is equal to that text and to `a.csv`.

The text of a condition is never handed to a database: what is not in the lists below is refused.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from realm.corpus.document_columns import FIELDS, DocumentColumns, metadata_keys
from realm.corpus.document_store import DocumentStore
from realm.errors import CorruptFileError, UsageError

_Test = Callable[[DocumentColumns], Any]
_COMPARISONS = {"EQ": "equal", "NEQ": "not_equal", "LT": "less", "LTE": "less_equal", "GT": "greater",
                "GTE": "greater_equal"}  # fmt: skip
_PARTS = {"Between": {"this", "low", "high"}, "In": {"this", "expressions"}, "Not": {"this"}, "Paren": {"this"}}
_MIRRORED = {"LT": "GT", "LTE": "GTE", "GT": "LT", "GTE": "LTE"}
_LINE = r":[0-9]+$"
_MAX_DEPTH = 50
_SHOWN = 60


class Condition:
    """A condition that has been understood.

    Attributes:
        text: As typed.
        columns: Columns it names; those of the metadata begin with `metadata.`.
    """

    def __init__(self, text: str, *, hides_folders: bool = False) -> None:
        """Understand `text`. With `hides_folders` a source is what `shown_source` makes of it.

        Raises:
            UsageError: It is no condition, or uses more of SQL than conditions have.
        """
        self.text = text
        self._hides_folders = hides_folders
        self.columns: set[str] = set()
        self._quoted: set[str] = set()
        self._test = self._compiled(self._parsed(), 0)

    def block_rows(self, documents: DocumentStore, blocks: int) -> NDArray[np.bool_]:
        """Which of all `blocks` rows belong to documents for which the condition holds.

        Raises:
            UsageError: No document has a column that it names.
            CorruptFileError: The documents are damaged, or name blocks that are not there.
        """
        edges = np.zeros(blocks + 1, dtype=np.int64)
        for columns, chosen in self._tested(documents, ()):
            first, count = columns.places(chosen)
            last = first + count
            if len(last) and int(last.max()) > blocks:
                raise CorruptFileError(f"{documents.path}: documents name block {int(last.max()):,} of {blocks:,}")
            np.add.at(edges, first, 1)
            np.add.at(edges, last, -1)
        return np.cumsum(edges[:-1]) > 0

    def documents(self, documents: DocumentStore, fields: Sequence[str]) -> Iterator[tuple[str, ...]]:
        """Those of `FIELDS` that are asked for, as texts, of each document for which the condition holds.

        Raises:
            UsageError: No document has a column that it names; known when all have been read.
        """
        for columns, chosen in self._tested(documents, fields):
            yield from columns.texts(fields, chosen)

    def _tested(self, documents: DocumentStore, fields: Iterable[str]) -> Iterator[tuple[DocumentColumns, Any]]:
        filled: set[str] = set()
        for columns in DocumentColumns.of(documents, {*self.columns, *fields}, hides_folders=self._hides_folders):
            filled |= columns.filled()
            yield columns, self._test(columns)
        if missing := sorted(self.columns - filled):
            self._require_known(missing, documents)

    def _require_known(self, columns: Iterable[str], documents: DocumentStore) -> None:
        """Raise for a column that no document has, with the nearest one that some have."""
        keys = metadata_keys(documents)
        legal = [*FIELDS, *sorted(keys)]
        for name in (column.removeprefix("metadata.") for column in columns if column not in FIELDS):
            if name in keys or not len(documents):
                continue
            nearest = difflib.get_close_matches(name, legal, 1, cutoff=0.0)[0]
            hint = " Texts stand in single quotes." if name in self._quoted else ""
            shown = ", ".join(legal[:_SHOWN]) + (", ..." if len(legal) > _SHOWN else "")
            raise UsageError(
                f"No document has {_short(name)!r}, which the condition names; the nearest is {nearest!r}.{hint} "
                f"There are: {shown}."
            )

    def _parsed(self) -> Any:
        import sqlglot

        if not self.text.isascii() and self.text.encode("utf-8", "ignore").decode("utf-8") != self.text:
            self._refuse("it is not UTF-8 text")
        try:
            return sqlglot.parse_one(self.text, into=sqlglot.exp.Condition)
        except RecursionError:
            self._refuse("it is nested too deeply")
        except (sqlglot.errors.SqlglotError, ValueError) as exc:
            self._refuse("it is not one SQL condition", exc)

    def _refuse(self, what: str, cause: Exception | None = None) -> NoReturn:
        raise UsageError(
            f"The condition {_short(self.text)!r} cannot be used: {what}. A condition compares {', '.join(FIELDS)} or "
            "keys of the metadata with values (=, <>, <, >, IN, LIKE, BETWEEN, IS NULL), joined with AND, OR and NOT, "
            "such as: source = 'x' AND year >= 1990"
        ) from cause

    def _compiled(self, node: Any, depth: int) -> _Test:
        """The test that a part of the tree stands for, by the kind of its topmost node."""
        import pyarrow.compute as pc

        if depth > _MAX_DEPTH:
            self._refuse("it is nested too deeply")
        kind = type(node).__name__
        if node.args.get("negate"):  # as some versions of the library have NOT LIKE
            plain = node.copy()
            plain.set("negate", None)
            inner = self._compiled(plain, depth + 1)
            return lambda columns: pc.invert(inner(columns))
        if {part for part, value in node.args.items() if value} - _PARTS.get(kind, {"this", "expression"}):
            kind = ""  # more than is understood here, such as BETWEEN SYMMETRIC
        if kind in ("And", "Or"):
            join = pc.and_kleene if kind == "And" else pc.or_kleene
            tests = [self._compiled(part, depth + 1) for part in node.flatten(unnest=False)]
            return lambda columns: reduce(join, (test(columns) for test in tests))
        if kind == "Paren":
            return self._compiled(node.this, depth + 1)
        if kind == "Not":
            inner = self._compiled(node.this, depth + 1)
            return lambda columns: pc.invert(inner(columns))
        if kind in _COMPARISONS:
            return self._comparison(kind, node.this, node.expression)
        if kind == "Between":
            low = self._comparison("GTE", node.this, node.args["low"])
            high = self._comparison("LTE", node.this, node.args["high"])
            return lambda columns: pc.and_kleene(low(columns), high(columns))
        if kind == "In" and node.expressions:
            return self._membership(node.this, [self._value(value) for value in node.expressions])
        if kind == "Is" and type(node.expression).__name__ == "Null":
            name = self._column(node.this)
            return lambda columns: pc.is_null(columns.text(name))
        if kind == "Like" and isinstance(pattern := self._value(node.expression), str):
            return self._like(node.this, pattern)
        self._refuse(f"{_short(node.sql())} is none of the tests it may hold")

    def _comparison(self, kind: str, left: Any, right: Any) -> _Test:
        import pyarrow.compute as pc

        if type(left).__name__ != "Column":
            left, right, kind = right, left, _MIRRORED.get(kind, kind)
        name = self._column(left)
        compare = getattr(pc, _COMPARISONS[kind])
        if type(right).__name__ == "Column":
            other = self._column(right)
            return lambda columns: compare(columns.text(name), columns.text(other))
        value = self._value(right)
        if isinstance(value, str) and name == "source" and kind in ("EQ", "NEQ"):
            is_same = self._membership(left, [value])
            return is_same if kind == "EQ" else lambda columns: pc.invert(is_same(columns))
        if isinstance(value, str):
            return lambda columns: compare(columns.text(name), value)
        return lambda columns: compare(columns.number(name), value)

    def _membership(self, column: Any, values: list[str | float]) -> _Test:
        import pyarrow as pa
        import pyarrow.compute as pc

        name = self._column(column)
        texts = pa.array([value for value in values if isinstance(value, str)], pa.string())
        numbers = pa.array([value for value in values if not isinstance(value, str)], pa.float64())

        def test(columns: DocumentColumns) -> Any:
            text = columns.text(name)
            pairs = [(text, texts), (columns.number(name), numbers)]
            if name == "source":
                pairs.append((pc.replace_substring_regex(text, _LINE, ""), texts))
            # Arrow calls NULL no member of anything; in SQL that is unknown, also when negated.
            found = [
                pc.if_else(pc.is_valid(column), pc.is_in(column, among), pa.scalar(None, pa.bool_()))
                for column, among in pairs
                if len(among)
            ]
            return reduce(pc.or_kleene, found)

        return test

    def _like(self, column: Any, pattern: str) -> _Test:
        import pyarrow.compute as pc

        name = self._column(column)
        pattern = pattern.replace("\\", "\\\\")  # a sign like any other, in SQL
        return lambda columns: pc.match_like(columns.text(name), pattern)

    def _column(self, node: Any) -> str:
        """The name of a column; keys of the metadata with `metadata.` before them."""
        parts = {part for part, value in node.args.items() if value}
        if type(node).__name__ != "Column" or parts - {"this", "table"} or type(node.this).__name__ != "Identifier":
            self._refuse(f"{_short(node.sql())} stands where a column should")
        if node.table not in ("", "metadata"):
            self._refuse(f"{_short(node.sql())} names a table")
        name = str(node.name)
        if node.this.quoted:
            self._quoted.add(name)
        if node.table or name not in FIELDS:
            name = f"metadata.{name}"
        self.columns.add(name)
        return name

    def _value(self, node: Any) -> str | float:
        negative = type(node).__name__ == "Neg"
        inner = node.this if negative else node
        if type(inner).__name__ == "Literal" and not (negative and inner.is_string):
            if inner.is_string:
                return str(inner.this)
            number = float(inner.this)
            return -number if negative else number
        if type(node).__name__ == "Boolean":
            return "true" if node.this else "false"
        self._refuse(f"{_short(node.sql())} stands where a number, true, false or a text in single quotes should")


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
