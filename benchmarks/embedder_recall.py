"""Zero-shot answer recall of embedders over the same blocks, beside the public trunk's mean-pooled states.

    python benchmarks/embedder_recall.py EMBEDDER... --blocks SOURCE --questions QUESTIONS [--trunk minilm]

EMBEDDER is realm-mini, a folder of a RealmEmbedder or the run that trained it; SOURCE a knowledge base, a file of
`realm export blocks` or documents, cut to `--max-pieces`. Prints recall@1, @5 and @20 with 95 % bootstrap intervals: a
question counts if an answer stands in one of the best blocks as whole words. Scores of all blocks are exact inner
products.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from hybrid_search import DEPTHS, interval, questions_of
from numpy.typing import NDArray
from trunk_vectors import mean_pooled

from realm.corpus.answers import which_contain_answer
from realm.errors import ModelError
from realm.features.inputs import InputBuilder, Row
from realm.models.embedder import RealmEmbedder
from realm.openqa.batch_embedding import BatchEmbedder
from realm.openqa.default_model import cache_folder
from realm.openqa.model_folder import ModelFolder
from realm.records import Question
from realm.text.pieces import PieceTokenizer
from realm.training.block_source import BlockSource, open_blocks
from realm.training.trunk_states import TrunkStates
from realm.training.warm_start import architecture_of, find_trained, find_trunk

ROWS_AT_ONCE = 4096
MAX_QUESTION_PIECES = 64

Embed = Callable[[Sequence[Row]], NDArray[np.float32]]


def opened(name: str, as_trunk: bool) -> tuple[PieceTokenizer, InputBuilder, Embed]:
    if not as_trunk and not Path(name).is_dir():
        model = ModelFolder.open(name)
        return model.tokenizer, model.inputs, model.embed
    folder = find_trunk(name) if as_trunk else find_trained(name)
    tokenizer = PieceTokenizer.from_folder(folder)
    builder = InputBuilder(tokenizer)
    if as_trunk:
        trunk = TrunkStates(folder, builder)
        return tokenizer, builder, lambda rows: mean_pooled(trunk.of(rows).numpy())
    if architecture_of(folder) != RealmEmbedder.__name__:
        raise ModelError(f"{name} holds a {architecture_of(folder) or 'model of no known class'}, not a RealmEmbedder.")
    return tokenizer, builder, BatchEmbedder(RealmEmbedder.from_pretrained(folder).eval(), builder)


def ranks(
    asked: Sequence[Question],
    blocks: BlockSource,
    tokenizer: PieceTokenizer,
    builder: InputBuilder,
    embed: Embed,
    pieces: int,
) -> NDArray[np.int64]:
    """Place of the first block with an answer, for each question."""
    found = tokenizer.encode_batch([question.text for question in asked])
    questions = torch.from_numpy(embed([builder.question(part.ids, MAX_QUESTION_PIECES) for part in found]))
    scores = []
    for first in range(0, len(blocks), ROWS_AT_ONCE):
        taken = blocks.take(range(first, min(first + ROWS_AT_ONCE, len(blocks))))
        vectors = torch.from_numpy(embed([builder.block(b.title_ids, b.body_ids, pieces) for b in taken]))
        scores.append(questions @ vectors.T)
        print(f"\r  {first + len(taken):,} of {len(blocks):,} blocks", end="", flush=True)
    print()
    best = torch.cat(scores, dim=1).topk(DEPTHS[-1]).indices.tolist()
    places = []
    for question, rows in zip(asked, best, strict=True):
        holds = which_contain_answer(blocks.utf8_texts(rows), question.answers, question.answer_type)
        places.append(next((place for place, is_there in enumerate(holds) if is_there), DEPTHS[-1]))
    return np.array(places)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("embedders", nargs="*", metavar="EMBEDDER")
    parser.add_argument("--blocks", type=Path, required=True)
    parser.add_argument("--questions", type=Path, required=True, action="append")
    parser.add_argument("--most", type=int, default=1000, help="most questions of a file")
    parser.add_argument("--trunk", action="append", default=[], help="mean-pooled BERT; minilm for the public one")
    parser.add_argument("--max-pieces", type=int, default=288)
    options = parser.parse_args()
    asked = {path.name: questions_of(path, options.most) for path in options.questions}
    everything = [question for found in asked.values() for question in found]
    owners = np.repeat(np.arange(len(asked)), [len(found) for found in asked.values()])
    for name, as_trunk in [(name, True) for name in options.trunk] + [(name, False) for name in options.embedders]:
        tokenizer, builder, embed = opened(name, as_trunk)
        blocks = open_blocks(options.blocks, tokenizer, cache_folder() / "blocks", max_pieces=options.max_pieces)
        places = ranks(everything, blocks, tokenizer, builder, embed, options.max_pieces)
        for owner, (file, found) in enumerate(asked.items()):
            row = "   ".join(f"@{depth} {interval((places[owners == owner] < depth) * 1.0)}" for depth in DEPTHS)
            print(f"{name}, {file}, {len(found)} questions, {len(blocks):,} blocks: {row}", flush=True)


if __name__ == "__main__":
    main()
