"""The job `embedder`: question-block pairs with in-batch negatives, taught by the trunk's mean-pooled similarities.

The trunk's layers stay frozen; one layer is added that starts as mean pooling, so that the first step already
ranks almost as well as the mean-pooled trunk with its many more dimensions.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from realm.artifacts import sha256_of_file, sha256_of_text
from realm.corpus.questions import read_questions
from realm.errors import RecipeError
from realm.features.inputs import InputBuilder, Row, batches_of_like_length
from realm.models.embedder import RealmEmbedder
from realm.models.layers import RealmLayer
from realm.models.losses import in_batch_contrastive, similarity_distillation
from realm.text.pieces import PieceTokenizer
from realm.training.closed_form import mean_pooling_layer, principal_projection
from realm.training.distributed import Processes
from realm.training.embedder_recipe import EmbedderRecipe
from realm.training.inverse_cloze import sentence_and_rest, sentence_blocks
from realm.training.job import Figures, Job
from realm.training.reading_data import ReadingPool, TokenizedBlock
from realm.training.warm_start import (
    WEIGHTS_FILE,
    config_from_bert,
    find_trunk,
    freeze_below,
    load_trunk,
)

_SAMPLE_FOR_COMPONENTS = 1024
_PIECES_AT_ONCE = 4096


class EmbedderBatch(NamedTuple):
    """Rows of a step. Question i belongs to block `targets[i]` for i < len(targets); the rest are only distilled.
    Blocks beyond the targets are hard negatives.
    """

    questions: list[Row]
    blocks: list[Row]
    targets: Tensor
    same_passage: Tensor


class EmbedderJob(Job):
    """Trains a `RealmEmbedder`.

        L = (1 - w) contrastive(pairs) + w (distillation(question x block) + distillation(block x block)) / 2

    Args:
        recipe: See `EmbedderRecipe`.
    """

    def __init__(self, recipe: EmbedderRecipe) -> None:
        if Processes.current().count > 1:
            # Every block of a step is a negative for every question of it.
            raise RecipeError("The embedder trains in one process: start it without torchrun.")
        folder = find_trunk(recipe.trunk)
        self.recipe = recipe
        self._tokenizer = PieceTokenizer.from_folder(folder)
        self._builder = InputBuilder(self._tokenizer)
        self._pool = ReadingPool(recipe.sources, Path(recipe.data), self._tokenizer, recipe.seed)
        documents = [Path(recipe.data, path) for path in recipe.documents]
        self._blocks = list(sentence_blocks(documents, recipe.max_documents, self._tokenizer))
        questions = [q.text for path in recipe.questions for q in read_questions(Path(recipe.data, path))]
        self._parents = {
            "trunk": sha256_of_file(folder / WEIGHTS_FILE), **self._pool.digests,
            "documents": sha256_of_text(repr(self._blocks)), "questions": sha256_of_text(*questions),
        }  # fmt: skip
        random.Random(recipe.seed).shuffle(questions)
        self._questions = [pieces.ids for pieces in self._tokenizer.encode_batch(questions)]
        torch.manual_seed(recipe.seed)
        self.embedder = self._fresh_embedder(folder)
        self.model: nn.Module = self.embedder

    def micro_batches(self, step: int) -> Sequence[EmbedderBatch]:
        """The whole step at once: every block is a negative for every other question."""
        recipe, choice = self.recipe, random.Random(f"{self.recipe.seed} {step}")
        questions, blocks, passages = [], [], []
        negatives: list[TokenizedBlock] = []
        for example in self._pool.draw(step, recipe.batch_pairs):
            questions.append(example.question_ids)
            blocks.append((example.title_ids, example.body_ids))
            passages.append(example.passage)
            count = min(recipe.hard_negatives, len(example.hard_negatives))
            negatives += choice.sample(example.hard_negatives, count)
        for place in range(recipe.batch_sentences if self._blocks else 0):
            number = (step * recipe.batch_sentences + place) % len(self._blocks)
            sentence, block = sentence_and_rest(self._blocks[number], recipe.keep_sentence_share, choice)
            questions.append(sentence)
            blocks.append(block)
            passages.append(-1 - number)
        pairs = len(questions)
        if self._questions:
            start = step * recipe.batch_questions
            questions += (self._questions[(start + n) % len(self._questions)] for n in range(recipe.batch_questions))
        blocks += ((block.title_ids, block.body_ids) for block in negatives)
        number_of = torch.tensor(passages + [block.passage for block in negatives])
        return [
            EmbedderBatch(
                [self._builder.question(ids, recipe.max_question_pieces) for ids in questions],
                [self._builder.block(title, body, recipe.max_block_pieces) for title, body in blocks],
                torch.arange(pairs),
                (number_of[:pairs, None] == number_of) & ~torch.eye(pairs, len(number_of), dtype=torch.bool),
            )
        ]

    def loss(self, micro_batch: EmbedderBatch) -> tuple[Tensor, Figures]:
        """Loss of a step, with the share of pairs whose own block comes first, for us and for the teacher."""
        question, question_teacher = self._embed(micro_batch.questions)
        block, block_teacher = self._embed(micro_batch.blocks)
        targets = micro_batch.targets.to(question.device)
        excluded = micro_batch.same_passage.to(question.device)
        paired = question[: len(targets)]
        contrastive = in_batch_contrastive(paired, block, targets, excluded)
        scale = self.recipe.teacher_scale
        distillation = (
            similarity_distillation(question @ block.T, question_teacher @ block_teacher.T, scale)
            + similarity_distillation(block @ block.T, block_teacher @ block_teacher.T, scale)
        ) / 2
        weight = self.recipe.distillation_weight
        teacher_scores = question_teacher[: len(targets)] @ block_teacher.T
        metrics = {
            "contrastive": float(contrastive.detach()),
            "distillation": float(distillation.detach()),
            "top1": _top1(paired @ block.T, targets, excluded),
            "teacher_top1": _top1(teacher_scores, targets, excluded),
        }
        return (1 - weight) * contrastive + weight * distillation, metrics

    def parents(self) -> dict[str, str]:
        """Digests of the trunk and of what is learned from."""
        return self._parents

    def save(self, folder: Path) -> None:
        """Write the embedder as a model folder."""
        self.embedder.save_pretrained(folder)

    def _fresh_embedder(self, folder: Path) -> RealmEmbedder:
        config = config_from_bert(
            folder,
            extra_layers=1,
            retriever_proj_size=self.recipe.dimensions,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        if not 0 < self.recipe.dimensions <= config.hidden_size:
            raise RecipeError(f"dimensions is {self.recipe.dimensions}; the trunk allows 1 to {config.hidden_size}.")
        embedder = RealmEmbedder(config)
        load_trunk(embedder.realm, folder)
        layers = embedder.realm.encoder.layer
        mean_pooling_layer(cast(RealmLayer, layers[-1]))
        freeze_below(embedder.realm, len(layers) - 1)
        # The pooler is a scaled-down identity: a step that is small elsewhere would be noise there.
        fixed: list[nn.Module] = [embedder.cls.predictions, cast(nn.Module, embedder.realm.pooler)]
        for module in fixed:
            module.requires_grad_(False)
        # The teacher is the frozen trunk itself: what goes into the last layer, averaged.
        layers[-1].register_forward_pre_hook(self._keep_trunk_states)
        self.embedder = embedder
        with torch.no_grad():
            principal_projection(embedder, self._sample_of_means(), self.recipe.score_scale)
        return embedder

    def _keep_trunk_states(self, _: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        self._trunk_states = arguments[0].detach()

    def _sample_of_means(self) -> Tensor:
        """Teacher vectors of some questions and passages, for the principal components."""
        examples = self._pool.draw(0, _SAMPLE_FOR_COMPONENTS // 2)
        rows = [self._builder.question(e.question_ids, self.recipe.max_question_pieces) for e in examples]
        rows += [self._builder.block(e.title_ids, e.body_ids, self.recipe.max_block_pieces) for e in examples]
        return self._embed(rows)[1]

    def _embed(self, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
        """Our vectors and the teacher's unit vectors, in the order of rows; computed in groups of like length."""
        device = self.embedder.device
        order: list[int] = []
        ours, teachers = [], []
        for numbers in batches_of_like_length([len(row.ids) for row in rows], _PIECES_AT_ONCE):
            inputs = self._builder.pad([rows[number] for number in numbers]).to(device)
            ours.append(self.embedder(**inputs.for_trunk(), return_dict=True).projected_score)
            weights = inputs.attention_mask[..., None].float()
            means = (self._trunk_states.float() * weights).sum(1) / weights.sum(1)
            teachers.append(nn.functional.normalize(means, dim=-1))
            order += numbers
        back = torch.tensor(order, device=device).argsort()
        return torch.cat(ours)[back], torch.cat(teachers)[back]


def _top1(scores: Tensor, targets: Tensor, excluded: Tensor) -> float:
    best = scores.masked_fill(excluded, -torch.inf).argmax(-1)
    return float((best == targets).float().mean())
