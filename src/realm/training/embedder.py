"""The job `embedder`: questions find their blocks among thousands of others, taught by the trunk's similarities.

    texts ─ frozen trunk, once ─► states ─ layer that pools, projection ─► vectors ─► contrastive, distillation ─► loss

The trunk's layers stay frozen; one layer is added that starts as mean pooling, so that the first step already ranks
almost as well as the mean-pooled trunk with its many more dimensions. What the trunk says of a text never changes, so
it is computed once, before the first step, and a step costs a fraction of a second. Read `embedder_texts` first.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from realm.artifacts import sha256_of_file
from realm.errors import RecipeError
from realm.features.inputs import InputBuilder
from realm.models.embedder import RealmEmbedder
from realm.models.layers import RealmLayer
from realm.models.losses import in_batch_contrastive, similarity_distillation
from realm.text.pieces import PieceTokenizer
from realm.training.closed_form import mean_pooling_layer, principal_projection
from realm.training.distributed import Processes
from realm.training.embedder_recipe import EmbedderRecipe
from realm.training.embedder_texts import EmbedderBatch, EmbedderTexts
from realm.training.job import Figures, Job
from realm.training.job_report import QUIET, JobReport
from realm.training.trunk_states import TrunkStates, vectors_of_states
from realm.training.warm_start import WEIGHTS_FILE, config_from_bert, find_trunk, freeze_below, load_trunk

_STATES_FOLDER = "states"
_SAMPLE_FOR_COMPONENTS = 1024


class EmbedderJob(Job):
    """Trains a `RealmEmbedder`.

        L = (1 - w) contrastive(pairs) + w distillation(question x block)

    Args:
        recipe: See `EmbedderRecipe`.
        run: The run folder; in its folder `states` the trunk's states of all texts are kept, 1.5 kB each where it is
            384 wide.
        report: Is told how far their computation is.
    """

    def __init__(self, recipe: EmbedderRecipe, run: Path, report: JobReport = QUIET) -> None:
        if Processes.current().count > 1:
            # Every block of a step is a negative for every question of it.
            raise RecipeError("The embedder trains in one process: start it without torchrun.")
        self.recipe = recipe
        self._run, self._report = run, report
        self._folder = find_trunk(recipe.trunk)
        tokenizer = PieceTokenizer.from_folder(self._folder)
        self._builder = InputBuilder(tokenizer)
        self.texts = EmbedderTexts(recipe, tokenizer, self._builder)
        self._trunk_digest = sha256_of_file(self._folder / WEIGHTS_FILE)
        self._states: tuple[Tensor, Tensor] | None = None
        torch.manual_seed(recipe.seed)
        self.embedder = self._fresh_embedder()
        self.model: nn.Module = self.embedder

    def begin_step(self, step: int) -> None:
        """Before the first step, what the trunk says of all texts: only now the network is on its device."""
        if self._states is None:
            device = self.embedder.device
            trunk = TrunkStates(self._folder, self._builder, device)
            rows = [*self.texts.questions, *self.texts.blocks]
            states = trunk.cached(rows, self._run / _STATES_FOLDER, self._trunk_digest, self._report.embedding)
            questions, blocks = states.to(device).tensor_split([len(self.texts.questions)])
            self._states = questions, blocks

    def micro_batches(self, step: int) -> Sequence[EmbedderBatch]:
        """The whole step at once: every block is a negative for every other question."""
        return [self.texts.draw(step)]

    def loss(self, micro_batch: EmbedderBatch) -> tuple[Tensor, Figures]:
        """Loss of a step, with the share of pairs whose own block comes first, for us and for the teacher.

        Raises:
            RuntimeError: `begin_step` was not called before.
        """
        if self._states is None:
            raise RuntimeError("begin_step must be called before the first loss")
        device = self.embedder.device
        questions, blocks = (
            states[numbers.to(device)].float()
            for states, numbers in zip(self._states, (micro_batch.questions, micro_batch.blocks), strict=True)
        )
        question, block = vectors_of_states(self.embedder, questions), vectors_of_states(self.embedder, blocks)
        cosines = functional.normalize(questions[:, 0], dim=-1) @ functional.normalize(blocks[:, 0], dim=-1).T
        targets, excluded = micro_batch.targets.to(device), micro_batch.excluded.to(device)
        pairs = len(targets)
        contrastive = in_batch_contrastive(question[:pairs], block, targets, excluded)
        scores = question @ block.T
        distillation = similarity_distillation(scores, cosines, self.recipe.teacher_scale)
        weight = self.recipe.distillation_weight
        metrics = {
            "contrastive": float(contrastive.detach()),
            "distillation": float(distillation.detach()),
            "top1": _top1(scores[:pairs], targets, excluded),
            "teacher_top1": _top1(cosines[:pairs], targets, excluded),
        }
        return (1 - weight) * contrastive + weight * distillation, metrics

    def parents(self) -> dict[str, str]:
        """Digests of the trunk and of what is learned from."""
        return {"trunk": self._trunk_digest, **self.texts.digests}

    def save(self, folder: Path) -> None:
        """Write the embedder as a model folder."""
        self.embedder.save_pretrained(folder)

    def _fresh_embedder(self) -> RealmEmbedder:
        config = config_from_bert(
            self._folder,
            extra_layers=1,
            retriever_proj_size=self.recipe.dimensions,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        if not 0 < self.recipe.dimensions <= config.hidden_size:
            raise RecipeError(f"dimensions is {self.recipe.dimensions}; the trunk allows 1 to {config.hidden_size}.")
        embedder = RealmEmbedder(config)
        load_trunk(embedder.realm, self._folder)
        layers = embedder.realm.encoder.layer
        pooling = cast(RealmLayer, layers[-1])
        mean_pooling_layer(pooling)
        freeze_below(embedder.realm, len(layers) - 1)
        # The pooler is a scaled-down identity: a step that is small elsewhere would be noise there. Queries and keys
        # stay zero: by the trunk's states of a text there is nothing to attend to but the mean.
        fixed: list[nn.Module] = [
            embedder.cls.predictions, cast(nn.Module, embedder.realm.pooler),
            pooling.attention.self.query, pooling.attention.self.key,
        ]  # fmt: skip
        for module in fixed:
            module.requires_grad_(False)
        with torch.no_grad():
            principal_projection(embedder, self._sample_of_means(), self.recipe.score_scale)
        return embedder

    def _sample_of_means(self) -> Tensor:
        """Mean-pooled states of some questions and blocks, for the principal components."""
        chance = torch.Generator().manual_seed(self.recipe.seed)
        rows = [
            texts[number]
            for texts in (self.texts.questions, self.texts.blocks)
            for number in torch.randperm(len(texts), generator=chance)[: _SAMPLE_FOR_COMPONENTS // 2].tolist()
        ]
        if len(rows) < self.recipe.dimensions:
            raise RecipeError(
                f"{len(rows)} texts are too few for {self.recipe.dimensions} principal components. "
                "Lower dimensions, or give more sources, documents or questions."
            )
        return TrunkStates(self._folder, self._builder).of(rows)[:, 0].float()


def _top1(scores: Tensor, targets: Tensor, excluded: Tensor) -> float:
    best = scores.masked_fill(excluded, -torch.inf).argmax(-1)
    return float((best == targets).float().mean())
