"""The job `reader`: span supervision, with blocks that lack the answer in the same softmax."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple, cast

import torch
from torch import Tensor, nn

from realm.artifacts import sha256_of_file
from realm.features.inputs import InputBuilder, Inputs, Row
from realm.models.layers import RealmLayer
from realm.models.losses import marginal_likelihood
from realm.models.reader import RealmReader
from realm.models.spans import allowed_spans, correct_spans, span_candidates
from realm.text.pieces import SPECIAL_PIECES_OF_A_PAIR, PieceTokenizer
from realm.training.closed_form import identity_layer
from realm.training.distributed import Processes
from realm.training.job import Figures, Job
from realm.training.job_report import QUIET, JobReport
from realm.training.reading_data import ReadingPool, TokenizedExample
from realm.training.recipe import LoopRecipe
from realm.training.warm_start import (
    WEIGHTS_FILE,
    config_from_bert,
    find_trained,
    find_trunk,
    freeze_below,
    load_trained,
    load_trunk,
)


@dataclass(frozen=True)
class ReaderRecipe(LoopRecipe):
    """Recipe of `realm train reader`; the keys of the loop are those of `LoopSettings`.

    Attributes:
        trunk: Folder of a BERT-family encoder to start from, with its tokenizer.
        start_from: Run folder, or model folder, of a trained reader on such a trunk, to go on from its weights;
            "realm-mini" for that of the built-in model.
        sources: Reading files; `;keep_aside=N` keeps one title in N out, `;share=F` weighs the draw.
        data: Folder that relative paths of sources start from.
        extra_layers: Layers added on top of the trunk.
        first_trained_layer: Embeddings and layers below stay as they are.
        batch_questions: Questions per step.
        micro_rows: Largest number of sequences in memory at once.
        negative_share: Share of questions that also get a block without the answer.
        max_pieces: Longest input; longer blocks are cut around the answer.
        max_span_width: Longest answer in word pieces.
        dropout: Of hidden states; attention probabilities have none, which fast attention kernels need.
    """

    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        "extra_layers": (0, math.inf),
        "first_trained_layer": (0, math.inf),
        "batch_questions": (1, math.inf),
        "micro_rows": (1, math.inf),
        "negative_share": (0, 1),
        "max_pieces": (16, math.inf),
        "max_span_width": (1, math.inf),
        "dropout": (0, 1),
    }
    # Sizes of micro-batches move roundings only; paths may move, because the digests of what they name may not.
    may_change: ClassVar[frozenset[str]] = frozenset({"trunk", "start_from", "data", "micro_rows"})

    trunk: str
    sources: tuple[str, ...]
    _: KW_ONLY
    data: str = "."
    start_from: str = ""
    extra_layers: int = 1
    first_trained_layer: int = 2
    batch_questions: int = 24
    micro_rows: int = 8
    negative_share: float = 0.25
    max_pieces: int = 320
    max_span_width: int = 10
    dropout: float = 0.0
    learning_rate: float = 1.5e-4
    save_every_steps: int = 50


class ReadingRows(NamedTuple):
    """Padded rows of some questions; `question` and `place` say which question's which block a row is."""

    inputs: Inputs
    starts: Tensor
    ends: Tensor
    question: Tensor
    place: Tensor
    scale: float


