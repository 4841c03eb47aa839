"""Warm starts: our trunk computes what transformers' BERT computes, and added layers do what they claim."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_trunk import HIDDEN, LAYERS
from torch import Tensor, nn
from transformers import BertModel

from realm.errors import ModelError
from realm.models.configuration import RealmConfig
from realm.models.embedder import RealmEmbedder
from realm.models.encoder import RealmKnowledgeAugEncoder
from realm.models.trunk import RealmBertModel
from realm.training.closed_form import (
    HEAD_GAIN,
    copying_layer,
    identity_head,
    identity_layer,
    mean_pooling_layer,
    principal_projection,
)
from realm.training.warm_start import (
    config_from_bert,
    find_trunk,
    freeze_below,
    load_trunk,
)


@pytest.fixture
def copy(trunk: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trunk, tmp_path / "copy"))


def change_config(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def change_weights(folder: Path, change: dict[str, Tensor | None]) -> None:
    weights = {**load_file(folder / "model.safetensors"), **change}
    save_file({key: value for key, value in weights.items() if value is not None}, folder / "model.safetensors")


def inputs() -> dict[str, Tensor]:
    """Three texts of different lengths in two segments."""
    mask = torch.tensor([[1] * 12, [1] * 7 + [0] * 5, [1] * 3 + [0] * 9])
    return {
        "input_ids": torch.randint(5, 100, (3, 12)) * mask,
        "attention_mask": mask,
        "token_type_ids": torch.tensor([[0] * 4 + [1] * 8] * 3) * mask,
    }


@torch.no_grad()
def states(model: nn.Module, batch: dict[str, Tensor]) -> list[Tensor]:
    """All hidden states of the pieces that are no padding."""
    output = model.eval()(**batch, output_hidden_states=True, return_dict=True)
    return [layer[batch["attention_mask"].bool()] for layer in output.hidden_states]


def trunk_of(folder: Path, extra_layers: int = 0) -> RealmBertModel:
    model = RealmBertModel(config_from_bert(folder, extra_layers))
    load_trunk(model, folder)
    return model


def test_trunk_gives_the_hidden_states_of_transformers(trunk: Path) -> None:
    batch = inputs()
    expected, found = states(BertModel.from_pretrained(trunk), batch), states(trunk_of(trunk), batch)
    assert len(expected) == len(found) == LAYERS + 1
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).abs().max() < 2e-5


def test_lowest_layers_of_a_trunk_give_their_hidden_states(trunk: Path) -> None:
    batch = inputs()
    model = RealmBertModel(config_from_bert(trunk, 0, 1))
    load_trunk(model, trunk, 1)
    for ours, theirs in zip(states(model, batch), states(BertModel.from_pretrained(trunk), batch)[:2], strict=True):
        assert (ours - theirs).abs().max() < 2e-5


def test_layers_above_those_that_are_used_start_afresh(trunk: Path) -> None:
    weights = load_file(trunk / "model.safetensors")
    model = RealmBertModel(config_from_bert(trunk, 1, 1))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    load_trunk(model, trunk, 1)
    for name, value in model.state_dict().items():
        kept = before if name.startswith("encoder.layer.1.") else weights
        assert torch.equal(value, kept[name]), name


def test_more_layers_than_the_trunk_has_are_refused(trunk: Path) -> None:
    with pytest.raises(ModelError, match=f"trunk_layers is {LAYERS + 1}; the BERT in .* has {LAYERS}"):
        config_from_bert(trunk, 0, LAYERS + 1)


def test_trunk_saved_inside_another_network_loads_as_well(trunk: Path, copy: Path) -> None:
    weights = load_file(trunk / "model.safetensors")
    change_weights(copy, {**dict.fromkeys(weights), **{f"bert.{key}": value for key, value in weights.items()}})
    for name, value in trunk_of(copy).state_dict().items():
        assert torch.equal(value, weights[name])


def test_trunk_with_tensorflows_names_of_layer_norms_loads_as_well(trunk: Path, copy: Path) -> None:
    weights = load_file(trunk / "model.safetensors")
    older = {
        key: key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        for key in weights
    }
    assert sum("gamma" in name for name in older.values()) > LAYERS
    save_file({older[key]: value for key, value in weights.items()}, copy / "model.safetensors")
    loaded, expected = (RealmBertModel(config_from_bert(folder, 0)) for folder in (copy, trunk))
    load_trunk(loaded, copy)
    load_trunk(expected, trunk)
    for name, value in expected.state_dict().items():
        if not name.startswith("pooler."):
            assert torch.equal(loaded.state_dict()[name], value), name


def test_config_takes_its_sizes_from_the_trunk(trunk: Path) -> None:
    config = config_from_bert(trunk, 3, max_span_width=4)
    assert isinstance(config, RealmConfig)
    assert (config.num_hidden_layers, config.hidden_size, config.max_span_width) == (LAYERS + 3, HIDDEN, 4)
    assert (config.hidden_act, config.layer_norm_eps, config.max_position_embeddings) == ("gelu", 1e-12, 160)


def test_config_that_names_no_activation_has_berts(copy: Path) -> None:
    change_config(copy, hidden_act=None)
    assert config_from_bert(copy, 0).hidden_act == "gelu"


def test_identity_layers_pass_the_trunks_states_on(trunk: Path) -> None:
    batch = inputs()
    model = trunk_of(trunk, extra_layers=2)
    for layer in model.encoder.layer[LAYERS:]:
        identity_layer(layer)
    *_, below, middle, top = states(model, batch)
    normal = nn.functional.layer_norm(below, (HIDDEN,))
    torch.testing.assert_close(middle, normal, atol=5e-5, rtol=0)
    torch.testing.assert_close(top, normal, atol=5e-5, rtol=0)


def test_mean_pooling_layer_points_every_position_to_the_mean(trunk: Path) -> None:
    batch = inputs()
    model = trunk_of(trunk, extra_layers=1)
    mean_pooling_layer(model.encoder.layer[-1])
    *_, below, top = states(model, batch)
    pieces = batch["attention_mask"].sum(-1).tolist()
    for before, after in zip(below.split(pieces), top.split(pieces), strict=True):
        mean = nn.functional.layer_norm(before.mean(0), (HIDDEN,))
        assert nn.functional.cosine_similarity(after, mean[None]).min() > 0.98


def test_identity_head_names_the_piece_a_state_is_like_and_knows_what_is_frequent(trunk: Path) -> None:
    encoder = RealmKnowledgeAugEncoder(config_from_bert(trunk, 0))
    words = encoder.realm.embeddings.word_embeddings.weight
    head = encoder.cls.predictions
    sample = torch.tensor([7] * 90 + [8] * 9)
    identity_head(head, sample)
    with torch.no_grad():
        found = head(nn.functional.layer_norm(words, (HIDDEN,))) - head.bias
        expected = HEAD_GAIN * nn.functional.layer_norm(words, (HIDDEN,)) @ words.T
        # The activation is a little bent.
        assert torch.corrcoef(torch.stack([found.flatten(), expected.flatten()]))[0, 1] > 0.99
    assert (found.argmax(-1) == torch.arange(len(words))).float().mean() > 0.9
    frequent = head.bias.detach().softmax(-1)
    assert frequent[7] == pytest.approx(10 * frequent[8].item(), rel=0.02)
    assert 0 < frequent[9] < 0.02 * frequent[8]


def test_copying_layer_points_to_the_mean_from_the_centre_and_can_learn_where_to_look(trunk: Path) -> None:
    batch = inputs()
    model = trunk_of(trunk, extra_layers=1)
    center = torch.randn(HIDDEN)
    copying_layer(model.encoder.layer[-1], center)
    *_, below, top = states(model, batch)
    pieces = batch["attention_mask"].sum(-1).tolist()
    for before, after in zip(below.split(pieces), top.split(pieces), strict=True):
        mean = nn.functional.layer_norm(before.mean(0) - center, (HIDDEN,))
        assert nn.functional.cosine_similarity(after, mean[None]).min() > 0.95
    model(**batch, return_dict=True).last_hidden_state.square().sum().backward()
    attention = model.encoder.layer[-1].attention.self
    assert attention.query.weight.grad.abs().max() > 0
    assert attention.key.weight.grad.abs().max() > 0


def test_projection_measures_angles_from_the_centre_of_the_sample(trunk: Path) -> None:
    embedder = RealmEmbedder(config_from_bert(trunk, 1, retriever_proj_size=HIDDEN))
    means = 3 * torch.randn(HIDDEN) + torch.randn(200, HIDDEN)
    principal_projection(embedder, means, score_scale=7.0)
    unit = nn.functional.normalize(means, dim=-1)
    pooler = embedder.realm.pooler
    assert pooler is not None
    with torch.no_grad():
        # What the pooling layer hands on: the mean, as long as its layer norm makes it.
        vectors = embedder.cls(pooler(HIDDEN**0.5 * unit[:, None]))
    torch.testing.assert_close((vectors * vectors).sum(-1), torch.full((200,), 7.0), rtol=1e-3, atol=0)
    centred = nn.functional.normalize(unit - unit.mean(0), dim=-1)
    pairs = torch.triu_indices(200, 200, offset=1)
    scores, cosines = ((x @ x.T)[pairs[0], pairs[1]] for x in (vectors, centred))
    assert torch.corrcoef(torch.stack([scores, cosines]))[0, 1] > 0.95
    assert (scores / 7.0 - cosines).abs().mean() < 0.06


def test_freezing_leaves_only_the_upper_layers_to_train(trunk: Path) -> None:
    model = trunk_of(trunk, extra_layers=1)
    freeze_below(model, 2)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {
        name
        for name, _ in model.named_parameters()
        if name.startswith(("embeddings.", "encoder.layer.0.", "encoder.layer.1."))
    }


@pytest.mark.parametrize(
    "key", ["embeddings.LayerNorm.bias", "encoder.layer.1.output.dense.weight", "embeddings.word_embeddings.weight"]
)
@pytest.mark.parametrize("fault", ["absent", "other_shape"])
def test_trunk_that_is_not_filled_is_refused_by_name(copy: Path, key: str, fault: str) -> None:
    change_weights(copy, {key: None if fault == "absent" else torch.zeros(3)})
    with pytest.raises(ModelError, match=f"does not fill the trunk: {key} and 1 in all"):
        trunk_of(copy)


def test_trunk_with_fewer_layers_than_its_config_says_is_refused(copy: Path) -> None:
    change_config(copy, num_hidden_layers=LAYERS + 1)
    with pytest.raises(ModelError, match=r"encoder\.layer\.2\..* and 16 in all"):
        trunk_of(copy)


@pytest.mark.parametrize("change", [{"model_type": "roberta"}, {"num_hidden_layers": None}])
def test_folder_of_another_kind_of_model_is_refused(copy: Path, change: dict[str, object]) -> None:
    change_config(copy, **change)
    with pytest.raises(ModelError, match="a trunk must be a BERT"):
        trunk_of(copy)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
def test_folder_that_lacks_a_file_is_refused(copy: Path, file: str) -> None:
    assert find_trunk(str(copy)) == copy
    (copy / file).unlink()
    with pytest.raises(ModelError, match=f"missing {file}"):
        find_trunk(str(copy))


def test_loading_from_a_folder_without_weights_is_refused(trunk: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"expected a BERT folder with config\.json and model\.safetensors"):
        load_trunk(trunk_of(trunk), tmp_path)
    with pytest.raises(ModelError, match=r"No config\.json"):
        config_from_bert(tmp_path, 0)
