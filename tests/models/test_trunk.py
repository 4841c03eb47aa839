"""The trunk: its two attention back-ends and its shortcut agree, masks hide what they should, bad input is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny import ATTENTIONS, NETWORKS, POSITION_TYPES, embedded, example, gradients, pieces, tiny
from torch import Tensor

from realm.models.embedder import RealmEmbedder
from realm.models.trunk import RealmBertModel, RealmPreTrainedModel

ALLOWED = {"atol": 2e-5, "rtol": 0.0}
PADDED = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]])
# Two groups of pieces that do not see each other, in the second text with padding.
GROUPS = torch.block_diag(torch.ones(3, 3), torch.ones(3, 3)).expand(2, -1, -1) * PADDED[:, None, :]
MASKS = {"none": None, "per piece": PADDED, "per pair": GROUPS}


def trunk(implementation: str = "sdpa", **changes: Any) -> RealmBertModel:
    return tiny(RealmBertModel, attn_implementation=implementation, **changes)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("position_type", POSITION_TYPES)
@torch.no_grad()
def test_eager_and_sdpa_agree(mask: str, position_type: str) -> None:
    outputs = [
        trunk(attention, position_embedding_type=position_type)(
            pieces(2, 6), attention_mask=MASKS[mask], output_hidden_states=True
        )
        for attention in ATTENTIONS
    ]
    for eager, sdpa in zip(*(output.hidden_states for output in outputs), strict=True):
        torch.testing.assert_close(eager, sdpa, **ALLOWED)
    torch.testing.assert_close(outputs[0].pooler_output, outputs[1].pooler_output, **ALLOWED)


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("position_type", POSITION_TYPES)
def test_the_shortcut_to_the_pooled_state_equals_the_whole_computation(
    attention: str, mask: str, position_type: str
) -> None:
    model = trunk(attention, position_embedding_type=position_type)
    results = []
    for pooled_only in (False, True):
        model.zero_grad()
        output = model(pieces(2, 6), attention_mask=MASKS[mask], pooled_only=pooled_only)
        output.pooler_output.square().sum().backward()
        results.append((output.pooler_output.detach(), gradients(model)))
        assert output.last_hidden_state.size(1) == (1 if pooled_only else 6)
    torch.testing.assert_close(results[0][0], results[1][0], **ALLOWED)
    # The whole computation sends nothing through the other positions of the last layer either.
    for name, gradient in results[1][1].items():
        torch.testing.assert_close(results[0][1][name], gradient, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_mask_per_pair_equals_a_mask_per_piece_that_says_the_same() -> None:
    model, ids = trunk(), pieces(2, 6)
    per_piece = model(ids, attention_mask=PADDED).last_hidden_state
    per_pair = model(ids, attention_mask=PADDED[:, None, :].expand(-1, 6, -1)).last_hidden_state
    torch.testing.assert_close(per_piece, per_pair, **ALLOWED)


@pytest.mark.parametrize("attention", ATTENTIONS)
@torch.no_grad()
def test_pieces_see_only_what_a_mask_per_pair_lets_them_see(attention: str) -> None:
    model, ids = trunk(attention), pieces(2, 6)
    changed = ids.clone()
    changed[:, 3:] = pieces(2, 3, seed=9)
    before, after = (model(x, attention_mask=GROUPS).last_hidden_state for x in (ids, changed))
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.equal(before[:, 3:], after[:, 3:])


@pytest.mark.parametrize("attention", ATTENTIONS)
@torch.no_grad()
def test_padding_changes_nothing(attention: str) -> None:
    model, ids = trunk(attention), pieces(1, 4)
    padded = torch.cat([ids, torch.zeros(1, 3, dtype=torch.long)], dim=1)
    mask = (torch.arange(7) < 4)[None]
    found = model(padded, attention_mask=mask).last_hidden_state[:, :4]
    torch.testing.assert_close(found, model(ids).last_hidden_state, **ALLOWED)


@torch.no_grad()
def test_left_out_inputs_mean_all_attended_first_segment_and_counted_positions() -> None:
    model, ids = trunk(), pieces(2, 6)
    said = model(
        ids,
        attention_mask=torch.ones_like(ids),
        token_type_ids=torch.zeros_like(ids),
        position_ids=torch.arange(6).expand(2, -1),
    )
    torch.testing.assert_close(model(ids).last_hidden_state, said.last_hidden_state, **ALLOWED)
    given = model(inputs_embeds=embedded(model, ids)).last_hidden_state
    assert torch.equal(given, model(ids).last_hidden_state)


@torch.no_grad()
def test_segments_and_positions_are_added_to_the_words() -> None:
    model, ids = trunk(), pieces(2, 6)
    segments, positions = torch.randint(0, 2, (2, 6)), torch.randint(0, 20, (2, 6))
    parts = model.embeddings
    words = parts.word_embeddings(ids) + parts.token_type_embeddings(segments) + parts.position_embeddings(positions)
    mean, variance = words.mean(-1, keepdim=True), words.var(-1, keepdim=True, unbiased=False)
    wanted = (words - mean) / variance.sqrt() * parts.LayerNorm.weight + parts.LayerNorm.bias
    found = model(ids, token_type_ids=segments, position_ids=positions, output_hidden_states=True).hidden_states[0]
    torch.testing.assert_close(found, wanted, **ALLOWED)


@pytest.mark.parametrize("attention", ATTENTIONS)
@torch.no_grad()
def test_attentions_are_given_when_asked_for_whatever_the_back_end(attention: str) -> None:
    model, ids = trunk(attention), pieces(2, 6)
    output = model(ids, attention_mask=PADDED, output_attentions=True, output_hidden_states=True)
    assert [tuple(layer.shape) for layer in output.attentions] == [(2, 3, 6, 6)] * 2
    for layer in output.attentions:
        torch.testing.assert_close(layer.sum(-1), torch.ones(2, 3, 6), **ALLOWED)
        assert layer[1, :, :, 4:].abs().max() == 0.0
    assert len(output.hidden_states) == 3
    assert torch.equal(output.hidden_states[-1], output.last_hidden_state)
    plain = model(ids, attention_mask=PADDED).last_hidden_state
    torch.testing.assert_close(output.last_hidden_state, plain, **ALLOWED)


@pytest.mark.parametrize("attention", ATTENTIONS)
@torch.no_grad()
def test_masking_a_head_equals_cutting_its_output_off(attention: str) -> None:
    masked, cut, ids = trunk(attention), trunk(attention), pieces(2, 6)
    cut.encoder.layer[1].attention.output.dense.weight[:, 4:8] = 0.0
    head_mask = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0]])
    found = masked(ids, head_mask=head_mask).last_hidden_state
    torch.testing.assert_close(found, cut(ids).last_hidden_state, **ALLOWED)


@pytest.mark.parametrize("kind", NETWORKS)
@torch.no_grad()
def test_every_network_takes_a_head_mask_of_one_or_two_dimensions(kind: type[RealmPreTrainedModel]) -> None:
    model, inputs = tiny(kind), example(kind)
    # The reader answers with places, so its states are compared.
    states = {} if kind.__name__ == "RealmScorer" else {"output_hidden_states": True}

    def values(head_mask: Tensor | None) -> Tensor:
        output = model(**inputs, **states, head_mask=head_mask)
        return output.relevance_score if not states else output.hidden_states[-1]

    one, two = torch.tensor([1.0, 0.0, 1.0]), torch.tensor([[1.0, 0.0, 1.0]] * 2)
    torch.testing.assert_close(values(one), values(two), **ALLOWED)
    torch.testing.assert_close(values(torch.ones(3)), values(None), **ALLOWED)
    assert (values(one) - values(None)).abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("pooled_only", [False, True])
def test_feed_forward_in_chunks_gives_the_same(pooled_only: bool) -> None:
    ids = pieces(2, 6)
    chunked = trunk(chunk_size_feed_forward=2)(ids, pooled_only=pooled_only).last_hidden_state
    torch.testing.assert_close(chunked, trunk()(ids, pooled_only=pooled_only).last_hidden_state, **ALLOWED)


def test_dropout_is_at_work_in_training_only() -> None:
    model, ids = trunk(), pieces(2, 6)
    assert torch.equal(model(ids).pooler_output, model(ids).pooler_output)
    model.train()
    assert not torch.equal(model(ids).pooler_output, model(ids).pooler_output)


def test_an_input_over_the_longest_position_is_refused_with_both_lengths() -> None:
    with pytest.raises(ValueError, match="has 21 word pieces; this model takes at most 20"):
        trunk()(pieces(1, 21))
    assert trunk()(pieces(1, 20)).last_hidden_state.size(1) == 20


def test_ids_and_embeddings_together_or_neither_are_refused() -> None:
    model, ids = trunk(), pieces(1, 4)
    with pytest.raises(ValueError, match="You cannot specify both input_ids and inputs_embeds at the same time"):
        model(ids, inputs_embeds=embedded(model, ids))
    with pytest.raises(ValueError, match="You have to specify either input_ids or inputs_embeds"):
        model()


@pytest.mark.parametrize("shape", [(6,), (2, 1, 6, 6)])
def test_masks_of_other_ranks_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="Wrong shape for input_ids"):
        trunk()(pieces(2, 6), attention_mask=torch.ones(shape))
    with pytest.raises(ValueError, match="head_mask must be"):
        trunk()(pieces(2, 6), head_mask=torch.ones(1, 2, 3))


@torch.no_grad()
def test_a_tuple_holds_what_the_output_class_holds_in_order() -> None:
    model, ids = trunk(), pieces(2, 6)
    named = model(ids, output_attentions=True, output_hidden_states=True)
    hidden, pooled, states, attentions = model(
        ids, output_attentions=True, output_hidden_states=True, return_dict=False
    )
    assert torch.equal(hidden, named.last_hidden_state)
    assert torch.equal(pooled, named.pooler_output)
    assert len(states) == 3
    assert len(attentions) == 2
    assert len(model(ids, return_dict=False)) == 2


@torch.no_grad()
def test_an_embedder_asked_for_attentions_gives_the_same_vector() -> None:
    model, ids = tiny(RealmEmbedder), pieces(2, 6)
    asked = model(ids, attention_mask=PADDED, output_attentions=True, output_hidden_states=True)
    plain = model(ids, attention_mask=PADDED)
    torch.testing.assert_close(asked.projected_score, plain.projected_score, **ALLOWED)
    assert asked.hidden_states[-1].shape == (2, 6, 12)
    assert plain.hidden_states is None
