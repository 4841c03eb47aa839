"""Answers and evidence on SQuAD questions nobody trained on, over a knowledge base that also holds other articles.

    python benchmarks/squad_open.py READING... --kb KB [--questions 600]

Adds the paragraphs of the reading files to the knowledge base (unchanged ones are skipped), asks the questions of
the titles that the recipes of realm-mini keep aside, and prints exact match, token F1, recall and latency with
95 % bootstrap intervals. `recall@5 (answer)` counts a question if an answer string stands in one of the best five
blocks as whole words; `recall@5 (paragraph)` if one of them lies in the question's own paragraph.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from realm.artifacts import sha256_of_text
from realm.corpus.answers import contains_answer
from realm.corpus.questions import read_reading_examples
from realm.evaluation.exact_match import exact_match, token_f1
from realm.openqa.ask import OpenQA, Searching
from realm.openqa.indexing import index_sources
from realm.openqa.model_folder import ModelFolder
from realm.records import ReadingExample
from realm.training.reading_data import is_kept_aside

KEEP_ASIDE = 4
BATCH = 16


def paragraph_id(example: ReadingExample) -> str:
    return "paragraph-" + sha256_of_text(example.context)[:16]


def add_paragraphs(examples: list[ReadingExample], kb: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "paragraphs.jsonl"
        with source.open("w", encoding="utf-8") as file:
            for key, example in {paragraph_id(e): e for e in examples}.items():
                file.write(json.dumps({"id": key, "title": example.title, "text": example.context}) + "\n")
        report = index_sources(kb, [source], ModelFolder.open())
    print(f"paragraphs: {report.added} added, {report.unchanged} there already")


def interval(values: list[float]) -> str:
    means = np.random.default_rng(0).choice(values, (1000, len(values))).mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{statistics.fmean(values):.3f}  [{low:.3f}, {high:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reading", nargs="+", type=Path)
    parser.add_argument("--kb", type=Path, required=True)
    parser.add_argument("--questions", type=int, default=600)
    parser.add_argument("--weight", type=float, help="share of the words in finding blocks; as the knowledge base says")
    parser.add_argument("--show-wrong", type=int, default=0)
    options = parser.parse_args()
    files = [list(read_reading_examples(path)) for path in options.reading]
    add_paragraphs([example for examples in files for example in examples], options.kb)
    # The recipes keep titles aside in the development part alone; the training part is all trained on.
    asked = [e for e in files[0] if is_kept_aside(e.title, KEEP_ASIDE)]
    asked = random.Random(0).sample(asked, min(options.questions, len(asked)))
    qa = OpenQA.load(options.kb)
    figures: dict[str, list[float]] = {}
    seconds, shown = [], 0
    for start in range(0, len(asked), BATCH):
        batch = asked[start : start + BATCH]
        begin = time.perf_counter()
        texts, searching = [e.question.text for e in batch], Searching(weight=options.weight)
        answers = qa.ask_many(texts, searching=searching, min_confidence=0.0)
        seconds.append((time.perf_counter() - begin) / len(batch))
        for example, answer in zip(batch, answers, strict=True):
            own = paragraph_id(example)
            text = answer.text or ""
            row = {
                "exact match": exact_match(text, example.question.answers),
                "token F1": token_f1(text, example.question.answers),
                "recall@1 (answer)": contains_answer(answer.evidence[0].text, example.question.answers),
                "recall@5 (answer)": any(contains_answer(e.text, example.question.answers) for e in answer.evidence),
                "recall@5 (paragraph)": any(e.document_id == own for e in answer.evidence),
                "read from own paragraph": any(e.start is not None and e.document_id == own for e in answer.evidence),
                "confidence": answer.confidence,
            }
            for name, value in row.items():
                figures.setdefault(name, []).append(float(value))
            if not row["exact match"] and shown < options.show_wrong:
                shown += 1
                wanted = example.question.answers
                print(f"wrong: {example.question.text} -> {text} ({answer.confidence:.2f}), {wanted}")
    blocks = qa.knowledge_base.live_blocks
    print(f"{len(asked)} questions of {len({e.title for e in asked})} kept-aside titles, {blocks:,} blocks")
    for name, values in figures.items():
        print(f"{name:>24}  {interval(values)}")
    print(f"{'seconds per question':>24}  {statistics.median(seconds):.3f} (median of batches of {BATCH})")


if __name__ == "__main__":
    main()
