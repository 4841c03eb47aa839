"""Retrieval collections in BEIR's layout, and their measures against the definitions."""

from __future__ import annotations

import gzip
import json
from math import log2
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realm.corpus.skips import SkipReport
from realm.errors import SourceError
from realm.evaluation.beir import read_collection, read_corpus, score_rankings

DOCUMENTS = [
    {"_id": "1", "title": "One", "text": "First."},
    {"_id": 2, "title": "Two", "text": ""},
    {"_id": "3", "title": "", "text": " "},
]


def write_lines(path: Path, *records: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join(json.dumps(record) + "\n" for record in records).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    write_lines(tmp_path / "corpus.jsonl.gz", *DOCUMENTS)
    write_lines(tmp_path / "queries.jsonl", {"_id": "a", "text": "one?"}, {"_id": "b", "text": "more?"})
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\na\t1\t2\na\t2\t0\n")
    return tmp_path


def test_collection_has_the_judged_queries_of_the_split(collection: Path) -> None:
    found = read_collection(collection)
    assert found.queries == {"a": "one?"}
    assert found.grades == {"a": {"1": 2, "2": 0}}


def test_documents_are_read_with_their_places_and_empty_ones_counted(collection: Path) -> None:
    report = SkipReport()
    found = [(d.id, d.title, d.text, d.source) for d in read_corpus(read_collection(collection), report)]
    path = collection.resolve() / "corpus.jsonl.gz"
    assert found == [("1", "One", "First.", f"{path}:1"), ("2", "Two", "Two", f"{path}:2")]
    assert report.reasons == {"no_text": 1}


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({"text": "x"}, '"_id" is missing'),
        ({"_id": 1, "text": "x"}, 'the id "1"'),
        ({"_id": [], "text": "x"}, "a list"),
    ],
)
def test_bad_documents_are_errors_that_name_the_line(collection: Path, record: dict[str, Any], problem: str) -> None:
    write_lines(collection / "corpus.jsonl.gz", *DOCUMENTS, record)
    with pytest.raises(SourceError, match=rf"corpus\.jsonl\.gz:4: .*{problem}"):
        list(read_corpus(read_collection(collection)))


def test_collection_may_be_made_of_links(collection: Path) -> None:
    (collection / "corpus.jsonl.gz").rename(collection / "blob")
    (collection / "corpus.jsonl.gz").symlink_to(collection / "blob")
    assert [document.id for document in read_corpus(read_collection(collection))] == ["1", "2"]


def test_missing_and_damaged_files_are_errors(collection: Path) -> None:
    with pytest.raises(SourceError, match=r"no qrels/dev\.tsv or qrels\.dev\.tsv"):
        read_collection(collection, "dev")
    (collection / "qrels" / "test.tsv").write_text("a\t1\t1\na 2\n")
    with pytest.raises(SourceError, match=r"test\.tsv:2: expected query, document and grade"):
        read_collection(collection)
    (collection / "qrels" / "test.tsv").write_text("z\t1\t1\n")
    with pytest.raises(SourceError, match="no query of the split 'test' has a judgement"):
        read_collection(collection)


def by_definition(ranking: list[str], grades: dict[str, int]) -> dict[str, float]:
    def gain(found: list[int]) -> float:
        return sum(grade / log2(place + 2) for place, grade in enumerate(found[:10]))

    relevant = {document for document, grade in grades.items() if grade > 0}
    ideal = gain(sorted((max(0, g) for g in grades.values()), reverse=True))
    first = next((place for place, document in enumerate(ranking[:10], 1) if document in relevant), None)
    return {
        "nDCG@10": gain([max(0, grades.get(document, 0)) for document in ranking]) / ideal if ideal else 0.0,
        "R@100": len(relevant & set(ranking[:100])) / len(relevant) if relevant else 0.0,
        "RR@10": 1 / first if first else 0.0,
    }


NAMES = [f"d{n}" for n in range(120)]


@settings(max_examples=30)
@given(
    st.dictionaries(
        st.sampled_from("abc"),
        st.tuples(st.permutations(NAMES), st.dictionaries(st.sampled_from(NAMES), st.integers(0, 2), min_size=1)),
        min_size=1,
    )
)
def test_measures_are_those_of_their_definitions(queries: dict[str, tuple[list[str], dict[str, int]]]) -> None:
    pytest.importorskip("ir_measures")
    rankings = {key: {d: 1000.0 - place for place, d in enumerate(order)} for key, (order, _) in queries.items()}
    grades = {key: wanted for key, (_, wanted) in queries.items()}
    expected = [by_definition(order, wanted) for order, wanted in queries.values()]
    for name, found in score_rankings(rankings, grades).items():
        assert found.value == pytest.approx(sum(values[name] for values in expected) / len(expected))
        assert found.n == len(queries)


def test_query_that_found_nothing_counts_as_zero() -> None:
    pytest.importorskip("ir_measures")
    found = score_rankings({"a": {"1": 3.0}, "b": {}}, {"a": {"1": 1}, "b": {"1": 1}})
    assert {name: estimate.value for name, estimate in found.items()} == {"nDCG@10": 0.5, "R@100": 0.5, "RR@10": 0.5}
