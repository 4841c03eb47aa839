"""The job `finetune`: retriever and reader learn to answer questions, from blocks that the retriever finds.

    step ─ finetune_questions ─ questions ─ tower ─ vectors ─ finetune_retrieval ─ the 5,000 best rows
                                                     │                                     │
                                                     │            finetune_answers: which of them answer, and where
                                                     │                                     │
    loss = early update over all rows  +  spans of the best few ◄─ finetune_model ◄─ finetune_inputs: parts

Questions are embedded once a step; what all parts say about their vectors goes back through the tower at the end.
Knows neither the loop nor the command line. Read `finetune_recipe` first.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from realm.errors import RecipeError
from realm.features.inputs import InputBuilder
from realm.models.losses import early_update, joint_span
from realm.text.pieces import PieceTokenizer
from realm.training.block_source import BlockSource
from realm.training.distributed import Processes
from realm.training.finetune_answers import AnswerFinder
from realm.training.finetune_figures import IsRight, Joint, count_figures, match_figures, predicted_texts
from realm.training.finetune_inputs import Collator, Found, Part, fresh_places
from realm.training.finetune_model import FinetuneModel, write_open_qa
from realm.training.finetune_questions import AskedQuestion
from realm.training.finetune_recipe import FinetuneRecipe
from realm.training.finetune_retrieval import Retrieval
from realm.training.finetune_sources import open_sources
from realm.training.finetune_start import FinetuneStart
from realm.training.finetune_vectors import BlockVectors
from realm.training.job import Figures, Job, Tries
from realm.training.job_report import QUIET, JobReport

_DEV_AT_ONCE = 16


class FinetuneJob(Job):
    """Trains a `RealmForOpenQA`.

        L = mean_q ( logsumexp_z(s_qz) - logsumexp_z(s_qz where z answers)               over all retrieved z
                   + logsumexp_zs(r_qzs + s_qz) - logsumexp_zs(... where right) )         over the blocks read

    each term times 1[anything is right]; s_qz = q . z, r the reader's score of a span.

    Args:
        recipe: See `FinetuneRecipe`.
        run: The run folder, where snapshots are.
        corpus: The blocks; None to open those that the recipe names.
        report: Is told how opening and embedding go.

    Source: ORQA, Lee et al. 2019, section 6; google-research `language/orqa/models/orqa_model.py` (865fae6).
    Differs: batches of questions; a question that has no right span in what it would read is not read, as its loss
        and its gradient are 0.
    """

    def __init__(
        self, recipe: FinetuneRecipe, run: Path, corpus: BlockSource | None = None, report: JobReport = QUIET
    ) -> None:
        self.recipe = recipe
        self._processes = Processes.current()
        self._start = FinetuneStart.of(recipe)
        self._tokenizer = PieceTokenizer.from_folder(self._start.embedder)
        self._builder = InputBuilder(self._tokenizer)
        sources = open_sources(recipe, self._tokenizer, self._processes, corpus, report)
        self._corpus, self._questions = sources.corpus, sources.questions
        report.say_skipped("questions to learn from", self._questions.skipped)
        report.say_skipped("questions to measure by", self._questions.skipped_dev)
        finder = AnswerFinder.of(recipe, self._corpus, self._tokenizer)
        self._collator = Collator(self._builder, finder, recipe)
        self.networks = FinetuneModel(
            *self._start.networks(recipe), recipe.dropout, recipe.freeze_retriever, recipe.train_blocks
        )
        self.model: nn.Module = self.networks
        self._retrieval = Retrieval(self._corpus, finder, self._collator, recipe.retrieved)
        self._block_vectors = BlockVectors(
            recipe, run, sources, self._start, self._builder, self.networks.open_qa.embedder, self._processes, report
        )
        self._vectors = self._leaf = torch.empty(0)
        self._shared: dict[str, float] = {}
        self._summed: dict[str, float] = {}
        self._tries = Tries(len(self._questions), self._processes)
        self._has_sound_losses = True

    def begin_step(self, step: int) -> None:
        """Change to the newest snapshot, or make it, if blocks are trained; vectors that stay are made once."""
        self._retrieval.use(self._block_vectors.at(step), self.networks.device)

    def begin_evaluation(self, step: int) -> None:
        """Measure with the vectors of the step that follows; all processes make them."""
        self.begin_step(step)

    def micro_batches(self, step: int) -> Sequence[Part]:
        """This process's questions of a step, with what they retrieve now, in parts of like length."""
        asked = self._questions.draw(step, self.recipe.batch_questions, self._processes)
        self._leaf = self._vectors = self._embed(asked)
        if self._vectors.requires_grad:
            self._leaf = self._vectors.detach().requires_grad_()
        began = time.perf_counter()
        found = self._retrieval.find(asked, self._leaf.detach(), self.recipe.read)
        seconds = time.perf_counter() - began
        self._require_answers(found)
        parts = self._collator.parts(found, reads_all=False)
        padding = [part.padding() for part in parts]
        self._shared = {
            "retrieval_share": seconds,
            "padding_share": sum(part[0] for part in padding) / max(1, sum(part[1] for part in padding)),
        }
        self._summed = {**match_figures(found, self.recipe.batch_questions), **count_figures(found)}
        return parts

    def loss(self, micro_batch: Part) -> tuple[Tensor, Figures]:
        """Loss of some questions, divided by how many the whole batch has."""
        part, batch, device = micro_batch, self.recipe.batch_questions, self.networks.device
        scores = self._scores(part)
        counted = (self.recipe.score_scale * scores).masked_fill(~part.counts.to(device), -torch.inf)
        retriever = early_update(counted, part.has_answer.to(device), batch)
        if not part.pairs:
            return retriever, {"retriever_loss": retriever.detach(), "reader_loss": 0.0, "exact_match": 0.0}
        joint = Joint.of(part, self.networks.span_scores(part.pairs))
        read = scores.gather(1, part.ranks.to(device))
        reader = joint_span(joint.scores, read, joint.allowed, joint.correct, batch)
        return retriever + reader, {
            "retriever_loss": retriever.detach(),
            "reader_loss": reader.detach(),
            "exact_match": joint.best(read.detach()).is_right.sum() / batch,
        }

    def gradients(self, step: int, backward: Callable[[Tensor], None]) -> dict[str, float]:
        """As `Job.gradients`, then through the tower of questions; with what was retrieved, and what that cost."""
        began = time.perf_counter()
        # With a frozen retriever, a question that is not read has nothing to learn.
        figures = super().gradients(step, lambda loss: backward(loss) if loss.requires_grad else None)
        self._has_sound_losses = math.isfinite(figures["loss"])
        if self._leaf.grad is not None:
            # The gradient of this sum with respect to the vectors is what the parts have left.
            backward((self._vectors * self._leaf.grad).sum())
        shared = {**self._shared, **self._block_vectors.staleness(step)}
        shared["retrieval_share"] /= time.perf_counter() - began
        # What is no sum over processes is given in equal parts; the loop sums.
        return {**figures, **self._summed, **{key: value / self._processes.count for key, value in shared.items()}}

    def culprit(self, step: int) -> str:
        """The question tower, whose pass is not that of a part."""
        if not torch.isfinite(self._vectors).all():
            return "the question tower: a vector is not finite"
        bad = self._leaf.grad is not None and not torch.isfinite(self._leaf.grad).all()
        return "the question tower: the gradient of a vector is not finite" if bad and self._has_sound_losses else ""

    def state(self) -> dict[str, Any]:
        """The snapshot in use."""
        return self._block_vectors.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up the snapshot that a checkpoint names."""
        self._block_vectors.restore(state)

    def parents(self) -> dict[str, str]:
        """What the run stands on: first weights, corpus and questions."""
        return {**self._start.digests(), "corpus": self._corpus.digest, "questions": self._questions.digest}

    def save(self, folder: Path) -> None:
        """Write a RealmForOpenQA with its tokenizer; see `write_open_qa` for its towers."""
        write_open_qa(self.networks, self._start.embedder, folder)

    @torch.no_grad()
    def dev_figures(self, is_right: IsRight | None = None) -> dict[str, float]:
        """The dev metric, on questions that are not learned from, with the vectors in use.

        Args:
            is_right: Whether a text answers a question; None for no `official_exact_match`.

        Returns:
            `exact_match`, the share of questions whose best span is a right one, which decides; then
            `official_exact_match`, `reader_oracle` and `top_K_match`. A question that is too long counts as wrong.

        Raises:
            RecipeError: There are no such questions.
        """
        dev, count = self._questions.sample_of_dev(self.recipe.dev_questions)
        if not count:
            raise RecipeError("There are no questions to measure by: name a file in dev, or keep some aside.")
        was_training = self.model.training
        self.model.eval()
        sums = {"exact_match": 0.0}
        for first in range(0, len(dev), _DEV_AT_ONCE):
            for key, value in self._measured(dev[first : first + _DEV_AT_ONCE], is_right).items():
                sums[key] = sums.get(key, 0.0) + value
        self.model.train(was_training)
        return {key: value / count for key, value in sums.items()}

    def _measured(self, asked: Sequence[AskedQuestion], is_right: IsRight | None) -> dict[str, float]:
        """Counts over some questions."""
        self._leaf = self._embed(asked)
        found = self._retrieval.find(asked, self._leaf, "best")
        sums = {"exact_match": 0.0, **({} if is_right is None else {"official_exact_match": 0.0})}
        for part in self._collator.parts(found, reads_all=True):
            spans = self.networks.span_scores(part.pairs)
            joint = Joint.of(part, spans)
            best = joint.best(self._scores(part).gather(1, part.ranks.to(self.networks.device)))
            sums["exact_match"] += int(best.is_right.sum())
            if is_right is not None:
                texts = predicted_texts([found[number] for number in part.numbers], best, spans, self._tokenizer)
                pairs = zip(part.numbers.tolist(), texts, strict=True)
                sums["official_exact_match"] += sum(is_right(text, asked[number].question) for number, text in pairs)
        return {**sums, **match_figures(found, 1)}

    def _embed(self, asked: Sequence[AskedQuestion]) -> Tensor:
        """Vectors of questions; with two processes and one question, one of them has none."""
        if not asked:
            return torch.empty(0, self.networks.open_qa.config.retriever_proj_size, device=self.networks.device)
        return self.networks.question_vectors(self._collator.grouped([self._collator.question(one) for one in asked]))

    def _scores(self, part: Part) -> Tensor:
        """Inner products of questions and what they retrieved, (questions, retrieved)."""
        vectors = self._retrieval.vectors(part.rows)
        if self.recipe.train_blocks:
            vectors = self._with_fresh(vectors, part)
        with torch.autocast(vectors.device.type, enabled=False):
            return torch.einsum("qd,qkd->qk", self._leaf[part.numbers.to(self._leaf.device)], vectors)

    def _with_fresh(self, vectors: Tensor, part: Part) -> Tensor:
        """Vectors of which those of the best blocks, and of those that are read, are made anew, with gradient."""
        places = fresh_places(part, self.recipe.trained_blocks)
        if not len(places[0]):
            return vectors
        unique, numbers = np.unique(part.rows[places], return_inverse=True)
        blocks = self._corpus.take(unique.tolist())
        fresh = self.networks.block_vectors(self._collator.grouped([self._collator.block(block) for block in blocks]))
        index = tuple(torch.from_numpy(side).to(vectors.device) for side in places)
        return vectors.index_put(index, fresh[torch.from_numpy(numbers.reshape(-1)).to(fresh.device)])

    def _require_answers(self, found: Sequence[Found]) -> None:
        """Stop where nothing can be learned, instead of training on nothing for days."""
        if self._tries.are_in_vain(len(found), sum(bool(one.has_answer.any()) for one in found)):
            raise RecipeError(
                f"None of {self._tries.tried:,} questions tried has an answer in the {self.recipe.retrieved:,} best of "
                f"{len(self._corpus):,} blocks of {self.recipe.corpus}. Give documents that answer them, or other "
                'questions; or set has_answer = "tokens".'
            )
