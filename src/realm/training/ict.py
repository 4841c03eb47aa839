"""The job `ict`, the inverse cloze task: an embedder learns to find the block that a sentence was taken from.

    blocks ─ ict_data ─► sentences, blocks ─ embedder ─► vectors ─ softmax over all blocks of the batch ─► loss

Batches are as large as wished: their gradients are cached (`gradient_caching`). Knows neither knowledge bases nor the
loop. Read `ict_recipe` and `ict_data` first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from realm.artifacts import sha256_of_file
from realm.errors import RecipeError
from realm.features.inputs import InputBuilder, Row, batches_of_like_length
from realm.models.losses import in_batch_contrastive, inner_products
from realm.openqa.batch_embedding import BatchEmbedder
from realm.text.pieces import PieceTokenizer
from realm.training.block_source import BlockSource
from realm.training.distributed import Processes
from realm.training.gradient_caching import Chunk, bad_chunk, cached_gradients
from realm.training.ict_data import ClozeBatch, ClozeBatches
from realm.training.ict_recipe import IctRecipe
from realm.training.ict_start import start_embedder, start_folder
from realm.training.job import Job
from realm.training.job_report import QUIET, JobReport
from realm.training.tokenizer_files import copy_tokenizer
from realm.training.warm_start import WEIGHTS_FILE

_SAMPLED_BLOCKS = 256
_QUESTIONS_AT_ONCE = 1024
_LONGEST_TO_SHORTEST = 1.25


class IctJob(Job):
    """Trains a `RealmEmbedder`.

        L = - mean_i log softmax_j(scale q_i . b_j)[i]   over all blocks j of the batch, of all processes

    Args:
        recipe: See `IctRecipe`.
        source: The blocks; None to open those that the recipe names.
        report: Is told how opening goes.

    Source: ORQA, Lee et al. 2019, section 5.
    """

    def __init__(self, recipe: IctRecipe, source: BlockSource | None = None, report: JobReport = QUIET) -> None:
        self.recipe = recipe
        self._folder = start_folder(recipe)
        tokenizer = PieceTokenizer.from_folder(self._folder)
        self._builder = InputBuilder(tokenizer)
        self._processes = Processes.current()
        if source is None:
            source = self._processes.first_alone(
                lambda: recipe.open_corpus(recipe.blocks, tokenizer, recipe.max_block_pieces, report)
            )
        self._source = source
        self._batches = ClozeBatches(source, tokenizer, recipe)
        self.embedder = start_embedder(
            recipe, self._folder, self._builder, lambda: self._batches.sample(_SAMPLED_BLOCKS)
        )
        self.model: nn.Module = self.embedder
        self._last_loss = 0.0

    def micro_batches(self, step: int) -> Sequence[ClozeBatch]:
        """This process's examples of a step, as one part: every block is a negative for every other sentence."""
        return [self._batches.draw(step, self._processes)]

    def loss(self, micro_batch: ClozeBatch) -> tuple[Tensor, Mapping[str, float]]:
        """Loss of a batch that is this process's alone, and whose graph fits into memory at once."""
        sides = [self._chunks(micro_batch.questions), self._chunks(micro_batch.blocks)]
        loss, figures = self._scored(micro_batch)(*map(self._embed_side, sides))
        return loss, {**figures, "padding_share": _padding(sides), **_counts(micro_batch)}

    def gradients(self, step: int, backward: Callable[[Tensor], None]) -> dict[str, float]:
        """Gradients of the loss over the whole batch; cached, unless the batch fits at once."""
        (batch,) = self.micro_batches(step)
        pieces = sum(len(row.ids) for rows in (batch.questions, batch.blocks) for row in rows)
        if self._processes.count == 1 and 0 < pieces <= self.recipe.pieces_at_once:
            value, counted = self.loss(batch)
            backward(value)
            self._last_loss = float(value.detach())
            return {"loss": self._last_loss, **counted}
        sides = [self._chunks(batch.questions), self._chunks(batch.blocks)]
        no_rows = torch.empty(0, self.embedder.config.retriever_proj_size, device=self.embedder.device)
        loss, figures = cached_gradients(sides, self._embed, self._scored(batch), backward, no_rows, self._processes)
        # What is the same on all processes is given in equal parts; the loop sums.
        self._last_loss = float(loss)
        shared = {"loss": self._last_loss, **figures, "padding_share": _padding(sides)}
        return {**{key: value / self._processes.count for key, value in shared.items()}, **_counts(batch)}

    def culprit(self, step: int) -> str:
        """The chunk whose vectors are not finite, or else the loss of the whole batch."""
        (batch,) = self.micro_batches(step)
        sides = {"sentences": self._chunks(batch.questions), "blocks": self._chunks(batch.blocks)}
        found = bad_chunk(sides, self._embed)
        if any(self._processes.gather_texts(found)):
            return found
        return "" if math.isfinite(self._last_loss) else f"the loss of the whole batch is {self._last_loss}"

    def parents(self) -> dict[str, str]:
        """What the run stands on: the first weights and the blocks."""
        return {"start": sha256_of_file(self._folder / WEIGHTS_FILE), "blocks": self._source.digest}

    def save(self, folder: Path) -> None:
        """Write the embedder as a model folder, with its tokenizer."""
        self.embedder.save_pretrained(folder)
        copy_tokenizer(self._folder, folder)

    def held_out_figures(self) -> dict[str, float]:
        """The dev metric: how well sentences find the held-out blocks that they were taken from.

        Returns:
            `held_out_accuracy`, the share of sentences whose own block comes first among all held-out blocks;
            `held_out_recall_5`, among the first five; `held_out_loss` in nats per sentence. Ties count against us.

        Raises:
            RecipeError: There are no held-out blocks of several sentences.
        """
        batch = self._batches.held_out()
        if not batch.questions:
            raise RecipeError(
                f"held_out_blocks is {self.recipe.held_out_blocks}, and none of them has two sentences. Hold out more."
            )
        embed = BatchEmbedder(self.embedder, self._builder)
        questions, blocks = (torch.from_numpy(embed(rows)) for rows in (batch.questions, batch.blocks))
        ranks, losses = [], []
        for first in range(0, len(questions), _QUESTIONS_AT_ONCE):
            scores = inner_products(questions[first : first + _QUESTIONS_AT_ONCE], blocks, self.recipe.score_scale)
            own = scores.diagonal(first)[: len(scores), None]
            ranks.append((scores >= own).sum(-1) - 1)
            losses.append(torch.logsumexp(scores, -1) - own[:, 0])
        rank = torch.cat(ranks)
        return {
            "held_out_accuracy": float((rank < 1).float().mean()),
            "held_out_recall_5": float((rank < 5).float().mean()),
            "held_out_loss": float(torch.cat(losses).mean()),
        }

    def _embed(self, rows: Sequence[Row]) -> Tensor:
        inputs = self._builder.pad(rows).to(self.embedder.device)
        projected = cast(Tensor, self.embedder(**inputs.for_trunk(), return_dict=True).projected_score)
        # Order: after the layer norm, and in training only; nothing of it is in the network.
        return functional.dropout(projected.float(), self.recipe.dropout, self.embedder.training)

    def _embed_side(self, chunks: Sequence[Chunk]) -> Tensor:
        """Vectors of all chunks, in the order of rows."""
        order = torch.tensor([row for chunk in chunks for row in chunk.rows], device=self.embedder.device)
        return torch.cat([self._embed(chunk.inputs) for chunk in chunks])[order.argsort()]

    def _chunks(self, rows: Sequence[Row]) -> list[Chunk]:
        """Rows of like length, as many as may be in memory at once and as little padding allows."""
        lengths = [len(row.ids) for row in rows]
        chunks: list[Chunk] = []
        for numbers in batches_of_like_length(lengths, self.recipe.pieces_at_once):
            shortest = 0
            for number in numbers:
                if not shortest or lengths[number] > _LONGEST_TO_SHORTEST * shortest:
                    shortest = lengths[number]
                    chunks.append(Chunk([], []))
                chunks[-1].rows.append(number)
                chunks[-1].inputs.append(rows[number])
        return chunks

    def _scored(self, batch: ClozeBatch) -> Callable[[Tensor, Tensor], tuple[Tensor, dict[str, float]]]:
        """Loss and figures of the whole batch as functions of its vectors."""
        about = torch.tensor([batch.numbers, batch.removed], dtype=torch.long, device=self.embedder.device).T
        numbers, removed = self._processes.gather_rows(about.contiguous()).T
        own = torch.arange(len(numbers), device=numbers.device)
        # Where an epoch ends inside a batch, a block may be in it twice.
        copies = (numbers[:, None] == numbers) & (own[:, None] != own)

        def scored(questions: Tensor, blocks: Tensor) -> tuple[Tensor, dict[str, float]]:
            loss = in_batch_contrastive(questions, blocks, own, copies, self.recipe.score_scale)
            if not len(own):
                return loss, {}
            scores = inner_products(questions.detach(), blocks.detach()).masked_fill(copies, -torch.inf)
            is_first = (scores.argmax(-1) == own).float()
            return loss, {
                "accuracy": float(is_first.mean()),
                # NaN where there is none: a batch of dozens may have no block that keeps its sentence.
                "accuracy_removed": float(is_first[removed == 1].mean()),
                "accuracy_kept": float(is_first[removed == 0].mean()),
                "removed_share": float(removed.float().mean()),
            }

        return scored


def _padding(sides: Sequence[Sequence[Chunk]]) -> float:
    """Share of the positions computed that hold no word piece."""
    lengths = [[len(row.ids) for row in chunk.inputs] for side in sides for chunk in side]
    computed = sum(max(chunk) * len(chunk) for chunk in lengths)
    return 1 - sum(map(sum, lengths)) / computed if computed else 0.0


def _counts(batch: ClozeBatch) -> dict[str, float]:
    """Figures that add up over processes."""
    skipped = {f"skipped_{reason}": float(count) for reason, count in batch.skipped.items()}
    return {"examples": float(len(batch.questions)), **skipped}
