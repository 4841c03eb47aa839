"""Recipe of the job `ict`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from realm.errors import RecipeError
from realm.training.recipe import LoopRecipe


@dataclass(frozen=True, kw_only=True)
class IctRecipe(LoopRecipe):
    """Recipe of `realm train ict`; the keys of the loop are those of `LoopSettings`. Defaults are the published ones.

    Attributes:
        blocks: A knowledge base, a file of `realm export blocks`, or documents; relative to `data`.
        trunk: Start from this BERT-family encoder; "minilm" for the public one. This or `embedder` must be given.
        embedder: Start from this trained RealmEmbedder, or the run that made it; it brings its own sizes.
        data: Folder that a relative `blocks` starts from.
        cache: Folder for the blocks' word pieces; empty for realm's own.
        max_documents: Use only the first so many documents; 0 for all.
        held_out_blocks: So many blocks at the end are not learned from; how well they are found is the dev metric.
        batch_blocks: Blocks of a step, over all processes; each is a negative for every other's sentence.
        pieces_at_once: Word pieces whose graph is in memory at once. A larger batch is embedded twice, part by part.
        keep_sentence_share: How often a block keeps the sentence that asks for it.
        score_scale: Factor of the scores: 1.0 as released, 1/sqrt(dimensions) (0.088 for 128) for a softer start.
        max_question_pieces: Longest sentence.
        max_block_pieces: Longest block.
        dropout: Of hidden states, attention probabilities and, in training, of vectors.
        dimensions: Of a vector. Not used with `embedder`.
        pooling: "cls", as published; or "mean", with a trunk that was trained for mean pooling: a layer is added that
            starts as the mean, and the projection starts as principal components. Not used with `embedder`.
        start_score: With "mean", the inner product of a vector with itself at the start.
        first_trained_layer: Embeddings and the layers below stay as they are; 0 to train everything.
    """

    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        "max_documents": (0, math.inf),
        "held_out_blocks": (0, math.inf),
        "batch_blocks": (2, math.inf),
        "pieces_at_once": (1, math.inf),
        "keep_sentence_share": (0, 1),
        "score_scale": (1e-6, math.inf),
        "max_question_pieces": (8, math.inf),
        "max_block_pieces": (16, math.inf),
        "dropout": (0, 0.9),
        "dimensions": (1, math.inf),
        "start_score": (1e-6, math.inf),
        "first_trained_layer": (0, math.inf),
    }
    choices: ClassVar[Mapping[str, Sequence[str]]] = {"pooling": ("cls", "mean")}
    may_change: ClassVar[frozenset[str]] = frozenset(
        {"trunk", "embedder", "data", "blocks", "cache"}
    )  # digests may not

    blocks: str
    trunk: str = ""
    embedder: str = ""
    data: str = "."
    cache: str = ""
    max_documents: int = 0
    held_out_blocks: int = 0
    batch_blocks: int = 4096
    pieces_at_once: int = 32_768
    keep_sentence_share: float = 0.1
    score_scale: float = 1.0
    max_question_pieces: int = 64
    max_block_pieces: int = 288
    dropout: float = 0.1
    dimensions: int = 128
    pooling: str = "cls"
    start_score: float = 20.0
    first_trained_layer: int = 0
    learning_rate: float = 1e-4
    warmup_steps: int = 10_000

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.trunk) == bool(self.embedder):
            found = "both" if self.trunk else "neither"
            raise RecipeError(f"Give either trunk (a BERT-family encoder) or embedder (a trained one); found {found}.")
