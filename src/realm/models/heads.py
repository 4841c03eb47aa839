"""What stands on the trunk: the masked-token head every network carries, and the embedder's projection.

Only the encoder uses the masked-token head; the others hold it because their released checkpoints do.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from transformers.models.bert.modeling_bert import BertPredictionHeadTransform

from realm.models.configuration import RealmConfig
from realm.models.trunk import RealmBertModel, RealmPreTrainedModel

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


class RealmNetwork(RealmPreTrainedModel):
    """A trunk `realm` under a head `cls`; a change of the vocabulary's size reaches both."""

    realm: RealmBertModel
    cls: RealmOnlyMLMHead | RealmScorerProjection

    def get_input_embeddings(self) -> nn.Module:
        return self.realm.embeddings.word_embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.realm.embeddings.word_embeddings = cast(nn.Embedding, value)

    def get_output_embeddings(self) -> nn.Module:
        return self.cls.predictions.decoder

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        decoder = cast(nn.Linear, new_embeddings)
        self.cls.predictions.decoder = decoder
        self.cls.predictions.bias = decoder.bias
