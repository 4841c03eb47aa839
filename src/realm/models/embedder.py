"""RealmEmbedder: a text's ids to the vector it is searched by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import AutoModel
from transformers.utils import ModelOutput

from realm.models.configuration import RealmConfig
from realm.models.heads import UNUSED_HEAD_KEYS, RealmNetwork, RealmScorerProjection
from realm.models.trunk import RealmBertModel, returns_tuple


@dataclass
class RealmEmbedderOutput(ModelOutput):
    """Output of `RealmEmbedder`.

    Attributes:
        projected_score: Vector of each text, (batch, retriever_proj_size); despite its name, not a score.
        hidden_states: Embeddings and every layer's output, each (batch, pieces, hidden), if asked for.
        attentions: Every layer's probabilities, each (batch, heads, pieces, pieces), if asked for.
    """

    projected_score: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class RealmEmbedder(RealmNetwork):
    """Embeds a question or a block: LN(W tanh-pooled[CLS] + b), not normalised to length 1.

    Source: ORQA and REALM share one embedder for questions and blocks.
    """

    _tied_weights_keys = {"cls.predictions.decoder.bias": "cls.predictions.bias"}
    _keys_to_ignore_on_load_missing: list[str] = [UNUSED_HEAD_KEYS]

    def __init__(self, config: RealmConfig) -> None:
        super().__init__(config)
        self.realm = RealmBertModel(config)
        self.cls = RealmScorerProjection(config)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        head_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> tuple[Any, ...] | RealmEmbedderOutput:
        """Embed a batch of texts.

        Args:
            input_ids: Word pieces, (batch, pieces).
            attention_mask: 1 where attended, (batch, pieces) or (batch, pieces, pieces).
            token_type_ids: 0 for the question or title part, 1 for the body, (batch, pieces).
            position_ids: (batch, pieces).
            head_mask: 1 where a head is kept, (heads,) or (layers, heads).
            inputs_embeds: Instead of `input_ids`, (batch, pieces, hidden).
            output_attentions: Also give attentions.
            output_hidden_states: Also give hidden states.
            return_dict: A tuple instead of the output class if False.

        Raises:
            ValueError: Both or neither of `input_ids` and `inputs_embeds`; an input over the longest position.
        """
        trunk = self.realm(
            input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            head_mask=head_mask,
            inputs_embeds=inputs_embeds,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
            pooled_only=True,
        )
        output = RealmEmbedderOutput(
            projected_score=self.cls(trunk.pooler_output),
            hidden_states=trunk.hidden_states,
            attentions=trunk.attentions,
        )
        return output.to_tuple() if returns_tuple(self.config, return_dict) else output


AutoModel.register(RealmConfig, RealmEmbedder, exist_ok=True)
