"""Zero-shot answer recall of embedders over the same blocks, beside the public trunk's mean-pooled states.

    python benchmarks/embedder_recall.py EMBEDDER... --blocks SOURCE --questions QUESTIONS [--trunk minilm]

EMBEDDER is a folder of a RealmEmbedder or the run that trained it; SOURCE a knowledge base, a file of `realm export
blocks` or documents, cut to `--max-pieces`. Prints recall@1, @5 and @20 with 95 % bootstrap intervals: a question
counts if an answer stands in one of the best blocks as whole words. Scores of all blocks are exact inner products.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from hybrid_search import DEPTHS, interval
from numpy.typing import NDArray

from realm.corpus.answers import which_contain_answer
from realm.features.inputs import InputBuilder, Row, batches_of_like_length
from realm.models.embedder import RealmEmbedder
from realm.models.trunk import RealmBertModel
from realm.openqa.batch_embedding import BatchEmbedder
from realm.openqa.default_model import cache_folder
from realm.records import Question
from realm.text.pieces import PieceTokenizer
from realm.training.block_source import BlockSource, open_blocks
from realm.training.pretrain_recall import answerable_questions
from realm.training.warm_start import config_from_bert, find_trained, find_trunk, load_trunk

PIECES_AT_ONCE = 4096
ROWS_AT_ONCE = 4096
MAX_QUESTION_PIECES = 64

Embed = Callable[[Sequence[Row]], NDArray[np.float32]]


def mean_pooled(trunk: RealmBertModel, builder: InputBuilder) -> Embed:
    def embed(rows: Sequence[Row]) -> NDArray[np.float32]:
        vectors = np.empty((len(rows), trunk.config.hidden_size), np.float32)
        for numbers in batches_of_like_length([len(row.ids) for row in rows], PIECES_AT_ONCE):
            inputs = builder.pad([rows[number] for number in numbers])
            with torch.inference_mode():
                states = trunk(**inputs.for_trunk(), return_dict=True).last_hidden_state
                weights = inputs.attention_mask[..., None].float()
                means = torch.nn.functional.normalize((states * weights).sum(1) / weights.sum(1), dim=-1)
            vectors[numbers] = means.numpy()
        return vectors

    return embed


def opened(name: str, as_trunk: bool) -> tuple[PieceTokenizer, InputBuilder, Embed]:
    folder = find_trunk(name) if as_trunk else find_trained(name)
    tokenizer = PieceTokenizer.from_folder(folder)
    builder = InputBuilder(tokenizer)
    if as_trunk:
        trunk = RealmBertModel(config_from_bert(folder, 0)).eval()
        load_trunk(trunk, folder)
        return tokenizer, builder, mean_pooled(trunk, builder)
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
    files = {path.name: answerable_questions(path) for path in options.questions}
    asked = {name: random.Random(0).sample(found, min(options.most, len(found))) for name, found in files.items()}
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
