"""Whether the answer stands in the best blocks by vectors, by words (BM25) and by both.

    python benchmarks/hybrid_search.py --kb KB QUESTIONS... [--questions 1000] [--weights 0.2 0.4 0.6] [--trunk STATES]

Asks the questions of every file (questions or reading examples, of which only those of the titles that the recipes of
realm-mini keep aside) and prints answer recall@1, @5 and @20 with 95 % bootstrap intervals, for vectors alone, words
alone, reciprocal rank fusion (the two lists of 100 blocks with k = 60) and weighted scores. Weights are chosen on every
second question (recall@1 + @5 + @20, all files together), all figures are those of the others. Searching times are for
one question at a time. `recall@k` counts a question if an answer stands in one of the best k blocks as whole words.
With `--trunk` also for the untouched trunk, mean-pooled; STATES keeps what it says of the blocks, computed if missing.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from trunk_vectors import best_rows, kept_states, mean_pooled

from realm.corpus.answers import contains_answer
from realm.corpus.questions import read_questions, read_reading_examples
from realm.features.inputs import Row
from realm.openqa.ask import MAX_QUESTION_PIECES, OpenQA
from realm.openqa.default_model import trunk_folder
from realm.openqa.search import CANDIDATES, HYBRID_WEIGHT, BlockSearch, Found
from realm.records import Question
from realm.training.reading_data import is_kept_aside
from realm.training.trunk_states import TrunkStates

KEEP_ASIDE = 4
BATCH = 64
DEPTHS = (1, 5, 20)
RANK_CONSTANT = 60


def questions_of(path: Path, most: int) -> list[Question]:
    """Questions with an answer that can be looked for; a sample of `most`."""
    if "reading" in str(path) or "squad" in path.name:
        examples = read_reading_examples(path)
        asked = [example.question for example in examples if is_kept_aside(example.title, KEEP_ASIDE)]
    else:
        asked = list(read_questions(path))
    asked = [question for question in asked if any(question.answers)]
    return random.Random(0).sample(asked, min(most, len(asked)))


def question_rows(qa: OpenQA, questions: list[Question]) -> list[Row]:
    ids = [qa.model.tokenizer.ids_of(question.text) for question in questions]
    return [qa.model.inputs.question(pieces, MAX_QUESTION_PIECES + 2) for pieces in ids]


def encode(qa: OpenQA, questions: list[Question]) -> NDArray[np.float32]:
    rows = question_rows(qa, questions)
    return np.concatenate([qa.model.embed(rows[start : start + BATCH]) for start in range(0, len(rows), BATCH)])


def by_trunk(qa: OpenQA, questions: list[Question], folder: Path) -> list[list[int]]:
    trunk = TrunkStates(trunk_folder(), qa.model.inputs)
    asked = mean_pooled(trunk.of(question_rows(qa, questions)).numpy())
    kept = kept_states(trunk, qa.model, qa.knowledge_base, folder)
    return best_rows(asked, map(mean_pooled, kept), DEPTHS[-1])


def by_reciprocal_rank(dense: Found, words: Found, weight: float) -> list[int]:
    scores: dict[int, float] = {}
    for share, found in ((1 - weight, dense), (weight, words)):
        for rank, row in enumerate(found.rows.tolist(), start=1):
            scores[row] = scores.get(row, 0.0) + share / (RANK_CONSTANT + rank)
    return sorted(scores, key=lambda row: (-scores[row], row))[: DEPTHS[-1]]


class Answers:
    """Whether blocks hold the answer of a question; every block is looked at once."""

    def __init__(self, qa: OpenQA, questions: list[Question]) -> None:
        self._qa = qa
        self._questions = questions
        self._seen: dict[tuple[int, int], bool] = {}

    def recalls(self, number: int, rows: list[int]) -> list[float]:
        question = self._questions[number]
        fresh = [row for row in rows if (number, row) not in self._seen]
        for row, stored in zip(fresh, self._qa.knowledge_base.take_blocks(fresh), strict=True):
            self._seen[number, row] = contains_answer(stored.block.text, question.answers, question.answer_type)
        first = next((place for place, row in enumerate(rows) if self._seen[number, row]), DEPTHS[-1])
        return [float(first < depth) for depth in DEPTHS]


def interval(values: NDArray[np.float64]) -> str:
    means = np.random.default_rng(0).choice(values, (1000, len(values))).mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{values.mean():.3f} [{low:.3f}, {high:.3f}]"


def milliseconds(search: BlockSearch, questions: list[Question], vectors: NDArray[np.float32], weight: float) -> str:
    took = []
    for question, vector in list(zip(questions, vectors, strict=True))[:50]:
        begin = time.perf_counter()
        search.search([question.text], vector[None], DEPTHS[-1], weight=weight)
        took.append(1000 * (time.perf_counter() - begin))
    return f"{np.median(took):.0f} ms (95 %: {np.quantile(took, 0.95):.0f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions_of", nargs="+", type=Path, metavar="QUESTIONS")
    parser.add_argument("--kb", type=Path, required=True)
    parser.add_argument("--questions", type=int, default=1000, help="most questions of a file")
    parser.add_argument("--weights", type=float, nargs="+", default=[0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
    parser.add_argument("--trunk", type=Path, metavar="STATES", help="folder for the trunk's states of all blocks")
    options = parser.parse_args()
    qa = OpenQA.load(options.kb)
    search = BlockSearch(qa.knowledge_base)
    files = {path.name: questions_of(path, options.questions) for path in options.questions_of}
    questions = [question for asked in files.values() for question in asked]
    vectors = encode(qa, questions)
    texts = [question.text for question in questions]
    answers = Answers(qa, questions)

    def measured(name: str, rows_of: Callable[[int], list[int]]) -> NDArray[np.float64]:
        begin = time.perf_counter()
        recalls = np.array([answers.recalls(number, rows_of(number)) for number in range(len(questions))])
        print(f"  looked at {name} in {time.perf_counter() - begin:.0f} s", flush=True)
        return recalls

    dense = search.search(texts, vectors, CANDIDATES).found
    words = search.search(texts, vectors, CANDIDATES, weight=1.0).found
    methods = {
        "vectors": {0.0: measured("vectors", lambda number: dense[number].rows.tolist()[: DEPTHS[-1]])},
        "words": {1.0: measured("words", lambda number: words[number].rows.tolist()[: DEPTHS[-1]])},
        "reciprocal ranks": {},
        "weighted scores": {},
    }
    for weight in options.weights:
        methods["reciprocal ranks"][weight] = measured(
            f"reciprocal ranks, weight {weight}",
            lambda number, weight=weight: by_reciprocal_rank(dense[number], words[number], weight),
        )
        both = search.search(texts, vectors, DEPTHS[-1], weight=weight).found
        methods["weighted scores"][weight] = measured(
            f"weighted scores, weight {weight}", lambda number, both=both: both[number].rows.tolist()
        )
    if options.trunk is not None:
        untouched = by_trunk(qa, questions, options.trunk)
        methods["trunk"] = {0.0: measured("trunk", untouched.__getitem__)}
    tuning = np.arange(len(questions)) % 2 == 0
    owners = np.repeat(np.arange(len(files)), [len(asked) for asked in files.values()])
    counts = f"{int(tuning.sum())} questions to choose weights, {int((~tuning).sum())} to report"
    print(f"{qa.knowledge_base.live_blocks:,} blocks; {counts}")
    print("tuning half, recall@" + "/".join(map(str, DEPTHS)) + " by weight of the words:")
    for name, by_weight in methods.items():
        shown = "  ".join(f"{w:g}: " + "/".join(f"{v:.3f}" for v in r[tuning].mean(0)) for w, r in by_weight.items())
        print(f"  {name:>16}  {shown}")
    for owner, file in enumerate(files):
        chosen = (owners == owner) & ~tuning
        print(f"{file}, {int(chosen.sum())} questions")
        for name, by_weight in methods.items():
            weight = max(by_weight, key=lambda w: by_weight[w][tuning].sum())
            row = "   ".join(f"@{depth} {interval(by_weight[weight][chosen, at])}" for at, depth in enumerate(DEPTHS))
            print(f"  {name:>16} ({weight:g})  {row}")
    for name, weight in (("vectors", 0.0), ("words", 1.0), ("weighted scores", HYBRID_WEIGHT)):
        print(f"time per question, {name}: {milliseconds(search, questions, vectors, weight)}")


if __name__ == "__main__":
    main()
