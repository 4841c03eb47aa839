"""The embedder: one vector per text, from the first position alone."""

from __future__ import annotations

import torch
from tiny import PIECES, pieces, tiny
from torch.nn import functional

from realm.models.embedder import RealmEmbedder, RealmEmbedderOutput


@torch.no_grad()
def test_a_vector_is_the_normed_projection_of_the_pooled_state() -> None:
    model, ids = tiny(RealmEmbedder, layer_norm_eps=1e-3), pieces(3, 6)
    pooled = torch.tanh(
        model.realm(ids).last_hidden_state[:, 0] @ model.realm.pooler.dense.weight.T + model.realm.pooler.dense.bias
    )
    projected = pooled @ model.cls.dense.weight.T + model.cls.dense.bias
    wanted = functional.layer_norm(projected, (7,), model.cls.LayerNorm.weight, model.cls.LayerNorm.bias, 1e-3)
    torch.testing.assert_close(model(ids).projected_score, wanted, atol=2e-5, rtol=0.0)


@torch.no_grad()
def test_texts_of_a_batch_do_not_touch_each_other() -> None:
    model, ids = tiny(RealmEmbedder), pieces(4, 6)
    alone = torch.cat([model(ids[n : n + 1]).projected_score for n in range(4)])
    torch.testing.assert_close(model(ids).projected_score, alone, atol=2e-5, rtol=0.0)


def test_the_unused_head_gets_no_gradient_and_everything_else_does() -> None:
    model = tiny(RealmEmbedder)
    model(pieces(2, 6), token_type_ids=torch.tensor([[0, 0, 0, 1, 1, 1]] * 2)).projected_score.square().sum().backward()
    without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert without == {name for name, _ in model.named_parameters() if name.startswith("cls.predictions.")}


@torch.no_grad()
def test_a_tuple_holds_the_vector_then_states_then_attentions() -> None:
    model, ids = tiny(RealmEmbedder), pieces(2, 6)
    named = model(ids, output_attentions=True, output_hidden_states=True)
    assert isinstance(named, RealmEmbedderOutput)
    vector, states, attentions = model(ids, output_attentions=True, output_hidden_states=True, return_dict=False)
    assert torch.equal(vector, named.projected_score)
    assert len(states) == 3
    assert len(attentions) == 2
    assert len(model(ids, return_dict=False)) == 1
    model.config.return_dict = False
    assert isinstance(model(ids), tuple)


@torch.no_grad()
def test_the_configuration_can_ask_for_states_and_attentions() -> None:
    model = tiny(RealmEmbedder, output_hidden_states=True, output_attentions=True, attn_implementation="eager")
    output = model(torch.arange(1, PIECES)[None, :6])
    assert len(output.hidden_states) == 3
    assert len(output.attentions) == 2