class ReaderJob(Job):
    """Trains a `RealmReader`.

        L = mean over questions of  logsumexp(all spans of its blocks) - logsumexp(right spans)

    Args:
        recipe: See `ReaderRecipe`.
        report: Is told what of the examples cannot be used.
    """

    def __init__(self, recipe: ReaderRecipe, report: JobReport = QUIET) -> None:
        folder = find_trunk(recipe.trunk)
        self.recipe = recipe
        tokenizer = PieceTokenizer.from_folder(folder)
        self._builder = InputBuilder(tokenizer)
        self._pool = ReadingPool(recipe.sources, Path(recipe.data), tokenizer, recipe.seed, report)
        torch.manual_seed(recipe.seed)
        config = config_from_bert(
            folder,
            recipe.extra_layers,
            max_span_width=recipe.max_span_width,
            hidden_dropout_prob=recipe.dropout,
            attention_probs_dropout_prob=0.0,
        )
        self.reader = RealmReader(config)
        load_trunk(self.reader.realm, folder)
        for layer in self.reader.realm.encoder.layer[config.num_hidden_layers - recipe.extra_layers :]:
            identity_layer(cast(RealmLayer, layer))
        self._parents = {"trunk": sha256_of_file(folder / WEIGHTS_FILE), **self._pool.digests}
        if recipe.start_from:
            trained = find_trained(recipe.start_from)
            load_trained(self.reader, trained)
            self._parents["start_from"] = sha256_of_file(trained / WEIGHTS_FILE)
        freeze_below(self.reader.realm, recipe.first_trained_layer)
        unused: list[nn.Module] = [self.reader.cls, cast(nn.Module, self.reader.realm.pooler)]
        for module in unused:
            module.requires_grad_(False)
        self.model: nn.Module = self.reader

    def micro_batches(self, step: int) -> Sequence[ReadingRows]:
        """This process's questions of a step, grouped by length so that little is padding."""
        choice = random.Random(f"{self.recipe.seed} {step}")
        questions = []
        for example in self._pool.draw(step, self.recipe.batch_questions):
            rows = [self._gold_row(example, choice)]
            if choice.random() < self.recipe.negative_share:
                other = self._pool.other_passage(example, choice)
                if other is not None:
                    rows.append((self._row(self._question_ids(example), other), ()))
            questions.append(rows)
        questions.sort(key=lambda rows: max(len(row.ids) for row, _ in rows))
        groups = Processes.current().share(list(self._groups(questions)))
        return [self._collate(group) for group in groups]

    def loss(self, micro_batch: ReadingRows) -> tuple[Tensor, Figures]:
        """Loss of some of the step's questions, times their share of the step."""
        device = self.reader.device
        inputs = micro_batch.inputs.to(device)
        trunk = self.reader.realm(**inputs.for_trunk(), return_dict=True)
        candidates = span_candidates(inputs.input_ids.size(1), self.reader.config.max_span_width, device)
        scores = self.reader.span_scores(trunk.last_hidden_state).float()
        allowed = allowed_spans(inputs.body_mask, candidates)
        correct = correct_spans(micro_batch.starts.to(device), micro_batch.ends.to(device), candidates) & allowed
        scores = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)
        index = (micro_batch.question.to(device), micro_batch.place.to(device))
        shape = (int(micro_batch.question.max()) + 1, int(micro_batch.place.max()) + 1, scores.size(1))
        all_scores = scores.new_full(shape, torch.finfo(scores.dtype).min).index_put(index, scores).flatten(1)
        all_correct = correct.new_zeros(shape).index_put(index, correct).flatten(1)
        losses = marginal_likelihood(all_scores, all_correct)
        best = all_correct.gather(1, all_scores.argmax(-1, keepdim=True)).float().sum()
        return losses.sum() * micro_batch.scale, {"exact_match": float(best) * micro_batch.scale}

    def parents(self) -> dict[str, str]:
        """Digests of the trunk, of the reader that this one starts from, and of the files of examples."""
        return self._parents

    def save(self, folder: Path) -> None:
        """Write the reader as a model folder."""
        self.reader.save_pretrained(folder)

    def _gold_row(self, example: TokenizedExample, choice: random.Random) -> tuple[Row, tuple[tuple[int, int], ...]]:
        """The answering passage, cut to a window around a random one of its answers if it is too long."""
        question_ids = self._question_ids(example)
        room = self.recipe.max_pieces - len(question_ids) - SPECIAL_PIECES_OF_A_PAIR
        first, last = choice.choice(example.spans)
        excess = max(0, len(example.body_ids) - room)
        # Of an answer that is wider than the window, the window holds the beginning.
        latest = min(first, excess)
        begin = choice.randint(min(max(0, last + 1 - room), latest), latest) if excess else 0
        row = self._row(question_ids, example.body_ids[begin : begin + room])
        shift = row.body_start - begin
        inside = ((s + shift, e + shift) for s, e in example.spans if s >= begin and e + shift < row.body_end)
        return row, tuple(inside)

    def _question_ids(self, example: TokenizedExample) -> list[int]:
        """The question, which leaves half of the input to the passage however long it is."""
        return example.question_ids[: self.recipe.max_pieces // 2 - SPECIAL_PIECES_OF_A_PAIR]

    def _row(self, question_ids: list[int], body_ids: list[int]) -> Row:
        return self._builder.reader(question_ids, body_ids, self.recipe.max_pieces)

    def _groups(
        self, questions: list[list[tuple[Row, tuple[tuple[int, int], ...]]]]
    ) -> Iterator[list[list[tuple[Row, tuple[tuple[int, int], ...]]]]]:
        group: list[list[tuple[Row, tuple[tuple[int, int], ...]]]] = []
        for rows in questions:
            if group and sum(map(len, group)) + len(rows) > self.recipe.micro_rows:
                yield group
                group = []
            group.append(rows)
        yield group

    def _collate(self, questions: list[list[tuple[Row, tuple[tuple[int, int], ...]]]]) -> ReadingRows:
        flat = [(row, spans, q, p) for q, rows in enumerate(questions) for p, (row, spans) in enumerate(rows)]
        most = max(1, max(len(spans) for _, spans, _, _ in flat))
        starts, ends = (torch.full((len(flat), most), -1) for _ in range(2))
        for number, (_, spans, _, _) in enumerate(flat):
            for place, (first, last) in enumerate(spans):
                starts[number, place], ends[number, place] = first, last
        return ReadingRows(
            self._builder.pad([row for row, *_ in flat]),
            starts,
            ends,
            torch.tensor([q for *_, q, _ in flat]),
            torch.tensor([p for *_, p in flat]),
            1.0 / self.recipe.batch_questions,
        )
