"""The job `pretrain`: a retriever and an encoder learn to fill in names, from blocks that the retriever finds.

    step ─ pretrain_data ─ masked sentences ─ pretrain_retrieval ─ candidates ─ pretrain_inputs ─ micro-batches
             ▲                                     ▲                                                   │
       names, found once                   snapshot in use (refresh)                             PretrainModel
                                                                                                       │
                                          loss: masked_losses, marginalised over the candidates ◄──────┘

Examples of a step are a function of (seed, step, number of processes, snapshot in use). Knows neither the loop nor the
command line. Read `pretrain_recipe` first.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from realm.corpus.questions import AnswerType
from realm.errors import RecipeError
from realm.features.inputs import InputBuilder, Row
from realm.models.masked_losses import null_probability, per_span, per_token, retrieval_utility, span_retrieval_utility
from realm.text.pieces import PieceTokenizer
from realm.training.distributed import Processes
from realm.training.heartbeat import TrainerBeat
from realm.training.job import Figures, Job, Tries
from realm.training.job_report import QUIET, JobReport
from realm.training.masking import Masker, MaskingKind
from realm.training.pretrain_data import MaskedSentences, Origins
from realm.training.pretrain_inputs import Collator, Example, MicroBatch
from realm.training.pretrain_model import PretrainModel
from realm.training.pretrain_recall import answerable_questions, zero_shot_recall
from realm.training.pretrain_recipe import PretrainRecipe
from realm.training.pretrain_result import write_result
from realm.training.pretrain_retrieval import CandidateFinder, require_examples
from realm.training.pretrain_sources import Sources, open_sources
from realm.training.pretrain_start import Start, start_networks
from realm.training.refresh import Refresher
from realm.training.tokenizer_files import TOKENIZER_FILE

_SAMPLED_BLOCKS = 512


class Part(NamedTuple):
    """A micro-batch, and what the sentences of the whole batch have together.

    Attributes:
        inputs: Of some sentences.
        tokens: Masked pieces of all sentences of all processes.
        sentences: How many those are.
    """

    inputs: MicroBatch
    tokens: float
    sentences: float


class PretrainJob(Job):
    """Trains a `RealmEmbedder` and a `RealmKnowledgeAugEncoder` together.

        L = - sum_bj log sum_n p(n|b) p(y_bj|b,n)  /  masked pieces,     p(n|b) = softmax_n(q_b . z_n)

    Args:
        recipe: See `PretrainRecipe`.
        run: The run folder, where snapshots are.
        sources: What is retrieved from and masked in; None to open what the recipe names.
        report: Is told how opening and embedding go.

    Source: REALM, Guu et al. 2020; google-research `language/realm/model.py` (865fae6).
    """

    def __init__(
        self, recipe: PretrainRecipe, run: Path, sources: Sources | None = None, report: JobReport = QUIET
    ) -> None:
        self.recipe, self._run = recipe, run
        self._processes = Processes.current()
        self._start = Start.of(recipe)
        self._tokenizer = PieceTokenizer.from_folder(self._start.encoder)
        self._builder = InputBuilder(self._tokenizer)
        self._sources = sources or open_sources(recipe, self._tokenizer, self._processes, report)
        answers: AnswerType = recipe.answer_type  # type: ignore[assignment]  # the recipe allows no other
        self._questions = answerable_questions(Path(recipe.data, recipe.questions), answers) if recipe.questions else []
        kind: MaskingKind = recipe.masking  # type: ignore[assignment]  # the recipe allows no other
        masker = Masker(self._tokenizer, kind, recipe.query_seq_len - 2, recipe.max_masks)
        self._sentences = MaskedSentences(self._sources.sentences, masker, recipe)
        embedder, encoder = start_networks(recipe, self._start, self._builder, self._sample)
        self.networks = PretrainModel(embedder, encoder, recipe.dropout, recipe.freeze_retriever)
        self.model: nn.Module = self.networks
        self._collator = Collator(
            self._builder, recipe.query_seq_len, recipe.candidate_seq_len, recipe.micro_rows, recipe.null_document
        )
        self._finder = CandidateFinder(recipe, self._sources.corpus, self._builder, embedder)
        self._report = report
        self._refresher, self._beat = self._make_refresher(self._processes), TrainerBeat(run)
        self._tries = Tries(recipe.steps * recipe.batch_sentences, self._processes)
        self._retrieval_seconds, self._padding = 0.0, [0, 0]
        self._counted: Counter[str] = Counter()

    def begin_step(self, step: int) -> None:
        """Change to the newest snapshot, or make it, if the recipe says so; a frozen retriever needs only one."""
        snapshot = self._refresher.snapshot
        if snapshot is None or not self.recipe.freeze_retriever:
            snapshot = self._refresher.at_border(step)
        elif self.recipe.refresh == "other_process" and self._processes.is_first:
            self._beat.beat(f"step {step:,}")
        self._finder.use(snapshot)

    def begin_evaluation(self, step: int) -> None:
        """Measure with the snapshot of the step that follows; all processes make it."""
        self.begin_step(step)

    def micro_batches(self, step: int) -> Sequence[Part]:
        """This process's examples of a step, in parts of like length."""
        parts = self._parts(self._sentences.draw(step, self._processes), self._processes)
        tried = len(self._processes.share(range(self.recipe.batch_sentences)))
        require_examples(self._tries, tried, sum(len(part.inputs.targets) for part in parts), self._counted)
        return parts

    def loss(self, micro_batch: Part) -> tuple[Tensor, Figures]:
        """Loss of some sentences, divided by what the whole batch has."""
        inputs, tokens, sentences = micro_batch
        scores, log_probs = self.networks(inputs)
        weights = (inputs.targets >= 0).to(log_probs)
        by_token = per_token(log_probs, scores, weights, tokens)
        loss = by_token if self.recipe.marginal == "token" else per_span(log_probs, scores, weights, sentences)
        own_tokens, own_sentences = float(weights.sum()), float(len(weights))
        beliefs = scores.detach().softmax(-1)
        utilities = {"retrieval_utility": retrieval_utility(log_probs, scores, weights, tokens)}
        if self.recipe.marginal == "span":
            utilities["span_retrieval_utility"] = span_retrieval_utility(log_probs, scores, weights, sentences)
        return loss, {
            **utilities,
            "gold_log_prob": -by_token.detach(),
            "null_probability": null_probability(scores) * (own_sentences / sentences),
            "top_1_share": beliefs.amax(-1).sum() / sentences,
            "examples": own_sentences,
            "masked_pieces": own_tokens,
        }

    def gradients(self, step: int, backward: Callable[[Tensor], None]) -> dict[str, float]:
        """As `Job.gradients`; with how stale the snapshot is, and what retrieval and padding cost."""
        began = time.perf_counter()
        figures = super().gradients(step, backward)
        snapshot = self._refresher.snapshot
        shared = {
            **self._refresher.staleness(step),
            "snapshot_step": float(snapshot.step if snapshot is not None else 0),
            "padding_share": self._padding[0] / max(1, self._padding[1]),
            "retrieval_share": self._retrieval_seconds / (time.perf_counter() - began),
        }
        # What is no sum over processes is given in equal parts; the loop sums.
        return {**figures, **self._counted, **{key: value / self._processes.count for key, value in shared.items()}}

    def state(self) -> dict[str, Any]:
        """The snapshot in use."""
        return self._refresher.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up the snapshot that a checkpoint names."""
        self._refresher.restore(state)

    def parents(self) -> dict[str, str]:
        """What the run stands on: first weights, corpus and sentences."""
        return {**self._start.digests(), **self._sources.digests()}

    def save(self, folder: Path) -> None:
        """Write `embedder` and `encoder`, each a model folder; see `pretrain_result` for what comes next."""
        embedder, encoder = self.networks.embedder, self.networks.encoder
        if self.recipe.reset_retriever or self.recipe.reset_encoder:
            with torch.random.fork_rng(devices=[]):
                first = start_networks(self.recipe, self._start, self._builder, self._sample)
            embedder = first[0] if self.recipe.reset_retriever else embedder
            encoder = first[1] if self.recipe.reset_encoder else encoder
        write_result(folder, embedder, encoder, self._start.encoder)

    def held_out_figures(self) -> dict[str, float]:
        """The dev metric, on sentences of held-out blocks, with candidates from the snapshot in use.

        Returns:
            `held_out_gold_log_prob`, which decides; retrieval utility, loss, null probability and the like; with
            `questions`, also `recall_5`, of the snapshot in use.

        Raises:
            RecipeError: No block is held out, or none of those gives an example.

        Differs: Google's trainer takes the weights with the best retrieval utility; before the encoder has learned
            anything, chance makes that one large.
        """
        # Before the first step there is none. The others wait for this process, so it embeds by itself.
        self._finder.use(self._refresher.snapshot or self._make_refresher(Processes()).at_border(0))
        sums = self._held_out_sums()
        if not sums:
            raise RecipeError(
                f"held_out_share is {self.recipe.held_out_share}, and no held-out block gives a masked sentence with "
                "candidates. Raise it."
            )
        measured = {f"held_out_{key}": sums[key] for key in ("gold_log_prob", *sums)}
        if self._questions:
            measured["recall_5"] = zero_shot_recall(
                self._questions, self._finder.search, self._sources.corpus, self._tokenizer, self.recipe.query_seq_len
            )
        return measured

    @torch.no_grad()
    def _held_out_sums(self) -> dict[str, float]:
        """Loss and figures over all held-out sentences, without dropout."""
        was_training = self.model.training
        self.model.eval()
        sums: dict[str, float] = {}
        for part in self._parts(self._sentences.held_out(), Processes()):
            loss, figures = self.loss(part)
            for key, value in {"loss": loss, **figures}.items():
                sums[key] = sums.get(key, 0.0) + float(value)
        self.model.train(was_training)
        return sums

    def _parts(self, origins: Origins, processes: Processes) -> list[Part]:
        """Candidates of sentences, and all of it as inputs."""
        began = time.perf_counter()
        found = self._finder.find([self._collator.question(one) for one in origins.sentences], origins)
        self._retrieval_seconds = time.perf_counter() - began
        pairs = zip(origins.sentences, found.rows, strict=True)
        examples = [Example(sentence, rows) for sentence, rows in pairs if rows is not None]
        batches = self._collator.micro_batches(examples, found.blocks)
        tokens = float(sum(len(one.sentence.targets) for one in examples))
        # Order: before the forward pass, so that every part can be divided by what the whole batch has.
        whole = processes.sum_figures({"tokens": tokens, "sentences": float(len(examples))})
        padding = [batch.padding() for batch in batches]
        self._padding = [sum(part[0] for part in padding), sum(part[1] for part in padding)]
        skipped = {f"skipped_{reason}": count for reason, count in {**origins.skipped, **found.skipped}.items()}
        self._counted = Counter({**skipped, "origins_dropped": found.origins_dropped})
        return [Part(batch, whole["tokens"], whole["sentences"]) for batch in batches]

    def _sample(self) -> list[Row]:
        """Inputs of some blocks."""
        blocks = self._sources.corpus.take(range(min(_SAMPLED_BLOCKS, len(self._sources.corpus))))
        return [self._builder.block(b.title_ids, b.body_ids, self.recipe.candidate_seq_len) for b in blocks]

    def _make_refresher(self, processes: Processes) -> Refresher:
        return Refresher(
            self._run, self.recipe, self._sources.corpus, self._builder, self.networks.embedder, self._sources.plan,
            self._start.encoder / TOKENIZER_FILE, processes=processes, progress=self._report.embedding,
            say=self._report.say,
        )  # fmt: skip
