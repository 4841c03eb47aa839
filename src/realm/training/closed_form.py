"""Closed-form weights that make an added layer or head useful before the first step.

Knows networks only.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from transformers.models.bert.modeling_bert import BertPooler

from realm.models.embedder import RealmEmbedder
from realm.models.heads import RealmLMPredictionHead, RealmScorerProjection
from realm.models.layers import RealmLayer

MEAN_GAIN = 20.0
"""How much louder the mean is than a state itself, in layers that start as a mean."""
POOLER_SLOPE = 0.1
"""Keeps the pooler's tanh in its straight part."""
HEAD_SLOPE, HEAD_SHIFT = 0.25, 2.0
"""Where in its activation an identity head works."""
HEAD_GAIN = 0.6
"""How sure an identity head is: tried on names in Wikipedia, which 0.3 and 1.0 made less likely."""
_UNSEEN = 0.1


def identity_layer(layer: RealmLayer) -> None:
    """Make a layer pass its input on (up to layer norm), so that training starts from the layer below."""
    for dense in (layer.attention.output.dense, layer.output.dense):
        nn.init.zeros_(dense.weight)
        nn.init.zeros_(dense.bias)


def mean_pooling_layer(layer: RealmLayer) -> None:
    """Make a layer put the mean of its inputs into every position, [CLS] included.

    Equal attention scores average the values; identity value and output maps leave the average as it is; the
    gain drowns the residual. The feed-forward part starts silent.
    """
    attention = layer.attention
    copying_layer(layer, torch.zeros(attention.output.dense.out_features))
    for dense in (attention.self.query, attention.self.key):
        nn.init.zeros_(dense.weight)
        nn.init.zeros_(dense.bias)


def identity_head(head: RealmLMPredictionHead, pieces: Tensor) -> None:
    """Make a masked-word head name the word piece that a state is most like; as sure as the pieces are frequent.

    The head's weights are the embeddings, and the states of a BERT stay like the embedding of their own piece. The
    activation is used where it is nearly straight; the layer norm takes the shift away.

    Args:
        head: Its decoder is tied to the embeddings.
        pieces: Ids of a sample of text, (pieces,).
    """
    dense, norm = head.transform.dense, head.transform.LayerNorm
    counts = torch.bincount(pieces.cpu(), minlength=len(head.bias)).float() + _UNSEEN
    with torch.no_grad():
        dense.weight.copy_(HEAD_SLOPE * torch.eye(dense.out_features))
        dense.bias.fill_(HEAD_SHIFT)
        norm.weight.fill_(HEAD_GAIN)
        norm.bias.zero_()
        head.bias.copy_((counts / counts.sum()).log())


def copying_layer(layer: RealmLayer, center: Tensor) -> None:
    """Make a layer add what its inputs have in common to each: under an `identity_head`, their word pieces.

    Attention starts as it was initialised, nearly even, and can learn where to look; with queries and keys of zero, as
    in a `mean_pooling_layer`, it could not.

    Args:
        layer: Newly initialised.
        center: Mean of the states of a sample, (hidden,); it is taken off.
    """
    identity_layer(layer)
    attention = layer.attention
    with torch.no_grad():
        attention.self.value.weight.copy_(torch.eye(len(center)))
        attention.self.value.bias.copy_(0.0 - center)
        attention.output.dense.weight.copy_(MEAN_GAIN * torch.eye(len(center)))


def principal_projection(embedder: RealmEmbedder, means: Tensor, score_scale: float) -> None:
    """Set pooler and projection to the leading principal components of mean-pooled states.

    Afterwards question . block is about `score_scale` times the cosine similarity of their mean-pooled states,
    measured from the centre of the sample.

    Args:
        embedder: Its last layer is a `mean_pooling_layer`.
        means: Mean-pooled trunk states of sample texts, (texts, hidden), more texts than dimensions.
        score_scale: Inner product of a vector with itself.
    """
    unit = nn.functional.normalize(means.float(), dim=-1)
    center = unit.mean(0)
    dims = embedder.config.retriever_proj_size
    components = torch.linalg.svd(unit - center, full_matrices=False).Vh[:dims]
    hidden = embedder.config.hidden_size
    # The pooling layer's layer norm gives vectors of length sqrt(hidden) where the mean-pooled ones had length 1.
    length = math.sqrt(hidden)
    projection = cast(RealmScorerProjection, embedder.cls)
    pooler = cast(BertPooler, embedder.realm.pooler)
    with torch.no_grad():
        pooler.dense.weight.copy_(POOLER_SLOPE * torch.eye(hidden))
        pooler.dense.bias.zero_()
        projection.dense.weight.copy_(components / POOLER_SLOPE)
        projection.dense.bias.copy_(-length * components @ center)
        projection.LayerNorm.weight.fill_(math.sqrt(score_scale / dims))
        projection.LayerNorm.bias.zero_()
