"""Which masked sentences a step learns from, and which are held out to measure by.

    step ─ Shuffle ─ rows ─ blocks, marked names ─ draw_masked ─► masked sentences, each with the digest of its block

An example depends on the seed and on its place in the endless order of blocks alone. Knows neither index nor networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from realm.corpus.skips import SkipReport
from realm.errors import RecipeError
from realm.training.distributed import Processes
from realm.training.masked_blocks import draw_masked
from realm.training.masking import MaskedSentence, Masker
from realm.training.pretrain_recipe import PretrainRecipe
from realm.training.pretrain_sentences import SentenceSource
from realm.training.shuffling import Shuffle

_DIGESTS = float(1 << 64)


class Origins(NamedTuple):
    """Masked sentences.

    Attributes:
        sentences: Masked.
        digests: (sentences,) uint64: `content_digest` of the block that each was taken from.
        texts: As they stand there, with nothing masked.
        skipped: Spans and blocks that could not be masked, by reason.
    """

    sentences: list[MaskedSentence]
    digests: NDArray[np.uint64]
    texts: list[str]
    skipped: dict[str, int]


class MaskedSentences:
    """Draws masked sentences.

    Args:
        source: Blocks with their marked names.
        masker: Masks sentences.
        recipe: See `PretrainRecipe`.

    Raises:
        RecipeError: All blocks are held out.
    """

    def __init__(self, source: SentenceSource, masker: Masker, recipe: PretrainRecipe) -> None:
        self._source, self._masker, self._recipe = source, masker, recipe
        rows = source.rows
        is_held_out = source.digests[rows] < recipe.held_out_share * _DIGESTS
        self._learned, self._held_out = rows[~is_held_out], rows[is_held_out]
        if not len(self._learned):
            raise RecipeError(
                f"held_out_share is {recipe.held_out_share}, which leaves none of {len(rows):,} blocks to learn from. "
                "Lower it."
            )
        self._order = Shuffle(len(self._learned), recipe.seed)

    def draw(self, step: int, processes: Processes) -> Origins:
        """This process's sentences of a step."""
        first = step * self._recipe.batch_sentences
        places = range(first, first + self._recipe.batch_sentences)
        rows = self._learned[processes.share(self._order.rows(places.start, places.stop))]
        return self._masked(rows, [f"{self._recipe.seed} {place}" for place in processes.share(places)])

    def held_out(self) -> Origins:
        """Sentences of held-out blocks: the same ones every time.

        Raises:
            RecipeError: No block is held out.
        """
        if not len(self._held_out):
            raise RecipeError(
                f"held_out_share is {self._recipe.held_out_share}, so none of {len(self._learned):,} blocks is held "
                "out to measure by. Raise it, or set evaluate_every_steps to 0."
            )
        count = min(len(self._held_out), self._recipe.held_out_sentences)
        rows = self._held_out[Shuffle(len(self._held_out), 0).rows(0, count)]
        return self._masked(rows, [f"held out {row}" for row in rows])

    def _masked(self, rows: NDArray[np.int64], seeds: Sequence[str]) -> Origins:
        """One sentence of each block, with the randomness of its own seed."""
        numbers = [int(row) for row in rows]
        report = SkipReport()
        texts = [text.decode() for text in self._source.blocks.utf8_texts(numbers)]
        salient = self._source.salient
        marked = [salient.sentences(row) if salient is not None else [] for row in numbers]
        drawn = draw_masked(texts, marked, self._masker, seeds, report)
        used = [(number, found) for number, found in enumerate(drawn) if found is not None]
        digests = self._source.digests[rows[[number for number, _ in used]]]
        own_texts = [texts[number][found.start : found.end] for number, found in used]
        return Origins([found.sentence for _, found in used], digests, own_texts, dict(report.reasons))
