"""The layers of the trunk: the embedding sum, attention with feed-forward, and the stack of these.

transformers' own BERT blocks serve wherever they can; attention and the embedding sum are ours, for what the API
reference documents and BERT there no longer has.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.models.bert.modeling_bert import BertIntermediate, BertOutput
from transformers.pytorch_utils import apply_chunking_to_forward

from realm.models.attention import Attended, RealmAttention, position_type_of
from realm.models.configuration import RealmConfig


class RealmEmbeddings(nn.Module):
    """Sum of word, segment and (absolute) position embeddings, then layer norm and dropout."""

    def __init__(self, config: RealmConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=config.padding_row)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.adds_positions = position_type_of(config) == "absolute"

    def forward(
        self,
        input_ids: Tensor | None,
        token_type_ids: Tensor | None,
        position_ids: Tensor | None,
        inputs_embeds: Tensor | None,
    ) -> Tensor:
        if inputs_embeds is None:
            inputs_embeds = self.word_embeddings(input_ids)
        pieces = inputs_embeds.size(1)
        if pieces > self.position_embeddings.num_embeddings:
            raise ValueError(
                f"The input has {pieces} word pieces; this model takes at most "
                f"{self.position_embeddings.num_embeddings}. Truncate it."
            )
        if token_type_ids is None:
            token_type_ids = torch.zeros(inputs_embeds.shape[:-1], dtype=torch.long, device=inputs_embeds.device)
        # Order: (word + segment) + position, as in 4.37.2; float addition does not associate.
        embeddings = inputs_embeds + self.token_type_embeddings(token_type_ids)
        if self.adds_positions:
            if position_ids is None:
                position_ids = torch.arange(pieces, device=embeddings.device).unsqueeze(0)
            embeddings = embeddings + self.position_embeddings(position_ids)
        return cast(Tensor, self.dropout(self.LayerNorm(embeddings)))


class RealmLayer(GradientCheckpointingLayer):
    """One layer of the trunk: attention, then feed-forward."""

    def __init__(self, config: RealmConfig) -> None:
        super().__init__()
        self.chunk_size_feed_forward = getattr(config, "chunk_size_feed_forward", 0)
        self.attention = RealmAttention(config)
        self.intermediate = BertIntermediate(config)
        self.output = BertOutput(config)

    def forward(
        self,
        hidden: Tensor,
        mask: Tensor | None,
        head_mask: Tensor | None,
        with_probabilities: bool,
        first_only: bool = False,
    ) -> Attended:
        """New states of all positions, or of the first alone: (batch, pieces or 1, hidden)."""
        asking = hidden[:, :1] if first_only else hidden
        if first_only and mask is not None:
            mask = mask[:, :, :1]
        attended, probabilities = self.attention(asking, hidden, mask, head_mask, with_probabilities)
        chunk_size = self.chunk_size_feed_forward if attended.size(1) > 1 else 0
        output = apply_chunking_to_forward(self._feed_forward, chunk_size, 1, attended)
        return output, probabilities

    def _feed_forward(self, attended: Tensor) -> Tensor:
        return cast(Tensor, self.output(self.intermediate(attended), attended))


class RealmBertEncoder(nn.Module):
    """The stack of layers; gives hidden states and attentions when asked."""

    def __init__(self, config: RealmConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(RealmLayer(config) for _ in range(config.num_hidden_layers))

    def forward(
        self,
        hidden: Tensor,
        mask: Tensor | None,
        head_mask: list[Tensor] | None,
        output_attentions: bool,
        output_hidden_states: bool,
        first_only: bool,
    ) -> tuple[Tensor, tuple[Tensor, ...] | None, tuple[Tensor | None, ...] | None]:
        states: list[Tensor] = [hidden]
        attentions: list[Tensor | None] = []
        for number, layer in enumerate(self.layer):
            layer_head_mask = None if head_mask is None else head_mask[number]
            # The last layer of a pooled output is only needed at [CLS]: five sixths of its work fall away.
            only_first = first_only and number == len(self.layer) - 1
            hidden, probabilities = layer(hidden, mask, layer_head_mask, output_attentions, only_first)
            if output_hidden_states:
                states.append(hidden)
            if output_attentions:
                attentions.append(probabilities)
        return (
            hidden,
            tuple(states) if output_hidden_states else None,
            tuple(attentions) if output_attentions else None,
        )
