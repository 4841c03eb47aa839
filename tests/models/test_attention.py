"""Self-attention equals its definition, piece by piece: masks, head masks, relative positions, both back-ends."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tiny import ATTENTIONS, POSITION_TYPES, pieces, tiny, tiny_config
from torch import Tensor

from realm.models.attention import RealmSelfAttention
from realm.models.embedder import RealmEmbedder

ALLOWED = 2e-5
LOWEST = torch.finfo(torch.float32).min


def attention(implementation: str, **changes: Any) -> RealmSelfAttention:
    embedder: RealmEmbedder = tiny(RealmEmbedder, attn_implementation=implementation, **changes)
    first: RealmSelfAttention = embedder.realm.encoder.layer[0].attention.self
    return first


def by_hand(layer: RealmSelfAttention, hidden: Tensor, attended: Tensor, heads: list[float]) -> Tensor:
    """The new states of one text; `attended[i][j]` says whether piece i may see piece j."""
    pieces, width, dim = len(hidden), hidden.size(1), layer.head_dim
    asked, offered, given = (project(hidden) for project in (layer.query, layer.key, layer.value))
    result = torch.zeros(pieces, width)
    for head, keep in enumerate(heads):
        part = slice(head * dim, (head + 1) * dim)
        for i in range(pieces):
            scores = []
            for j in range(pieces):
                score = asked[i, part] @ offered[j, part]
                if layer.position_type != "absolute":
                    distance = layer.distance_embedding.weight[i - j + layer.config.max_position_embeddings - 1]
                    score = score + asked[i, part] @ distance
                    if layer.position_type == "relative_key_query":
                        score = score + offered[j, part] @ distance
                scores.append(float(score) / math.sqrt(dim) if attended[i][j] else -math.inf)
            weights = [math.exp(score - max(scores)) for score in scores]
            for j, weight in enumerate(weights):
                result[i, part] += keep * weight / sum(weights) * given[j, part]
    return result


@pytest.mark.parametrize("implementation", ATTENTIONS)
@pytest.mark.parametrize("position_type", POSITION_TYPES)
@torch.no_grad()
def test_attention_is_its_definition(implementation: str, position_type: str) -> None:
    layer = attention(implementation, position_embedding_type=position_type)
    hidden = torch.randn(2, 4, 12)
    attended = torch.rand(2, 4, 4) > 0.3
    attended[..., 0] = True
    mask = (~attended)[:, None].float() * LOWEST
    found, _ = layer(hidden, hidden, mask, None, False)
    for text in range(2):
        wanted = by_hand(layer, hidden[text], attended[text], [1.0, 1.0, 1.0])
        torch.testing.assert_close(found[text], wanted, atol=ALLOWED, rtol=0.0)


@pytest.mark.parametrize("implementation", ATTENTIONS)
@torch.no_grad()
def test_a_head_mask_multiplies_each_heads_probabilities(implementation: str) -> None:
    layer = attention(implementation)
    hidden, keep = torch.randn(1, 4, 12), [0.0, 0.5, 1.0]
    found, probabilities = layer(hidden, hidden, None, torch.tensor(keep).view(1, -1, 1, 1), True)
    wanted = by_hand(layer, hidden[0], torch.ones(4, 4), keep)
    torch.testing.assert_close(found[0], wanted, atol=ALLOWED, rtol=0.0)
    assert probabilities is not None
    expected_sums = torch.tensor(keep).view(1, -1, 1).expand(1, 3, 4)
    torch.testing.assert_close(probabilities.sum(-1), expected_sums, atol=ALLOWED, rtol=0.0)


@pytest.mark.parametrize("implementation", ATTENTIONS)
@pytest.mark.parametrize("position_type", POSITION_TYPES)
@torch.no_grad()
def test_asking_for_the_first_piece_alone_gives_its_row(implementation: str, position_type: str) -> None:
    layer = attention(implementation, position_embedding_type=position_type)
    hidden, mask = torch.randn(2, 5, 12), torch.randn(2, 1, 1, 5)
    whole, _ = layer(hidden, hidden, mask, None, False)
    first, _ = layer(hidden[:, :1], hidden, mask, None, False)
    torch.testing.assert_close(first, whole[:, :1], atol=ALLOWED, rtol=0.0)


@pytest.mark.parametrize("implementation", ATTENTIONS)
@pytest.mark.parametrize("position_type", POSITION_TYPES)
@torch.no_grad()
def test_a_text_without_any_attended_piece_stays_finite_in_half_precision(
    implementation: str, position_type: str
) -> None:
    for seed in range(4):
        model: Any = tiny(
            RealmEmbedder, seed=seed, attn_implementation=implementation, position_embedding_type=position_type,
            initializer_range=4.0,
        )  # fmt: skip
        model.half()
        mask = torch.tensor([[1, 1, 1, 1, 0], [0, 0, 0, 0, 0]])
        vectors = model(pieces(2, 5), attention_mask=mask).projected_score
        assert vectors.dtype == torch.float16
        assert vectors.isfinite().all()


def test_heads_must_divide_the_hidden_size() -> None:
    message = r"The hidden size \(12\) is not a multiple of the number of attention heads \(5\)"
    with pytest.raises(ValueError, match=message):
        RealmSelfAttention(tiny_config(num_attention_heads=5))


@pytest.mark.parametrize("position_type", POSITION_TYPES)
@pytest.mark.parametrize("mask_shape", [None, (2, 5), (2, 5, 5)])
@torch.no_grad()
def test_a_back_end_that_cannot_add_to_scores_is_left_out_where_something_is_added(
    position_type: str, mask_shape: tuple[int, ...] | None
) -> None:
    if position_type == "absolute" and (mask_shape is None or len(mask_shape) == 2):
        return  # flex attention itself, which would be compiled first
    mask = None if mask_shape is None else torch.ones(mask_shape)
    if mask is not None:
        mask[1, ..., 3:] = 0.0
    eager, flex = (
        tiny(RealmEmbedder, attn_implementation=name, position_embedding_type=position_type)(
            pieces(2, 5), attention_mask=mask
        ).projected_score
        for name in ("eager", "flex_attention")
    )
    torch.testing.assert_close(flex, eager, atol=ALLOWED, rtol=0.0)
