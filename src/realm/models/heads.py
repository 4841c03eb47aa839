"""What stands on the trunk: the masked-token head every network carries, and the embedder's projection.

Only the encoder uses the masked-token head; the others hold it because their released checkpoints do.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from transformers.models.bert.modeling_bert import BertPredictionHeadTransform

from realm.models.configuration import RealmConfig

UNUSED_HEAD_KEYS = r"cls\.predictions\."
"""Weights the forward pass of embedder and reader never touches; a checkpoint may leave them out."""


class RealmLMPredictionHead(nn.Module):
    """dense, activation, layer norm, then one score per word piece."""

    def __init__(self, config: RealmConfig) -> None:
        super().__init__()
        self.transform = BertPredictionHeadTransform(config)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.decoder.bias = self.bias

    def forward(self, hidden: Tensor) -> Tensor:
        return cast(Tensor, self.decoder(self.transform(hidden)))


class RealmOnlyMLMHead(nn.Module):
    """The `cls` of encoder and reader."""

    def __init__(self, config: RealmConfig) -> None:
        super().__init__()
        self.predictions = RealmLMPredictionHead(config)

    def forward(self, hidden: Tensor) -> Tensor:
        return cast(Tensor, self.predictions(hidden))


class RealmScorerProjection(nn.Module):
    """The `cls` of the embedder: pooled state to question or block vector, LN(W h + b)."""

    def __init__(self, config: RealmConfig) -> None:
        super().__init__()
        self.predictions = RealmLMPredictionHead(config)
        self.dense = nn.Linear(config.hidden_size, config.retriever_proj_size)
        self.LayerNorm = nn.LayerNorm(config.retriever_proj_size, eps=config.layer_norm_eps)

    def forward(self, pooled: Tensor) -> Tensor:
        return cast(Tensor, self.LayerNorm(self.dense(pooled)))
