"""The blocks that a question retrieves, by exact search over the vectors in use.

    vectors of questions ─ SnapshotIndex ─ best rows ─ AnswerFinder ─ which of them answer ─ Collator ─► Found

Knows no loss and no networks. Read `Retrieval`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from realm.training.block_source import BlockSource
from realm.training.corpus_vectors import CorpusVectors
from realm.training.finetune_answers import AnswerFinder
from realm.training.finetune_inputs import Collator, Found
from realm.training.finetune_questions import AskedQuestion
from realm.training.snapshot_search import SnapshotIndex


class Retrieval:
    """Finds blocks for questions, with exact search.

    Args:
        corpus: The blocks.
        finder: Looks for answers in them.
        collator: Chooses which are read.
        k: How many a question retrieves.
    """

    def __init__(self, corpus: BlockSource, finder: AnswerFinder, collator: Collator, k: int) -> None:
        self._corpus, self._finder, self._collator, self._k = corpus, finder, collator, k
        self._vectors: CorpusVectors | None = None
        self._index: SnapshotIndex | None = None
        self._device = torch.device("cpu")

    def use(self, vectors: CorpusVectors, device: torch.device) -> None:
        """Search these from now on."""
        if self._vectors is not vectors:
            # Order: on a graphics card the old vectors make room before the new ones come.
            self._index = None
            self._vectors, self._device, self._index = vectors, device, SnapshotIndex(vectors, device)

    def find(self, asked: Sequence[AskedQuestion], questions: Tensor, read: str) -> list[Found]:
        """What each question retrieves, which of it answers, and what is to be read of it.

        Args:
            asked: The questions.
            questions: Their vectors.
            read: "best" or "contrast"; see `FinetuneRecipe`.
        """
        if not asked:
            return []
        assert self._index is not None
        # A vector that is not finite gives a loss that is not either, and the loop says where it comes from.
        questions = questions.nan_to_num(0.0, 0.0, 0.0)
        retrieved: NDArray[np.int64] = self._index.search(questions, self._k)[1].cpu().numpy()
        answers = [self._finder.has_answer(one, rows) for one, rows in zip(asked, retrieved, strict=True)]
        ranks = [self._collator.ranks_to_read(has_answer, read) for has_answer in answers]
        needed = np.unique(np.concatenate([rows[own] for rows, own in zip(retrieved, ranks, strict=True)])).tolist()
        blocks = dict(zip(needed, self._corpus.take(needed), strict=True))
        found = zip(asked, retrieved, answers, ranks, strict=True)
        return [self._collator.found(number, *one, blocks) for number, one in enumerate(found)]

    def vectors(self, rows: NDArray[np.int64]) -> Tensor:
        """Vectors of blocks, float32 on the device: the shape of `rows`, and the dimensions."""
        assert self._vectors is not None
        found = torch.from_numpy(self._vectors.vectors.take(rows.reshape(-1)))
        return found.view(*rows.shape, -1).to(self._device)
