"""Self-attention of the trunk, with head masks and relative positions, through transformers' attention interface.

These are ours because the documented `head_mask`, and relative position types, are no longer in BERT there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.bert.modeling_bert import BertSelfOutput

from realm.models.configuration import RealmConfig

Attended = tuple[Tensor, Tensor | None]

ADDITIVE = ("eager", "sdpa")
"""Attention back-ends that add a mask, whatever its numbers, to the scores of pairs of positions."""


class RealmSelfAttention(nn.Module):
    """Multi-head self-attention through transformers' attention interface.

    Head masks and returned probabilities need the eager form, which is used for that call alone.
    """

    is_causal = False

    def __init__(self, config: RealmConfig) -> None:
        super().__init__()
        if config.hidden_size % config.num_attention_heads != 0 and not hasattr(config, "embedding_size"):
            raise ValueError(
                f"The hidden size ({config.hidden_size}) is not a multiple of the number of attention "
                f"heads ({config.num_attention_heads})"
            )
        self.config = config
        self.head_dim = config.hidden_size // config.num_attention_heads
        heads_width = config.num_attention_heads * self.head_dim
        self.query = nn.Linear(config.hidden_size, heads_width)
        self.key = nn.Linear(config.hidden_size, heads_width)
        self.value = nn.Linear(config.hidden_size, heads_width)
        self.dropout_prob = config.attention_probs_dropout_prob
        self.position_type = position_type_of(config)
        if self.position_type != "absolute":
            self.distance_embedding = nn.Embedding(2 * config.max_position_embeddings - 1, self.head_dim)

    def forward(
        self, asking: Tensor, hidden: Tensor, mask: Tensor | None, head_mask: Tensor | None, with_probabilities: bool
    ) -> Attended:
        query, key, value = (
            layer(states).view(*states.shape[:-1], -1, self.head_dim).transpose(1, 2)
            for layer, states in ((self.query, asking), (self.key, hidden), (self.value, hidden))
        )
        if self.position_type != "absolute":
            bias = self._relative_bias(query, key)
            mask = bias if mask is None else mask + bias
        dropout = self.dropout_prob if self.training else 0.0
        attend: Callable[..., Attended] = eager_attention
        if head_mask is None and not with_probabilities:
            attend = ALL_ATTENTION_FUNCTIONS.get_interface(self._back_end(mask), eager_attention)
        extra = {} if head_mask is None else {"head_mask": head_mask}
        context, probabilities = attend(
            self, query, key, value, mask, dropout=dropout, scaling=self.head_dim**-0.5, **extra
        )
        return context.reshape(*asking.shape[:-1], -1).contiguous(), probabilities

    def _back_end(self, mask: Any) -> str:
        """The one that is configured, unless it cannot add what is to be added to the scores of pairs of positions."""
        is_additive = isinstance(mask, Tensor) and mask.dim() == 4 and mask.is_floating_point()
        name = self.config._attn_implementation or "eager"
        return "sdpa" if is_additive and name not in ADDITIVE else name

    def _relative_bias(self, query: Tensor, key: Tensor) -> Tensor:
        """Score added for each pair of positions, already scaled: (batch, heads, from, to)."""
        origin, target = (torch.arange(states.size(2), device=query.device) for states in (query, key))
        distance = origin.view(-1, 1) - target.view(1, -1) + self.config.max_position_embeddings - 1
        embedded = self.distance_embedding(distance).to(query.dtype)
        bias = torch.einsum("bhld,lrd->bhlr", query, embedded)
        if self.position_type == "relative_key_query":
            bias = bias + torch.einsum("bhrd,lrd->bhlr", key, embedded)
        return bias / math.sqrt(self.head_dim)


class RealmAttention(nn.Module):
    """Self-attention with its output projection and residual layer norm."""

    def __init__(self, config: RealmConfig) -> None:
        super().__init__()
        self.self = RealmSelfAttention(config)
        self.output = BertSelfOutput(config)

    def forward(
        self, asking: Tensor, hidden: Tensor, mask: Tensor | None, head_mask: Tensor | None, with_probabilities: bool
    ) -> Attended:
        context, probabilities = self.self(asking, hidden, mask, head_mask, with_probabilities)
        return self.output(context, asking), probabilities


def position_type_of(config: RealmConfig) -> str:
    """The config's position embedding type; "absolute" unless it says otherwise."""
    return getattr(config, "position_embedding_type", None) or "absolute"


def eager_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    head_mask: Tensor | None = None,
    **_: Any,
) -> Attended:
    """softmax(q k' / sqrt(d) + mask), dropout, head mask, times v; shapes (batch, heads, pieces, head_dim)."""
    # Order: divide after the product, as in 4.37.2.
    scores = torch.matmul(query, key.transpose(-1, -2)) * scaling
    if attention_mask is not None:
        # Half precision: a large negative score and the mask add up to -inf, and a row of these to NaN.
        scores = (scores + attention_mask).clamp(min=torch.finfo(scores.dtype).min)
    probabilities = nn.functional.dropout(nn.functional.softmax(scores, dim=-1), p=dropout, training=module.training)
    if head_mask is not None:
        probabilities = probabilities * head_mask
    return torch.matmul(probabilities, value).transpose(1, 2).contiguous(), probabilities
