"""The masked-token head stays one with its trunk: in size, in its two names for one bias, in what is tied."""

from __future__ import annotations

import pytest
import torch
from tiny import NETWORKS, PIECES, example, pieces, tiny
from torch.nn import functional

from realm.models.embedder import RealmEmbedder
from realm.models.encoder import RealmKnowledgeAugEncoder
from realm.models.heads import RealmNetwork
from realm.models.reader import RealmReader
from realm.models.scorer import RealmScorer
from realm.models.trunk import RealmPreTrainedModel

WITH_HEAD: tuple[type[RealmNetwork], ...] = (RealmEmbedder, RealmKnowledgeAugEncoder, RealmReader)


@pytest.mark.parametrize("size", [PIECES - 4, PIECES + 6])
@pytest.mark.parametrize("kind", WITH_HEAD)
def test_another_vocabulary_size_leaves_no_parameter_with_the_old_one(kind: type[RealmNetwork], size: int) -> None:
    model = tiny(kind)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.resize_token_embeddings(size)
    after = model.state_dict()
    kept = min(size, PIECES)
    resized = {name for name in before if before[name].size(0) == PIECES}
    assert resized == {
        "realm.embeddings.word_embeddings.weight",
        "cls.predictions.bias",
        "cls.predictions.decoder.weight",
        "cls.predictions.decoder.bias",
    }
    for name, tensor in after.items():
        assert tensor.size(0) == (size if name in resized else before[name].size(0))
        assert torch.equal(tensor[:kept], before[name][:kept])
    assert model.config.vocab_size == size
    assert model.cls.predictions.decoder.bias is model.cls.predictions.bias
    assert all(tensor.isfinite().all() for tensor in after.values())


@pytest.mark.parametrize("kind", WITH_HEAD)
def test_a_network_of_another_vocabulary_size_still_runs_and_freezes_the_same_row(kind: type[RealmNetwork]) -> None:
    model, inputs = tiny(kind), example(kind)
    model.resize_token_embeddings(PIECES + 6)
    inputs["input_ids"][..., -1] = PIECES + 5
    inputs["input_ids"][..., -2] = 0
    output = model(**inputs, output_hidden_states=True)
    output.hidden_states[-1].square().sum().backward()
    gradient = model.realm.embeddings.word_embeddings.weight.grad
    assert gradient is not None
    assert gradient[0].abs().max() == 0.0
    assert gradient[PIECES + 5].abs().max() > 0.0


@torch.no_grad()
def test_an_encoder_of_another_vocabulary_size_scores_every_piece_of_it() -> None:
    model, ids = tiny(RealmKnowledgeAugEncoder), pieces(2, 2, 6)
    before = model(ids).logits
    model.resize_token_embeddings(PIECES + 6)
    after = model(ids).logits
    assert after.shape == (4, 6, PIECES + 6)
    torch.testing.assert_close(after[..., :PIECES], before, atol=1e-5, rtol=0.0)
    assert model.cls.predictions.decoder.weight is model.realm.embeddings.word_embeddings.weight


@torch.no_grad()
def test_the_masked_token_head_is_its_definition() -> None:
    model, hidden = tiny(RealmKnowledgeAugEncoder), torch.randn(2, 5, 12)
    head = model.cls.predictions
    dense = hidden @ head.transform.dense.weight.T + head.transform.dense.bias
    active = 0.5 * dense * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (dense + 0.044715 * dense**3)))
    norm = head.transform.LayerNorm
    words = model.realm.embeddings.word_embeddings.weight
    wanted = functional.layer_norm(active, (12,), norm.weight, norm.bias, 1e-12) @ words.T + head.bias
    torch.testing.assert_close(model.cls(hidden), wanted, atol=2e-5, rtol=0.0)


@pytest.mark.parametrize("kind", WITH_HEAD)
def test_only_the_encoder_shares_its_word_embeddings_with_the_head(kind: type[RealmNetwork]) -> None:
    model = tiny(kind)
    shared = model.cls.predictions.decoder.weight is model.realm.embeddings.word_embeddings.weight
    assert shared == (kind is RealmKnowledgeAugEncoder)
    untied = tiny(kind, tie_word_embeddings=False)
    assert untied.cls.predictions.decoder.weight is not untied.realm.embeddings.word_embeddings.weight
    assert untied.cls.predictions.decoder.bias is untied.cls.predictions.bias


@pytest.mark.parametrize("kind", NETWORKS)
def test_fresh_weights_are_normal_and_fresh_biases_and_norms_neutral(kind: type[RealmPreTrainedModel]) -> None:
    torch.manual_seed(0)
    model = kind(tiny(kind, hidden_size=60, intermediate_size=60).config)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert parameter.abs().max() == 0.0, name
        elif parameter.dim() == 1:
            assert torch.equal(parameter, torch.ones_like(parameter)), name
        elif name.endswith("word_embeddings.weight"):
            assert parameter[0].abs().max() == 0.0
            assert parameter[1:].std().item() == pytest.approx(0.4, rel=0.1)
        elif parameter.numel() > 1000:
            # Not truncated: among many draws some lie beyond two deviations.
            assert parameter.std().item() == pytest.approx(0.4, rel=0.1), name
            assert parameter.abs().max() > 0.8, name


def test_a_scorer_passes_a_changed_vocabulary_on_through_its_embedders() -> None:
    scorer = tiny(RealmScorer)
    scorer.embedder.resize_token_embeddings(PIECES + 6)
    ids = pieces(1, 5)
    ids[0, 0] = PIECES + 5
    assert scorer(ids, candidate_input_ids=ids[:, None]).relevance_score.shape == (1, 1)
