"""Retrieval collections in BEIR's layout: documents, queries, and which documents answer which query.

    corpus.jsonl        {"_id", "title", "text"}
    queries.jsonl       {"_id", "text"}; also queries.SPLIT.jsonl
    qrels/SPLIT.tsv     query, document, grade, tab between; also qrels.SPLIT.tsv

Each of the files may be compressed (.gz, .zst). Knows no model.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from realm.corpus.fields import document_of_fields, is_blank
from realm.corpus.lines import Record, open_source, read_records
from realm.corpus.questions import read_questions
from realm.corpus.skips import BadRecord, Skipper, SkipReport, UniqueIds
from realm.errors import SourceError
from realm.evaluation.bootstrap import Estimate, mean_estimate
from realm.extras import require
from realm.records import Document

MEASURES = ("nDCG@10", "R@100", "RR@10")
DEPTH = 100


@dataclass(frozen=True, slots=True)
class RetrievalCollection:
    """One split of a collection.

    Attributes:
        folder: Where it lies: the same, whatever it was called on the command line.
        corpus: The file of documents in it.
        queries: Text of each query that has judgements, by id.
        grades: Grade of each judged document, by query and document id; above 0 it answers.
    """

    folder: Path
    corpus: Path
    queries: Mapping[str, str]
    grades: Mapping[str, Mapping[str, int]]


def read_collection(folder: Path, split: str = "test") -> RetrievalCollection:
    """Open a collection in BEIR's layout.

    Raises:
        SourceError: One of its files is missing or damaged, or no query of the split has a judgement.
    """
    grades = _read_grades(_find(folder, f"qrels/{split}.tsv", f"qrels.{split}.tsv"))
    questions = read_questions(_find(folder, f"queries.{split}.jsonl", "queries.jsonl"))
    queries = {question.id: question.text for question in questions if question.id in grades}
    if not queries:
        raise SourceError(f"{folder}: no query of the split {split!r} has a judgement")
    found = {key: grades[key] for key in queries}
    folder = folder.resolve()
    return RetrievalCollection(folder, _find(folder, "corpus.jsonl"), queries, found)


def read_corpus(collection: RetrievalCollection, skipped: SkipReport | None = None) -> Iterator[Document]:
    """Read the collection's documents; one without text has its title as text.

    Args:
        collection: The collection.
        skipped: Where documents with neither text nor title are counted, which are left out.

    Raises:
        SourceError: A document cannot be read, has no id, or that of an earlier one; the message names the line.
    """
    skipped = SkipReport() if skipped is None else skipped
    ids = UniqueIds()

    def convert(record: Record) -> Document | None:
        title, text = (str(record.fields.get(key) or "") for key in ("title", "text"))
        if record.fields.get("_id") is None:
            raise BadRecord("bad_id", '"_id" is missing')
        if is_blank(title + text):
            skipped.add("no_text", f"{record.place}: neither title nor text")
            return None
        fields = {"id": record.fields["_id"], "title": title, "text": title if is_blank(text) else text}
        document = document_of_fields(fields, record.place, record.default_id)
        ids.claim(document.id)
        return document

    found = read_records(collection.corpus, convert, Skipper(False, None))
    return (document for document in found if document is not None)


def score_rankings(
    rankings: Mapping[str, Mapping[str, float]], grades: Mapping[str, Mapping[str, int]]
) -> dict[str, Estimate]:
    """nDCG@10, recall@100 and reciprocal rank@10 over all judged queries, with intervals.

    A query without ranking counts as 0. The measures are those of trec_eval, by ir-measures.

    Args:
        rankings: Score of each document, by query.
        grades: See `RetrievalCollection`.

    Raises:
        MissingExtraError: ir-measures is not installed.
    """
    library = require("ir_measures", "evaluate")
    measures = {name: library.parse_measure(name) for name in MEASURES}
    values = {name: dict.fromkeys(grades, 0.0) for name in MEASURES}
    by_measure = {str(measure): name for name, measure in measures.items()}
    plain = [{query: dict(found) for query, found in table.items()} for table in (grades, rankings)]
    for found in library.iter_calc(list(measures.values()), *plain):
        values[by_measure[str(found.measure)]][found.query_id] = found.value
    return {name: mean_estimate(list(column.values())) for name, column in values.items()}


def _find(folder: Path, *names: str) -> Path:
    for name in names:
        for suffix in ("", ".zst", ".gz"):
            path = folder / f"{name}{suffix}"
            if path.is_file():
                return path
    raise SourceError(f"{folder}: there is no {' or '.join(names)}; expected a collection in BEIR's layout")


def _read_grades(path: Path) -> dict[str, dict[str, int]]:
    grades: dict[str, dict[str, int]] = {}
    for place, line in _lines(path):
        cells = line.split("\t")
        try:
            query, document, grade = cells
            grades.setdefault(query, {})[document] = int(grade)
        except ValueError:
            if place != 1:  # the first line may be a header
                raise SourceError(f"{path}:{place}: expected query, document and grade; found {line[:60]!r}") from None
    return grades


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with io.TextIOWrapper(open_source(path), encoding="utf-8-sig") as file:
            yield from ((number, line) for number, line in enumerate(map(str.strip, file), 1) if line)
    except (OSError, UnicodeDecodeError) as exc:
        raise SourceError(f"{path}: cannot be read: {exc}") from exc
