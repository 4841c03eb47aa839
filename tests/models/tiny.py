"""Small networks with weights that leave nothing to chance: every parameter differs from its fresh value.

Fresh biases are 0 and fresh layer norms 1, so that a network that forgot one would pass; here none is.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from realm.models.configuration import RealmConfig
from realm.models.embedder import RealmEmbedder
from realm.models.encoder import RealmKnowledgeAugEncoder
from realm.models.reader import RealmReader
from realm.models.scorer import RealmScorer
from realm.models.trunk import RealmPreTrainedModel

PIECES = 30
NETWORKS: tuple[type[RealmPreTrainedModel], ...] = (RealmEmbedder, RealmScorer, RealmKnowledgeAugEncoder, RealmReader)
ATTENTIONS = ("eager", "sdpa")
POSITION_TYPES = ("absolute", "relative_key", "relative_key_query")

Network = TypeVar("Network", bound=RealmPreTrainedModel)


def tiny_config(**changes: Any) -> RealmConfig:
    """A configuration with unequal sizes, so that a mixed-up dimension cannot fit."""
    sizes = {
        "vocab_size": PIECES,
        "hidden_size": 12,
        "retriever_proj_size": 7,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "num_candidates": 2,
        "intermediate_size": 10,
        "max_position_embeddings": 20,
        "initializer_range": 0.4,
        "span_hidden_size": 5,
        "max_span_width": 3,
        "reader_beam_size": 2,
        "reader_seq_len": 16,
        "num_block_records": 6,
        "searcher_beam_size": 4,
    }
    return RealmConfig(**{**sizes, **changes})


def tiny(kind: type[Network], *parts: Any, seed: int = 1, **changes: Any) -> Network:
    """A network in evaluation mode; `changes` go to its configuration."""
    torch.manual_seed(seed)
    attention = changes.pop("attn_implementation", "sdpa")
    model = kind(tiny_config(attn_implementation=attention, **changes), *parts)
    shake(model)
    return model.eval()


def shake(model: nn.Module) -> None:
    """Move every vector (bias, layer norm) away from its fresh value."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter), alpha=0.2)


def pieces(*shape: int, seed: int = 0) -> Tensor:
    """Random ids without [PAD] (0)."""
    return torch.randint(1, PIECES, shape, generator=torch.Generator().manual_seed(seed))


def embedded(model: Any, ids: Tensor) -> Tensor:
    """What a network would look up for these ids."""
    return model.get_input_embeddings()(ids).detach()


def example(kind: type[RealmPreTrainedModel], length: int = 6) -> dict[str, Tensor]:
    """The fewest inputs a network takes, for two questions or blocks."""
    if kind is RealmScorer:
        return {"input_ids": pieces(2, length), "candidate_input_ids": pieces(2, 3, length, seed=1)}
    if kind is RealmKnowledgeAugEncoder:
        return {"input_ids": pieces(2, 2, length)}
    if kind is RealmReader:
        block = torch.arange(length).expand(2, -1) >= 2
        return {"input_ids": pieces(2, length), "relevance_score": torch.tensor([0.3, -0.2]), "block_mask": block}
    return {"input_ids": pieces(2, length)}


def reading(blocks: int = 2, length: int = 8, answers: bool = True, seed: int = 0) -> dict[str, Tensor]:
    """Inputs of the reader for one question; every block is question, separator, body, separator."""
    place = torch.arange(length).expand(blocks, -1)
    generator = torch.Generator().manual_seed(seed)
    inputs = {
        "input_ids": pieces(blocks, length, seed=seed),
        "attention_mask": torch.ones(blocks, length, dtype=torch.long),
        "token_type_ids": (place >= 3).long(),
        "relevance_score": torch.randn(blocks, generator=generator),
        "block_mask": (place >= 3) & (place < length - 1),
    }
    if answers:
        inputs["start_positions"] = torch.tensor([[3, -1], [4, 5]] + [[-1, -1]] * (blocks - 2))[:blocks]
        inputs["end_positions"] = torch.tensor([[4, -1], [4, 6]] + [[-1, -1]] * (blocks - 2))[:blocks]
        inputs["has_answers"] = torch.tensor([True, True] + [False] * (blocks - 2))[:blocks]
    return inputs


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """What arrived at each parameter; those without are left out."""
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
