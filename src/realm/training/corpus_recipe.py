"""Keys of the jobs that learn from a corpus of blocks, and how these are opened: `ict`, `pretrain`, `finetune`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from realm.openqa.default_model import cache_folder
from realm.text.pieces import PieceTokenizer
from realm.training.block_source import BlockSource, open_blocks
from realm.training.job_report import QUIET, JobReport
from realm.training.recipe import LoopRecipe


@dataclass(frozen=True, kw_only=True)
class CorpusRecipe(LoopRecipe):
    """Base of recipes whose jobs learn from blocks; the keys of the loop are those of `LoopSettings`.

    Attributes:
        data: Folder that relative paths start from.
        cache: Folder for word pieces and marked names; empty for realm's own.
        max_documents: Use only the first so many documents of each source; 0 for all.
        dropout: Of hidden states, attention probabilities and, in training, of vectors.
        first_trained_layer: Embeddings and the layers below stay as they are, in all networks; 0 to train everything.
    """

    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        "max_documents": (0, math.inf),
        "dropout": (0, 0.9),
        "first_trained_layer": (0, math.inf),
    }
    # Paths may move, because digests of what they name may not.
    may_change: ClassVar[frozenset[str]] = frozenset({"data", "cache"})

    data: str = "."
    cache: str = ""
    max_documents: int = 0
    dropout: float = 0.1
    first_trained_layer: int = 0

    @property
    def dropout_values(self) -> dict[str, Any]:
        """As a `RealmConfig` has it."""
        return {"hidden_dropout_prob": self.dropout, "attention_probs_dropout_prob": self.dropout}

    @property
    def cache_path(self) -> Path:
        """Folder of the cache."""
        return Path(self.cache) if self.cache else cache_folder() / "blocks"

    def open_corpus(
        self, source: str, tokenizer: PieceTokenizer, max_pieces: int, report: JobReport = QUIET
    ) -> BlockSource:
        """Blocks of one of the recipe's sources, at most so long; `open_blocks` says what it raises."""
        return open_blocks(
            Path(self.data, source), tokenizer, self.cache_path, self.max_documents or None, max_pieces=max_pieces,
            progress=report.opening_of("reading blocks"),
        )  # fmt: skip
