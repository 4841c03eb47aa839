"""The encoder trunk: a post-norm BERT with head masks and relative positions, and the base class of all networks."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions
from transformers.modeling_utils import PreTrainedModel
from transformers.models.bert.modeling_bert import BertPooler

from realm.models.attention import ADDITIVE, position_type_of
from realm.models.configuration import RealmConfig
from realm.models.layers import RealmBertEncoder, RealmEmbeddings


class RealmPreTrainedModel(PreTrainedModel):
    """Base of all networks: initialisation, attention back-ends, and what old checkpoints may carry."""

    config_class = RealmConfig
    base_model_prefix = "realm"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _keys_to_ignore_on_load_unexpected: list[str] = [r"embeddings\.position_ids$", r"embeddings\.token_type_ids$"]
    config: RealmConfig

    def get_expanded_tied_weights_keys(self, all_submodels: bool = False) -> dict[str, str]:
        """Names that share another's weights; `tie_word_embeddings=False` unties the matrices alone.

        The two names of the masked-token head's bias are one parameter whatever the config says.
        """
        tied: dict[str, str] = super().get_expanded_tied_weights_keys(all_submodels)
        if all_submodels or self.config.tie_word_embeddings:
            return tied
        return {name: other for name, other in (self._tied_weights_keys or {}).items() if name.endswith(".bias")}

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """Load as transformers does; heads that no forward pass uses may be missing from the checkpoint."""
        loaded = super().from_pretrained(*args, **kwargs)
        _fill_unused_heads(loaded[0] if isinstance(loaded, tuple) else loaded)
        return loaded


class RealmBertModel(RealmPreTrainedModel):
    """The trunk as every network holds it, under the attribute `realm`.

    Shapes: `input_ids` (batch, pieces); `attention_mask` (batch, pieces) or (batch, pieces, pieces), 1 = attend;
    `head_mask` (heads,) or (layers, heads), 1 = keep. Missing mask = all attended, missing segments = 0.
    """

    def __init__(self, config: RealmConfig, add_pooling_layer: bool = True) -> None:
        super().__init__(config)
        self.embeddings = RealmEmbeddings(config)
        self.encoder = RealmBertEncoder(config)
        self.pooler = BertPooler(config) if add_pooling_layer else None
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings.word_embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.embeddings.word_embeddings = cast(nn.Embedding, value)

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
        pooled_only: bool = False,
    ) -> tuple[Any, ...] | BaseModelOutputWithPoolingAndCrossAttentions:
        """Encode. With `pooled_only` the last hidden state may hold the first position alone."""
        if input_ids is not None and inputs_embeds is not None:
            raise ValueError("You cannot specify both input_ids and inputs_embeds at the same time")
        if input_ids is None and inputs_embeds is None:
            raise ValueError("You have to specify either input_ids or inputs_embeds")
        if output_attentions is None:
            output_attentions = self.config.output_attentions
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        embedded = self.embeddings(input_ids, token_type_ids, position_ids, inputs_embeds)
        eager = head_mask is not None or bool(output_attentions)
        hidden, states, attentions = self.encoder(
            embedded,
            self._mask(attention_mask, embedded, eager),
            self._per_layer_head_mask(head_mask),
            bool(output_attentions),
            bool(output_hidden_states),
            first_only=pooled_only and self._is_additive and not (output_attentions or output_hidden_states),
        )
        pooled = None if self.pooler is None else self.pooler(hidden)
        if returns_tuple(self.config, return_dict):
            return (hidden, pooled, *(part for part in (states, attentions) if part is not None))
        return BaseModelOutputWithPoolingAndCrossAttentions(
            last_hidden_state=hidden, pooler_output=pooled, hidden_states=states, attentions=attentions
        )

    @property
    def _is_additive(self) -> bool:
        """Whether masks are added to the scores: by the attention back-end, or because there are relative positions."""
        return (self.config._attn_implementation or "eager") in ADDITIVE or position_type_of(self.config) != "absolute"

    def _mask(self, mask: Tensor | None, embedded: Tensor, eager: bool) -> Tensor | None:
        """What the attention back-end takes: an additive mask, or its own form for flash and flex."""
        if mask is None:
            return None
        if mask.dim() not in (2, 3):
            raise ValueError(
                f"Wrong shape for input_ids (shape {embedded.shape[:-1]}) or attention_mask (shape {mask.shape})"
            )
        if not (eager or mask.dim() == 3 or self._is_additive):
            return cast(
                Tensor | None,
                create_bidirectional_mask(config=self.config, inputs_embeds=embedded, attention_mask=mask),
            )
        mask = mask[:, None, None, :] if mask.dim() == 2 else mask[:, None, :, :]
        return (1.0 - mask.to(embedded.dtype)) * torch.finfo(embedded.dtype).min

    def _per_layer_head_mask(self, head_mask: Tensor | None) -> list[Tensor] | None:
        if head_mask is None:
            return None
        if head_mask.dim() not in (1, 2):
            raise ValueError(f"head_mask must be (heads,) or (layers, heads); found shape {tuple(head_mask.shape)}.")
        layers = self.config.num_hidden_layers
        rows = head_mask.expand(layers, -1) if head_mask.dim() == 1 else head_mask
        return [row.view(1, -1, 1, 1).to(self.dtype) for row in rows]


def returns_tuple(config: RealmConfig, return_dict: bool | None) -> bool:
    """Whether a forward call gives a plain tuple: the argument if given, else the config."""
    return not (config.return_dict if return_dict is None else return_dict)


def _fill_unused_heads(model: nn.Module) -> None:
    """Give weights that transformers left without memory (missing, and said to be ignored) zeros.

    Zeros cost no memory until they are written to. A parameter that has several names keeps them.
    """
    filled: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.is_meta:
                zeros = torch.zeros(parameter.shape, dtype=parameter.dtype)
                setattr(module, name, filled.setdefault(id(parameter), nn.Parameter(zeros)))
