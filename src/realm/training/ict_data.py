"""What the job `ict` learns from: sentences as questions, their blocks as answers.

    step ─ Shuffle ─ rows ─ BlockSource ─ inverse_cloze ─ InputBuilder ─► ClozeBatch

An example depends on the seed and on its place in the endless order of blocks alone. Knows no networks.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

from realm.errors import RecipeError
from realm.features.inputs import InputBuilder, Row
from realm.text.pieces import PieceTokenizer
from realm.training.block_source import BlockSource
from realm.training.distributed import Processes
from realm.training.ict_recipe import IctRecipe
from realm.training.inverse_cloze import SentenceBlock, inverse_cloze, sentence_ranges
from realm.training.shuffling import Shuffle

SKIP_REASONS = ("only_sentence", "no_sentence")


class ClozeBatch(NamedTuple):
    """Sentence i asks for block i.

    Attributes:
        questions: Inputs of the sentences.
        blocks: Inputs of their blocks.
        numbers: Row of each block in its source; a block that stands in the batch twice has the same number.
        removed: Whether the block has lost the sentence.
        skipped: Blocks that gave no example, by reason: their only sentence was to be removed, or they have none.
    """

    questions: list[Row]
    blocks: list[Row]
    numbers: list[int]
    removed: list[bool]
    skipped: dict[str, int]


class ClozeBatches:
    """Batches of a block source, of which the last blocks are held out.

    Args:
        source: The blocks.
        tokenizer: Of the model.
        recipe: See `IctRecipe`.

    Raises:
        RecipeError: There are fewer blocks to learn from than a batch has.
    """

    def __init__(self, source: BlockSource, tokenizer: PieceTokenizer, recipe: IctRecipe) -> None:
        self._source, self._tokenizer, self._recipe = source, tokenizer, recipe
        self._builder = InputBuilder(tokenizer)
        learned = len(source) - recipe.held_out_blocks
        if learned < recipe.batch_blocks:
            raise RecipeError(
                f"{recipe.blocks} has {len(source):,} blocks; {recipe.held_out_blocks:,} held out leave {learned:,}, "
                f"but batch_blocks is {recipe.batch_blocks:,}. Lower it, or give more documents."
            )
        self._order = Shuffle(learned, recipe.seed)

    def draw(self, step: int, processes: Processes) -> ClozeBatch:
        """This process's examples of a step."""
        first = step * self._recipe.batch_blocks
        places = range(first, first + self._recipe.batch_blocks)
        rows = processes.share(self._order.rows(places.start, places.stop))
        seeds = [f"{self._recipe.seed} {place}" for place in processes.share(places)]
        return self._batch(rows, seeds, self._recipe.keep_sentence_share)

    def held_out(self) -> ClozeBatch:
        """One example of each block that is not learned from; its sentence is always removed."""
        rows = range(len(self._source) - self._recipe.held_out_blocks, len(self._source))
        return self._batch(rows, [f"held out {self._recipe.seed} {row}" for row in rows], 0.0)

    def sample(self, count: int) -> list[Row]:
        """Inputs of some sentences and blocks."""
        places = range(min(count, self._order.count))
        batch = self._batch(self._order.rows(0, len(places)), [f"sample {place}" for place in places], 1.0)
        return batch.questions + batch.blocks

    def _batch(self, rows: Sequence[int], seeds: Sequence[str], keep_share: float) -> ClozeBatch:
        """Examples of some blocks, each with the randomness of its own seed."""
        batch = ClozeBatch([], [], [], [], dict.fromkeys(SKIP_REASONS, 0))
        found = self._source.take(rows)
        all_pieces = self._tokenizer.encode_batch([block.text for block in found])
        for row, seed, block, pieces in zip(rows, seeds, found, all_pieces, strict=True):
            sentences = sentence_ranges(block.text, pieces)
            if not sentences:
                batch.skipped["no_sentence"] += 1
                continue
            cloze = inverse_cloze(
                SentenceBlock(block.title_ids, pieces.ids, sentences), keep_share, random.Random(seed)
            )
            if cloze is None:
                batch.skipped["only_sentence"] += 1
                continue
            batch.questions.append(self._builder.question(cloze.sentence_ids, self._recipe.max_question_pieces))
            batch.blocks.append(self._builder.block(cloze.title_ids, cloze.body_ids, self._recipe.max_block_pieces))
            batch.numbers.append(row)
            batch.removed.append(cloze.removed)
        return batch
