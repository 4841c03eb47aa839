"""A corpus small enough to train on that answers questions nobody wrote for it; docs/results.md has what was learned.

    python benchmarks/answerable_corpus.py DATA OUT FILE=COUNT... [--passages 4]

Cuts the Wikipedia of DATA/wiki into blocks and looks for every question of DATA/questions/FILE.jsonl.zst with BM25
(bm25s, stemmed, over title and text). A question counts if one of its 20 best blocks holds an answer; COUNT are drawn.
OUT/questions/FILE.jsonl gets these questions, but for one in eight, by digest: OUT/questions/FILE.aside.jsonl gets it.
OUT/corpus/passages.jsonl gets the best blocks of all (`--passages` each, and the first one that holds an answer),
OUT/corpus/paragraphs.jsonl the paragraphs of DATA/reading/squad_*_part.jsonl.zst; OUT/reading is a copy. Figures
measured on it are of questions that words can find: they compare with each other, not with those of other corpora.
"""

from __future__ import annotations

import argparse
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bm25s
import Stemmer
from learning_data import paragraphs_of, write_lines

from realm.corpus.answers import contains_answer
from realm.corpus.chunking import chunk_documents
from realm.corpus.questions import read_questions
from realm.corpus.readers import read_documents
from realm.openqa.model_folder import ModelFolder
from realm.records import Question
from realm.training.reading_data import is_kept_aside

DEPTH = 20
KEEP_ASIDE = 8
TRIED_AT_ONCE = 500


class Passages:
    """All blocks of the Wikipedia, searched by words."""

    def __init__(self, wiki: Path) -> None:
        tokenizer = ModelFolder.open().tokenizer
        chunked = chunk_documents(read_documents([wiki]), tokenizer, processes=2)
        self.records = [
            {"id": f"{block.document_id}#{block.start}", "title": block.title, "text": block.text}
            for document in chunked
            for block in document.blocks
        ]
        print(f"{len(self.records):,} blocks", flush=True)
        self._stemmer = Stemmer.Stemmer("english")
        self._words = bm25s.BM25()
        self._words.index(
            self._tokens([f"{record['title']}. {record['text']}" for record in self.records]), show_progress=False
        )

    def best(self, questions: list[Question]) -> list[list[int]]:
        """The numbers of each question's best blocks, best first."""
        found, _ = self._words.retrieve(self._tokens([one.text for one in questions]), k=DEPTH, show_progress=False)
        return [row.tolist() for row in found]

    def _tokens(self, texts: list[str]) -> Any:
        return bm25s.tokenize(texts, stopwords="en", stemmer=self._stemmer, show_progress=False)


def answerable(path: Path, passages: Passages) -> Iterator[tuple[Question, list[int], int]]:
    """Questions in random order, each with its best blocks and the first of them that holds an answer."""
    questions = [one for one in read_questions(path) if any(one.answers)]
    random.Random(0).shuffle(questions)
    for start in range(0, len(questions), TRIED_AT_ONCE):
        group = questions[start : start + TRIED_AT_ONCE]
        for question, best in zip(group, passages.best(group), strict=True):
            for number in best:
                if contains_answer(passages.records[number]["text"], question.answers, question.answer_type):
                    yield question, best, number
                    break


def record_of(question: Question) -> dict[str, Any]:
    answers, kind = list(question.answers), question.answer_type
    return {"id": question.id, "question": question.text, "answers": answers, "answer_type": kind}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("files", nargs="+", metavar="FILE=COUNT")
    parser.add_argument("--passages", type=int, default=4)
    options = parser.parse_args()
    for folder in ("corpus", "questions"):
        (options.out / folder).mkdir(parents=True, exist_ok=True)
    shutil.copytree(options.data / "reading", options.out / "reading", dirs_exist_ok=True)
    passages = Passages(options.data / "wiki")
    kept: set[int] = set()
    for name, count in (item.split("=") for item in options.files):
        drawn = []
        for question, best, answering in answerable(options.data / f"questions/{name}.jsonl.zst", passages):
            if len(drawn) == int(count):
                break
            drawn.append(question)
            kept.update((*best[: options.passages], answering))
        for aside, ending in ((False, ".jsonl"), (True, ".aside.jsonl")):
            write_lines(
                options.out / f"questions/{name}{ending}",
                (record_of(question) for question in drawn if is_kept_aside(question.text, KEEP_ASIDE) == aside),
            )
    write_lines(options.out / "corpus/passages.jsonl", (passages.records[number] for number in sorted(kept)))
    write_lines(options.out / "corpus/paragraphs.jsonl", paragraphs_of(options.data))


if __name__ == "__main__":
    main()
