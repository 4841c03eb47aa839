"""Questions with answers alone to train on, none that anything is measured on; then comes `realm train passages`.

    python benchmarks/open_questions.py DATA OUT FILE=COUNT... [--keep-aside 8] [--except QUESTIONS...]

OUT/FILE.jsonl gets COUNT questions, or as many as there are, of DATA/questions/FILE.jsonl.zst, drawn at random. Left
out are the one in eight that answerable_corpus.py keeps aside by digest, and all whose text stands in QUESTIONS, such
as its files.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from answerable_corpus import KEEP_ASIDE, record_of
from learning_data import write_lines

from realm.corpus.questions import read_questions
from realm.training.reading_data import is_kept_aside


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("files", nargs="+", metavar="FILE=COUNT")
    parser.add_argument("--keep-aside", type=int, default=KEEP_ASIDE, help="one in so many, by digest; 0 for none")
    parser.add_argument("--except", dest="left_out", type=Path, nargs="*", default=[], metavar="QUESTIONS")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    left_out = {question.text for path in options.left_out for question in read_questions(path)}
    for name, count in (item.split("=") for item in options.files):
        asked = [
            question
            for question in read_questions(options.data / f"questions/{name}.jsonl.zst")
            if any(question.answers)
            and question.text not in left_out
            and not is_kept_aside(question.text, options.keep_aside)
        ]
        random.Random(3).shuffle(asked)
        write_lines(options.out / f"{name}.jsonl", map(record_of, asked[: int(count)]))


if __name__ == "__main__":
    main()
