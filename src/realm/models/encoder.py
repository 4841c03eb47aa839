"""RealmKnowledgeAugEncoder: predicts masked words of a sentence from the sentence and a candidate block."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import AutoModelForMaskedLM
from transformers.modeling_outputs import MaskedLMOutput

from realm.models.configuration import RealmConfig
from realm.models.heads import RealmNetwork, RealmOnlyMLMHead
from realm.models.masked_losses import IGNORED_LABEL, marginal_mlm
from realm.models.scorer import flatten_candidates
from realm.models.trunk import RealmBertModel, returns_tuple


class RealmKnowledgeAugEncoder(RealmNetwork):
    """Scores word pieces at every position of `[CLS] sentence [SEP] block [SEP]`, for each candidate block.

    Differs: transformers 4.37.2 takes the candidate count from the config, and cannot take the documented
        4-D `inputs_embeds` and 3-D `position_ids`.
    """

    _tied_weights_keys = {
        "cls.predictions.decoder.weight": "realm.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }

    def __init__(self, config: RealmConfig) -> None:
        super().__init__(config)
        self.realm = RealmBertModel(config)
        self.cls = RealmOnlyMLMHead(config)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        head_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        relevance_score: Tensor | None = None,
        labels: Tensor | None = None,
        mlm_mask: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> tuple[Any, ...] | MaskedLMOutput:
        """Predict word pieces, and with `labels` the marginal loss over candidates.

        Args:
            input_ids: (batch, candidates, pieces), or flat (batch * candidates, pieces).
            attention_mask: 1 where attended, like `input_ids`.
            token_type_ids: 0 for the sentence, 1 for the block, like `input_ids`.
            position_ids: Like `input_ids`.
            head_mask: (heads,) or (layers, heads).
            inputs_embeds: Instead of ids: (batch, candidates, pieces, hidden) or flat.
            relevance_score: Retrieval score of each candidate, (batch, candidates); needed with `labels`.
            labels: Target pieces, (batch, pieces); -100 where there is none.
            mlm_mask: 1 where a label counts, (batch, pieces); default: every label that is not -100.

        Returns:
            `logits` of shape (batch * candidates, pieces, vocab); `loss` in nats per masked token, shape ().

        Raises:
            ValueError: `labels` without `relevance_score`; candidate counts that do not agree.
        """
        if labels is not None and relevance_score is None:
            raise ValueError(
                "You have to specify `relevance_score` when `labels` is specified in order to compute loss."
            )
        trunk = self.realm(
            flatten_candidates(input_ids, 1),
            attention_mask=flatten_candidates(attention_mask, 1),
            token_type_ids=flatten_candidates(token_type_ids, 1),
            position_ids=flatten_candidates(position_ids, 1),
            head_mask=head_mask,
            inputs_embeds=flatten_candidates(inputs_embeds, 2),
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        logits = self.cls(trunk.last_hidden_state)
        loss = None
        if labels is not None and relevance_score is not None:
            loss = _marginal_loss(logits, relevance_score, labels, mlm_mask)
        output = MaskedLMOutput(
            loss=loss, logits=logits, hidden_states=trunk.hidden_states, attentions=trunk.attentions
        )
        return output.to_tuple() if returns_tuple(self.config, return_dict) else output


def _marginal_loss(logits: Tensor, relevance_score: Tensor, labels: Tensor, mlm_mask: Tensor | None) -> Tensor:
    batch, candidates = labels.size(0), relevance_score.size(-1)
    if batch * candidates != logits.size(0) or relevance_score.numel() != logits.size(0):
        raise ValueError(
            f"Expected {batch} x {candidates} inputs, from labels {tuple(labels.shape)} and relevance_score "
            f"{tuple(relevance_score.shape)}; found {logits.size(0)} sequences."
        )
    if mlm_mask is None:
        mlm_mask = labels != IGNORED_LABEL
    scores = logits.view(batch, candidates, *logits.shape[1:])
    return marginal_mlm(scores, relevance_score.reshape(batch, candidates), labels, mlm_mask.float())


AutoModelForMaskedLM.register(RealmConfig, RealmKnowledgeAugEncoder, exist_ok=True)
