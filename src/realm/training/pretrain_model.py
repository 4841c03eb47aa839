"""What pre-training trains, as one network: the retriever that scores candidates, and the encoder that reads them.

    sentences ─ embedder ─┐
    blocks ──── embedder ─┴─ inner products ─ scores  (sentence, candidate)
    [CLS] sentence [SEP] block [SEP] ─ encoder ─ log probability of each masked piece  (sentence, candidate, mask)

Both sides are embedded anew, with gradient; nothing of an index is used. Rows come in groups of like length, and what
comes out stands in the order of `MicroBatch`. Knows no texts, no index, no loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from realm.models.embedder import RealmEmbedder
from realm.models.encoder import RealmKnowledgeAugEncoder
from realm.models.losses import in_full_precision
from realm.models.masked_losses import target_log_probs
from realm.training.pretrain_inputs import Group, MicroBatch


class PretrainModel(nn.Module):
    """Embedder and encoder.

    Args:
        embedder: One tower for sentences and blocks.
        encoder: Predicts masked pieces.
        dropout: Of vectors, in training; after the embedder's layer norm, and so nothing of it is in the network.
        freeze_retriever: Take the embedder out of training, and its dropout with it.
    """

    def __init__(
        self, embedder: RealmEmbedder, encoder: RealmKnowledgeAugEncoder, dropout: float, freeze_retriever: bool
    ) -> None:
        super().__init__()
        self.embedder, self.encoder = embedder, encoder
        self._dropout, self._is_frozen = dropout, freeze_retriever
        if freeze_retriever:
            embedder.requires_grad_(False)
        # No loss reaches them.
        embedder.cls.predictions.requires_grad_(False)
        cast(nn.Module, encoder.realm.pooler).requires_grad_(False)

    def train(self, mode: bool = True) -> PretrainModel:
        """Switch dropout; a frozen retriever stays without."""
        super().train(mode)
        if self._is_frozen:
            self.embedder.eval()
        return self

    def forward(self, batch: MicroBatch) -> tuple[Tensor, Tensor]:
        """Retrieval scores (sentences, candidates), -inf where one does not count, and log probabilities of the
        masked pieces (sentences, candidates, masks), 0.0 beyond a sentence's last; float32."""
        return self.scores(batch), self.log_probs(batch)

    def scores(self, batch: MicroBatch) -> Tensor:
        """Inner products of sentences and candidates."""
        questions, blocks = self._vectors(batch.questions), self._vectors(batch.blocks)
        candidates = blocks[batch.places.to(blocks.device)]
        with torch.autocast(blocks.device.type, enabled=False):
            scores = torch.einsum("sd,scd->sc", questions, candidates)
        return scores.masked_fill(~batch.counts.to(scores.device), -torch.inf)

    def log_probs(self, batch: MicroBatch) -> Tensor:
        """Log probability of each masked piece with each candidate."""
        device = self.encoder.device
        (sentences, candidates), masks = batch.places.shape, batch.targets.size(1)
        found, places = [], []
        for group in batch.pairs:
            inputs = group.inputs.to(device)
            hidden = self.encoder.realm(**inputs.for_trunk(), return_dict=True).last_hidden_state
            # Only masked pieces go through the head: its scores are a vocabulary wide.
            numbers = torch.tensor(group.rows)
            sentence = numbers // candidates
            row, mask = (batch.targets[sentence] >= 0).nonzero(as_tuple=True)
            position, target = (table[sentence[row], mask].to(device) for table in (batch.positions, batch.targets))
            scores = self.encoder.cls(hidden[row.to(device), position])
            found.append(target_log_probs(scores[:, None, None], target[:, None]).flatten())
            places.append(numbers[row] * masks + mask)
        values = torch.cat(found)
        table = values.new_zeros(sentences * candidates * masks)
        return table.index_copy(0, torch.cat(places).to(device), values).view(sentences, candidates, masks)

    def _vectors(self, groups: Sequence[Group]) -> Tensor:
        """Vectors of all rows, in their order."""
        parts = []
        for group in groups:
            inputs = group.inputs.to(self.embedder.device)
            parts.append(cast(Tensor, self.embedder(**inputs.for_trunk(), return_dict=True).projected_score))
        order = torch.tensor([row for group in groups for row in group.rows]).argsort()
        vectors = in_full_precision(torch.cat(parts))[order.to(parts[0].device)]
        return functional.dropout(vectors, self._dropout, self.embedder.training)
