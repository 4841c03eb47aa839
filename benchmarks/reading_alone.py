"""How well a reader finds the answer in the paragraph that has it, on SQuAD questions nobody trained on.

    python benchmarks/reading_alone.py READING [--model MODEL] [--questions 1323]

Nothing is looked for: every question of the titles that the recipes of realm-mini keep aside reads its own paragraph,
cut into blocks as `realm index` does. Prints exact match and token F1 with 95 % bootstrap intervals.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np
from squad_open import BATCH, KEEP_ASIDE, interval, paragraph_id

from realm.corpus.block_store import StoredBlock
from realm.corpus.chunking import chunk_documents
from realm.corpus.questions import read_reading_examples
from realm.evaluation.exact_match import exact_match, token_f1
from realm.openqa.model_folder import ModelFolder
from realm.openqa.span_choice import Reading, choose_spans
from realm.records import Document, ReadingExample
from realm.training.reading_data import is_kept_aside


def reading_of(model: ModelFolder, example: ReadingExample) -> Reading:
    """A question with the blocks of its paragraph, none of them more relevant than another."""
    document = Document(paragraph_id(example), example.title, example.context)
    (cut,) = chunk_documents([document], model.tokenizer)
    blocks = [StoredBlock(row, block, cut.title_ids) for row, block in enumerate(cut.blocks)]
    return Reading(model.tokenizer.ids_of(example.question.text), blocks, np.zeros(len(blocks), np.float32))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reading", type=Path)
    parser.add_argument("--model", help="realm-mini unless given")
    parser.add_argument("--questions", type=int, default=1323)
    options = parser.parse_args()
    model = ModelFolder.open(options.model) if options.model else ModelFolder.open()
    asked = [e for e in read_reading_examples(options.reading) if is_kept_aside(e.title, KEEP_ASIDE)]
    asked = random.Random(0).sample(asked, min(options.questions, len(asked)))
    figures: dict[str, list[float]] = {"exact match": [], "token F1": []}
    for start in range(0, len(asked), BATCH):
        batch = asked[start : start + BATCH]
        choices = choose_spans(model, [reading_of(model, example) for example in batch])
        for example, choice in zip(batch, choices, strict=True):
            text = choice.span.text if choice.span else ""
            figures["exact match"].append(float(exact_match(text, example.question.answers)))
            figures["token F1"].append(float(token_f1(text, example.question.answers)))
    print(f"{len(asked)} questions of {len({e.title for e in asked})} kept-aside titles, each with its own paragraph")
    for name, values in figures.items():
        print(f"{name:>12}  {interval(values)}")


if __name__ == "__main__":
    main()
