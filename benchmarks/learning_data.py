"""A small corpus and questions for watching the training jobs learn; docs/results.md has what they learned.

    python benchmarks/learning_data.py DATA OUT [--documents 700]

OUT/corpus gets the first documents of DATA/wiki/0.jsonl.zst and the paragraphs of DATA/reading/squad_*_part.jsonl.zst;
OUT/squad.jsonl the questions of those development titles that the recipes of realm-mini keep aside.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from squad_open import KEEP_ASIDE, paragraph_id

from realm.corpus.questions import read_reading_examples
from realm.corpus.readers import read_documents
from realm.training.reading_data import is_kept_aside

PARTS = ("dev", "train")


def write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
    path.write_text("".join(lines), encoding="utf-8")
    print(f"{path}: {len(lines):,}")


def paragraphs_of(data: Path) -> Iterable[Mapping[str, Any]]:
    """The paragraphs of the reading files, once each, as documents."""
    examples = (
        example for part in PARTS for example in read_reading_examples(data / f"reading/squad_{part}_part.jsonl.zst")
    )
    found = {paragraph_id(e): {"id": paragraph_id(e), "title": e.title, "text": e.context} for e in examples}
    return found.values()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--documents", type=int, default=700)
    options = parser.parse_args()
    corpus = options.out / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    dev = read_reading_examples(options.data / "reading/squad_dev_part.jsonl.zst")
    documents = islice(read_documents([options.data / "wiki/0.jsonl.zst"]), options.documents)
    write_lines(corpus / "articles.jsonl", ({"id": d.id, "title": d.title, "text": d.text} for d in documents))
    write_lines(corpus / "paragraphs.jsonl", paragraphs_of(options.data))
    asked = [e for e in dev if is_kept_aside(e.title, KEEP_ASIDE)]
    write_lines(
        options.out / "squad.jsonl",
        ({"id": e.question.id, "question": e.question.text, "answers": list(e.question.answers)} for e in asked),
    )


if __name__ == "__main__":
    main()
