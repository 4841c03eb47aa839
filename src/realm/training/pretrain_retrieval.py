"""Candidates of masked sentences, from the snapshot in use.

    sentences ─ tower ─ vectors ─ SnapshotIndex ─ best rows ─ corpus ─ digests ─ choose_candidates ─► rows, blocks

A whole step's sentences are searched for at once. Knows no loss. Read `CandidateFinder`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from realm.errors import RecipeError
from realm.features.inputs import InputBuilder, Row
from realm.models.embedder import RealmEmbedder
from realm.openqa.batch_embedding import BatchEmbedder
from realm.training.block_source import BlockSource
from realm.training.candidates import NULL_ROW, choose_candidates, content_digest
from realm.training.job import Tries
from realm.training.pretrain_data import Origins
from realm.training.pretrain_recipe import PretrainRecipe
from realm.training.snapshot_search import SnapshotIndex
from realm.training.snapshots import Snapshot
from realm.training.token_store import TrainingBlock


class Found(NamedTuple):
    """Candidates of some sentences.

    Attributes:
        rows: One row of candidates for each sentence, the null block first; None where a sentence cannot be used.
        blocks: The candidates that are blocks, by row.
        skipped: Sentences that cannot be used, by reason.
        origins_dropped: For how many sentences their own block was retrieved, and left out.
    """

    rows: list[list[int] | None]
    blocks: dict[int, TrainingBlock]
    skipped: dict[str, int]
    origins_dropped: int


class CandidateFinder:
    """Finds candidates.

    Args:
        recipe: See `PretrainRecipe`.
        corpus: What is retrieved from.
        builder: Of the model's tokenizer.
        embedder: The one that is trained; embeds sentences if `query_tower` is "fresh".
    """

    def __init__(
        self, recipe: PretrainRecipe, corpus: BlockSource, builder: InputBuilder, embedder: RealmEmbedder
    ) -> None:
        self._recipe, self._corpus, self._builder, self._embedder = recipe, corpus, builder, embedder
        self._index: SnapshotIndex | None = None
        self._tower: RealmEmbedder = embedder
        self._snapshot = ""

    def use(self, snapshot: Snapshot) -> None:
        """Search this snapshot from now on."""
        if str(snapshot.folder) == self._snapshot:
            return
        # Order: on a graphics card the old vectors make room before the new ones come.
        self._index = None
        self._index = snapshot.index(self._embedder.device)
        if self._recipe.query_tower == "snapshot":
            self._tower = snapshot.export.open(self._embedder.device)
        self._snapshot = str(snapshot.folder)

    def search(self, questions: Sequence[Row], k: int) -> NDArray[np.int64]:
        """The k best rows of the corpus for each question, best first; fewer columns if there are fewer blocks."""
        if self._index is None:
            raise RuntimeError("search before the first snapshot")
        was_training = self._tower.training
        self._tower.eval()
        # A vector that is not finite gives a loss that is not either, and the loop says where it comes from.
        vectors = torch.from_numpy(BatchEmbedder(self._tower, self._builder)(questions)).nan_to_num(0.0, 0.0, 0.0)
        self._tower.train(was_training)
        rows: NDArray[np.int64] = self._index.search(vectors, k)[1].cpu().numpy()
        return rows

    def find(self, questions: Sequence[Row], origins: Origins) -> Found:
        """Candidates of sentences.

        Args:
            questions: The sentences as the retriever sees them.
            origins: The sentences, and the blocks that they were taken from.

        Raises:
            RecipeError: The corpus has too few blocks.

        Differs: where sentences are not of the corpus, a block that holds the sentence is dropped, too. Google's
            trainer compares whole blocks only: a sentence that comes alone would see the block it was taken from.
        """
        if not questions:
            return Found([], {}, {}, 0)
        # The null block takes one place; where it does not count, one more real candidate stands behind it.
        count = self._recipe.candidates + (not self._recipe.null_document)
        retrieved = self.search(questions, count)
        unique, places = np.unique(retrieved, return_inverse=True)
        found = self._corpus.take([int(row) for row in unique])
        digests = np.array([content_digest(block.title, block.text) for block in found], dtype=np.uint64)
        places = places.reshape(retrieved.shape)
        drops = self._recipe.drop_origin
        holds = _hold(origins.texts, [b.text for b in found], places) if drops and self._recipe.sentences else None
        chosen = choose_candidates(retrieved, digests[places], origins.digests if drops else None, count, holds)
        usable = zip(chosen.rows.tolist(), chosen.is_usable.tolist(), strict=True)
        rows = [row if is_usable else None for row, is_usable in usable]
        needed = {number for row in rows if row is not None for number in row} - {NULL_ROW}
        blocks = {int(row): block for row, block in zip(unique, found, strict=True) if int(row) in needed}
        return Found(rows, blocks, chosen.skipped, chosen.origins_dropped)


def require_examples(tries: Tries, tried: int, usable: int, skipped: Mapping[str, int]) -> None:
    """Stop where nothing can be learned, instead of training on nothing for days.

    Args:
        tries: Of the run so far.
        tried: Sentences that this process has drawn in this step.
        usable: How many of them have candidates.
        skipped: Why others cannot be used.

    Raises:
        RecipeError: No process has had a sentence with candidates, and enough were tried.
    """
    if tries.are_in_vain(tried, usable, skipped):
        raise RecipeError(
            f"None of {tries.tried:,} sentences tried can be learned from: {tries.why()}. Mend the corpus, in which "
            "duplicate_candidates are blocks that it holds twice; or change query_seq_len or candidates."
        )


def _hold(sentences: Sequence[str], blocks: Sequence[str], places: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(sentences, k): whether the block at a place holds the sentence, whatever stands between words."""
    texts = [" ".join(block.split()) for block in blocks]
    wanted = [" ".join(sentence.split()) for sentence in sentences]
    found = [[own in texts[place] for place in row] for own, row in zip(wanted, places.tolist(), strict=True)]
    return np.array(found, dtype=bool)
