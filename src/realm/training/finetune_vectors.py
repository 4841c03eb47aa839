"""Vectors of the blocks that questions are compared with: made once, refreshed, or those that a knowledge base has.

    block_vectors = "fresh"      a snapshot of the first step; with train_blocks a new one now and then (refresh)
    block_vectors = "corpus"     the knowledge base's own, if its model is the one that is trained

Knows no questions. Read `BlockVectors`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from realm.errors import KnowledgeBaseError, ModelError, RecipeError
from realm.features.inputs import InputBuilder
from realm.models.embedder import RealmEmbedder
from realm.openqa.model_folder import ModelFolder
from realm.training.block_source import BlockSource
from realm.training.corpus_vectors import CorpusVectors, Parents
from realm.training.distributed import Processes
from realm.training.exports import RefreshPlan
from realm.training.finetune_recipe import FinetuneRecipe
from realm.training.finetune_sources import FinetuneSources
from realm.training.finetune_start import FinetuneStart
from realm.training.given_blocks import is_knowledge_base
from realm.training.job_report import QUIET, JobReport
from realm.training.refresh import Refresher
from realm.training.tokenizer_files import TOKENIZER_FILE


class BlockVectors:
    """Says which vectors a step uses.

    Args:
        recipe: See `FinetuneRecipe`.
        run: The run folder, where snapshots are.
        sources: The corpus.
        start: What the run starts from.
        builder: Of the model's tokenizer.
        embedder: What embeds blocks.
        processes: Those that train.
        report: Is told how embedding goes.

    Raises:
        RecipeError: Vectors of the corpus are asked for, but the run does not start from a whole model.
        KnowledgeBaseError: The corpus has no vectors of all its blocks.
        ModelError: They are another model's.
    """

    def __init__(
        self,
        recipe: FinetuneRecipe,
        run: Path,
        sources: FinetuneSources,
        start: FinetuneStart,
        builder: InputBuilder,
        embedder: RealmEmbedder,
        processes: Processes,
        report: JobReport = QUIET,
    ) -> None:
        self._is_trained, self._given = recipe.train_blocks, None
        if recipe.block_vectors == "corpus":
            if start.model is None:
                raise RecipeError('block_vectors = "corpus" needs the model that made them; found embedder and reader.')
            self._given = vectors_of_knowledge_base(sources.path, sources.corpus, start.model)
        # What stays as it is can be made by the trainer alone.
        modes = recipe if recipe.train_blocks else dataclasses.replace(recipe, refresh="in_step")
        plan = RefreshPlan(str(sources.path), recipe.max_documents or None, recipe.block_seq_len)
        self._refresher = Refresher(
            run, modes, sources.corpus, builder, embedder, plan, start.embedder / TOKENIZER_FILE, processes=processes,
            progress=report.embedding, say=report.say,
        )  # fmt: skip

    def at(self, step: int) -> CorpusVectors:
        """The vectors for a step; called on every process before it."""
        if self._given is not None:
            return self._given
        snapshot = self._refresher.snapshot
        if snapshot is None or self._is_trained:
            snapshot = self._refresher.at_border(step)
        return snapshot.vectors

    def staleness(self, step: int) -> dict[str, float]:
        """Figures for the log, where vectors are refreshed at all."""
        return self._refresher.staleness(step) if self._is_trained else {}

    def state(self) -> dict[str, Any]:
        """The snapshot in use."""
        return self._refresher.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up the snapshot that a checkpoint names."""
        self._refresher.restore(state)


def vectors_of_knowledge_base(folder: Path, corpus: BlockSource, model: ModelFolder) -> CorpusVectors:
    """The vectors that a knowledge base has, as far as they are those of the model.

    Args:
        folder: The knowledge base.
        corpus: Its blocks, all of them.
        model: The one whose embedder made them.

    Raises:
        KnowledgeBaseError: It is none, or some of its blocks are gone or left out.
        ModelError: It was made with another model.
    """
    if not is_knowledge_base(folder):
        raise KnowledgeBaseError(f'{folder} is no knowledge base and has no vectors. Set block_vectors = "fresh".')
    from realm.openqa.knowledge_base import KnowledgeBase

    base = KnowledgeBase.open(folder)
    made_with = base.manifest.model
    if made_with.digest != model.reference.digest:
        raise ModelError(
            f"{folder} and {model.name} do not belong together: it was made with {made_with.name} "
            f"({made_with.digest[:12]}...), and the model's digest is {model.reference.digest[:12]}.... Set "
            'block_vectors = "fresh", or start from that model.'
        )
    if len(base.tombstones) or base.vectors.rows != len(corpus):
        raise KnowledgeBaseError(
            f"{folder} has {base.vectors.rows:,} vectors, {len(base.tombstones):,} of them of blocks that are gone; "
            f"the corpus here has {len(corpus):,} blocks. Run realm compact on it, leave max_documents out, or set "
            'block_vectors = "fresh".'
        )
    parents = Parents(made_with.digest, corpus.digest, corpus.tokenizer_digest, base.manifest.max_block_pieces)
    return CorpusVectors(folder, parents, base.vectors, base.codes if base.manifest.codes else None)
