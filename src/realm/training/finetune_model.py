"""What fine-tuning trains, as one network: towers of questions and blocks, and the reader; and how it is written.

    question ─ query_embedder (or embedder) ─┐
    block ──── embedder ─────────────────────┴─ inner products
    [CLS] question [SEP] block [SEP] ─ reader ─ score of each span

Rows come in groups of like length. Knows no texts, no index, no loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from realm.features.inputs import Inputs
from realm.models.embedder import RealmEmbedder
from realm.models.losses import in_full_precision
from realm.models.spans import allowed_spans, span_candidates
from realm.openqa.model import RealmForOpenQA
from realm.training.finetune_start import QUESTION_TOWER
from realm.training.pretrain_inputs import Group
from realm.training.tokenizer_files import copy_tokenizer

_UNUSED_HEAD = "cls.predictions."


class SpanScores(NamedTuple):
    """All spans of some rows, (rows, spans) each; rows with fewer spans have some more that are not allowed.

    Attributes:
        scores: By the reader alone; 0.0 where not allowed.
        allowed: Which lie in the block.
        firsts: First piece, counted from [CLS]; -1 where there is no span.
        lasts: Last piece, inclusive; -1 likewise.
    """

    scores: Tensor
    allowed: Tensor
    firsts: Tensor
    lasts: Tensor


class FinetuneModel(nn.Module):
    """Retriever and reader.

    Args:
        open_qa: Embedder of blocks, and reader.
        query_embedder: Embedder of questions; None if it is that of blocks.
        dropout: Of vectors, in training; after the embedder's layer norm, and so nothing of it is in the network.
        freeze_retriever: Train the reader alone.
        train_blocks: Train the embedder of blocks, too.
    """

    def __init__(
        self,
        open_qa: RealmForOpenQA,
        query_embedder: RealmEmbedder | None,
        dropout: float,
        freeze_retriever: bool,
        train_blocks: bool,
    ) -> None:
        super().__init__()
        self.open_qa, self.query_embedder = open_qa, query_embedder
        self._dropout = dropout
        self._frozen = [*([] if train_blocks else [open_qa.embedder])]
        if freeze_retriever and query_embedder is not None:
            self._frozen.append(query_embedder)
        unused: list[nn.Module] = [open_qa.reader.cls, cast(nn.Module, open_qa.reader.realm.pooler)]
        unused += [tower.cls.predictions for tower in (open_qa.embedder, query_embedder) if tower is not None]
        for module in (*unused, *self._frozen):
            module.requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.open_qa.reader.device

    @property
    def question_tower(self) -> RealmEmbedder:
        """What embeds questions."""
        return self.open_qa.embedder if self.query_embedder is None else self.query_embedder

    def train(self, mode: bool = True) -> FinetuneModel:
        """Switch dropout; frozen networks stay without."""
        super().train(mode)
        for network in self._frozen:
            network.eval()
        return self

    def question_vectors(self, groups: Sequence[Group]) -> Tensor:
        """Vectors of questions, (questions, dim) float32."""
        return self._vectors(self.question_tower, groups)

    def block_vectors(self, groups: Sequence[Group]) -> Tensor:
        """Vectors of blocks, (blocks, dim) float32."""
        return self._vectors(self.open_qa.embedder, groups)

    def span_scores(self, groups: Sequence[Group]) -> SpanScores:
        """Scores of all spans of all rows, in their order."""
        width = self.open_qa.config.max_span_width
        longest = max(group.inputs.input_ids.size(1) for group in groups)
        spans = len(span_candidates(longest, width, self.device).starts)
        parts = [self._scores_of(group.inputs.to(self.device), spans) for group in groups]
        order = torch.tensor([row for group in groups for row in group.rows]).argsort().to(self.device)
        return SpanScores(*(torch.cat(column)[order] for column in zip(*parts, strict=True)))

    def _scores_of(self, inputs: Inputs, spans: int) -> SpanScores:
        reader = self.open_qa.reader
        hidden = reader.realm(**inputs.for_trunk(), return_dict=True).last_hidden_state
        candidates = span_candidates(hidden.size(1), self.open_qa.config.max_span_width, self.device)
        scores = in_full_precision(reader.span_scores(hidden))
        allowed = allowed_spans(inputs.body_mask, candidates)
        more = (0, spans - scores.size(1))
        firsts, lasts = (
            functional.pad(side, more, value=-1).expand(len(scores), -1)
            for side in (candidates.starts, candidates.ends)
        )
        scores = functional.pad(scores.masked_fill(~allowed, 0.0), more)
        return SpanScores(scores, functional.pad(allowed, more, value=False), firsts, lasts)

    def _vectors(self, tower: RealmEmbedder, groups: Sequence[Group]) -> Tensor:
        parts = []
        for group in groups:
            inputs = group.inputs.to(self.device)
            parts.append(cast(Tensor, tower(**inputs.for_trunk(), return_dict=True).projected_score))
        order = torch.tensor([row for group in groups for row in group.rows]).argsort()
        vectors = in_full_precision(torch.cat(parts))[order.to(parts[0].device)]
        return functional.dropout(vectors, self._dropout, tower.training)


def write_open_qa(model: FinetuneModel, tokenizer: Path, folder: Path) -> None:
    """Write the networks as the folder of a RealmForOpenQA.

    `embedder` is the one that makes the vectors of blocks; where questions have another one it is called
    `query_embedder`, and the configuration says `separate_query_embedder`, as a RealmScorer's does.

    Args:
        model: The networks.
        tokenizer: A folder with their tokenizer.
        folder: Is there.
    """
    open_qa, tower = model.open_qa, model.query_embedder
    weights = dict(open_qa.state_dict())
    if tower is not None:
        own = {key: value for key, value in tower.state_dict().items() if not key.startswith(_UNUSED_HEAD)}
        weights |= {QUESTION_TOWER + key: value for key, value in own.items()}
    open_qa.config.separate_query_embedder = tower is not None
    try:
        open_qa.save_pretrained(folder, state_dict=weights)
    finally:
        open_qa.config.separate_query_embedder = False
    copy_tokenizer(tokenizer, folder)
