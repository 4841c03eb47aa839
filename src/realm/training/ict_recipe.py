"""Recipe of the job `ict`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from realm.errors import RecipeError
from realm.training.corpus_recipe import CorpusRecipe


@dataclass(frozen=True, kw_only=True)
class IctRecipe(CorpusRecipe):
    """Recipe of `realm train ict`; further keys are those of `CorpusRecipe`. Defaults are the published ones.

    Attributes:
        blocks: A knowledge base, a file of `realm export blocks`, or documents; relative to `data`.
        trunk: Start from this BERT-family encoder; "minilm" for the public one. This or `embedder` must be given.
        embedder: Start from this trained RealmEmbedder, or the run that made it; it brings its own sizes.
        held_out_blocks: So many blocks at the end are not learned from; how well they are found is the dev metric.
        batch_blocks: Blocks of a step, over all processes; each is a negative for every other's sentence.
        pieces_at_once: Word pieces whose graph is in memory at once. A larger batch is embedded twice, part by part.
        keep_sentence_share: How often a block keeps the sentence that asks for it.
        score_scale: Factor of the scores: 1.0 as released, 1/sqrt(dimensions) (0.088 for 128) for a softer start.
        max_question_pieces: Longest sentence.
        max_block_pieces: Longest block.
        dimensions: Of a vector. Not used with `embedder`.
        pooling: "cls", as published; or "mean", with a trunk that was trained for mean pooling: a layer is added that
            starts as the mean, and the projection starts as principal components. Not used with `embedder`.
        start_score: With "mean", the inner product of a vector with itself at the start.
        trunk_layers: Use only so many of the trunk's layers, the lowest ones; 0 for all. Not used with `embedder`.
    """

    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        "held_out_blocks": (0, math.inf),
        "batch_blocks": (2, math.inf),
        "pieces_at_once": (1, math.inf),
        "keep_sentence_share": (0, 1),
        "score_scale": (1e-6, math.inf),
        "max_question_pieces": (8, math.inf),
        "max_block_pieces": (16, math.inf),
        "dimensions": (1, math.inf),
        "start_score": (1e-6, math.inf),
        "trunk_layers": (0, math.inf),
    }
    choices: ClassVar[Mapping[str, Sequence[str]]] = {"pooling": ("cls", "mean")}
    may_change: ClassVar[frozenset[str]] = frozenset({"trunk", "embedder", "blocks"})

    blocks: str
    trunk: str = ""
    embedder: str = ""
    held_out_blocks: int = 0
    batch_blocks: int = 4096
    pieces_at_once: int = 32_768
    keep_sentence_share: float = 0.1
    score_scale: float = 1.0
    max_question_pieces: int = 64
    max_block_pieces: int = 288
    dimensions: int = 128
    pooling: str = "cls"
    start_score: float = 20.0
    trunk_layers: int = 0
    learning_rate: float = 1e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.trunk) == bool(self.embedder):
            found = "both" if self.trunk else "neither"
            raise RecipeError(f"Give either trunk (a BERT-family encoder) or embedder (a trained one); found {found}.")
        if self.evaluate_every_steps and not self.held_out_blocks:
            raise RecipeError(
                "held_out_blocks is 0, so there is nothing to measure by. Raise it, or set evaluate_every_steps to 0."
            )
