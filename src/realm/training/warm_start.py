"""Warm starts: a BERT-family encoder as trunk, and closed-form weights that make an added layer useful at once."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers.models.bert.modeling_bert import BertPooler

from realm.errors import ModelError, RecipeError
from realm.models.configuration import RealmConfig
from realm.models.embedder import RealmEmbedder
from realm.models.heads import RealmLMPredictionHead, RealmScorerProjection
from realm.models.trunk import RealmBertModel, RealmLayer, RealmPreTrainedModel
from realm.openqa.default_model import trunk_folder

_CONFIG_KEYS = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act",
    "hidden_dropout_prob", "attention_probs_dropout_prob", "max_position_embeddings", "type_vocab_size",
    "initializer_range", "layer_norm_eps", "pad_token_id",
)  # fmt: skip

MEAN_GAIN = 20.0
"""How much louder the mean is than a state itself, in layers that start as a mean."""
POOLER_SLOPE = 0.1
"""Keeps the pooler's tanh in its straight part."""


HEAD_SLOPE, HEAD_SHIFT = 0.25, 2.0
"""Where in its activation an identity head works."""
HEAD_GAIN = 0.6
"""How sure an identity head is: tried on names in Wikipedia, which 0.3 and 1.0 made less likely."""
_UNSEEN = 0.1

WEIGHTS_FILE = "model.safetensors"
_TRUNK_FILES = ("config.json", WEIGHTS_FILE, "tokenizer.json")

PUBLIC_TRUNK = "minilm"
"""Recipe name of the trunk of realm-mini."""


def find_trunk(name: str) -> Path:
    """Folder of a recipe's trunk: a path, or "minilm" for the public one that realm-mini stands on.

    Raises:
        ModelError: A file of a trunk is not in the folder.
    """
    folder = trunk_folder() if name == PUBLIC_TRUNK else Path(name)
    if absent := [file for file in _TRUNK_FILES if not (folder / file).is_file()]:
        raise ModelError(f"No trunk in {folder}: expected {', '.join(_TRUNK_FILES)}; missing {', '.join(absent)}.")
    return folder


def find_trained(name: str) -> Path:
    """Folder of a trained model: the folder itself, or the result in a run folder.

    Raises:
        ModelError: There is no trained model in either.
    """
    for folder in (Path(name), Path(name, "model")):
        if all((folder / file).is_file() for file in ("config.json", WEIGHTS_FILE)):
            return folder
    raise ModelError(
        f"No trained model in {name}: expected config.json and {WEIGHTS_FILE} there, or in its folder model, "
        "as a finished run leaves them."
    )


def architecture_of(folder: Path) -> str:
    """The class of ours that a folder holds; empty for others."""
    if not (folder / "config.json").is_file():
        return ""
    named = RealmConfig.get_config_dict(folder)[0].get("architectures") or [""]
    return named[0] if named[0].startswith("Realm") else ""


def load_trained(network: RealmPreTrainedModel, folder: Path) -> None:
    """Copy all weights of a trained network of the same kind and sizes.

    Raises:
        ModelError: It is of another kind, or of other sizes.
    """
    config = RealmConfig.from_pretrained(folder)
    kind = type(network).__name__
    if kind not in (config.architectures or ()):
        raise ModelError(f"{folder} holds {config.architectures}; expected {kind}.")
    weights = type(network).from_pretrained(folder).state_dict()
    wanted = network.state_dict()
    differing = sorted(
        key for key in wanted.keys() | weights.keys() if key not in wanted or key not in weights
        or wanted[key].shape != weights[key].shape
    )  # fmt: skip
    if differing:
        raise ModelError(
            f"{folder} is a {kind} of other sizes: {len(differing)} weights differ, {differing[0]} first. "
            "Give the recipe the trunk and the number of layers that it was trained with."
        )
    network.load_state_dict(weights)


def config_from_bert(folder: Path, extra_layers: int, trunk_layers: int = 0, **overrides: Any) -> RealmConfig:
    """RealmConfig of a BERT folder's sizes, with `extra_layers` more layers on top.

    Args:
        folder: See `find_trunk`.
        extra_layers: Layers that the folder has no weights for.
        trunk_layers: How many of the folder's layers are used, the lowest ones; 0 for all.
        overrides: Further values of the config.

    Raises:
        ModelError: The folder holds no config of a BERT, or of one with fewer layers.
    """
    values = _bert_config(folder)
    if trunk_layers > values["num_hidden_layers"]:
        raise ModelError(f"trunk_layers is {trunk_layers}; the BERT in {folder} has {values['num_hidden_layers']}.")
    # Where a config says nothing, BERT's default holds, which is not ours.
    sizes = {"hidden_act": "gelu", **{key: values[key] for key in _CONFIG_KEYS if key in values}}
    sizes["num_hidden_layers"] = (trunk_layers or sizes["num_hidden_layers"]) + extra_layers
    return RealmConfig(**{**sizes, **overrides})


def load_trunk(trunk: RealmBertModel, folder: Path, trunk_layers: int = 0) -> None:
    """Copy a BERT folder's embeddings and its lowest layers (0 for all) into the lower layers of a trunk.

    Raises:
        ModelError: There is no `model.safetensors`, or its shapes do not fit.
    """
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise ModelError(f"No trunk at {path}: expected a BERT folder with config.json and model.safetensors.")
    weights = {modern_name(key): value.float() for key, value in load_file(path).items()}
    wanted = trunk.state_dict()
    layers = trunk_layers or int(_bert_config(folder)["num_hidden_layers"])
    expected = {key for key in wanted if not key.startswith("encoder.layer.") or int(key.split(".")[2]) < layers}
    usable = {key: weights[key] for key in expected & weights.keys() if weights[key].shape == wanted[key].shape}
    expected = {key for key in expected if key.startswith(("embeddings.", "encoder.layer."))}
    if not_filled := sorted(expected - usable.keys()):
        raise ModelError(f"{path} does not fill the trunk: {', '.join(not_filled[:3])} and {len(not_filled)} in all.")
    trunk.load_state_dict(usable, strict=False)


def modern_name(key: str) -> str:
    """Name of a BERT's weight without the prefix, and without the names that TensorFlow gave layer norms."""
    name = key.removeprefix("bert.")
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def identity_layer(layer: RealmLayer) -> None:
    """Make a layer pass its input on (up to layer norm), so that training starts from the layer below."""
    for dense in (layer.attention.output.dense, layer.output.dense):
        nn.init.zeros_(dense.weight)
        nn.init.zeros_(dense.bias)


def mean_pooling_layer(layer: RealmLayer) -> None:
    """Make a layer put the mean of its inputs into every position, [CLS] included.

    Equal attention scores average the values; identity value and output maps leave the average as it is; the
    gain drowns the residual. The feed-forward part starts silent.
    """
    identity_layer(layer)
    attention = layer.attention
    for dense in (attention.self.query, attention.self.key):
        nn.init.zeros_(dense.weight)
        nn.init.zeros_(dense.bias)
    nn.init.eye_(attention.self.value.weight)
    nn.init.zeros_(attention.self.value.bias)
    with torch.no_grad():
        attention.output.dense.weight.copy_(MEAN_GAIN * torch.eye(attention.output.dense.out_features))


def identity_head(head: RealmLMPredictionHead, pieces: Tensor) -> None:
    """Make a masked-word head name the word piece that a state is most like; as sure as the pieces are frequent.

    The head's weights are the embeddings, and the states of a BERT stay like the embedding of their own piece. The
    activation is used where it is nearly straight; the layer norm takes the shift away.

    Args:
        head: Its decoder is tied to the embeddings.
        pieces: Ids of a sample of text, (pieces,).
    """
    dense, norm = head.transform.dense, head.transform.LayerNorm
    counts = torch.bincount(pieces.cpu(), minlength=len(head.bias)).float() + _UNSEEN
    with torch.no_grad():
        dense.weight.copy_(HEAD_SLOPE * torch.eye(dense.out_features))
        dense.bias.fill_(HEAD_SHIFT)
        norm.weight.fill_(HEAD_GAIN)
        norm.bias.zero_()
        head.bias.copy_((counts / counts.sum()).log())


def copying_layer(layer: RealmLayer, center: Tensor) -> None:
    """Make a layer add what its inputs have in common to each: under an `identity_head`, their word pieces.

    Attention starts as it was initialised, nearly even, and can learn where to look; with queries and keys of zero, as
    in a `mean_pooling_layer`, it could not.

    Args:
        layer: Newly initialised.
        center: Mean of the states of a sample, (hidden,); it is taken off.
    """
    identity_layer(layer)
    attention = layer.attention
    with torch.no_grad():
        attention.self.value.weight.copy_(torch.eye(len(center)))
        attention.self.value.bias.copy_(-center)
        attention.output.dense.weight.copy_(MEAN_GAIN * torch.eye(len(center)))


def principal_projection(embedder: RealmEmbedder, means: Tensor, score_scale: float) -> None:
    """Set pooler and projection to the leading principal components of mean-pooled states.

    Afterwards question . block is about `score_scale` times the cosine similarity of their mean-pooled states,
    measured from the centre of the sample.

    Args:
        embedder: Its last layer is a `mean_pooling_layer`.
        means: Mean-pooled trunk states of sample texts, (texts, hidden), more texts than dimensions.
        score_scale: Inner product of a vector with itself.
    """
    unit = nn.functional.normalize(means.float(), dim=-1)
    center = unit.mean(0)
    dims = embedder.config.retriever_proj_size
    components = torch.linalg.svd(unit - center, full_matrices=False).Vh[:dims]
    hidden = embedder.config.hidden_size
    # The pooling layer's layer norm gives vectors of length sqrt(hidden) where the mean-pooled ones had length 1.
    length = math.sqrt(hidden)
    projection = cast(RealmScorerProjection, embedder.cls)
    pooler = cast(BertPooler, embedder.realm.pooler)
    with torch.no_grad():
        pooler.dense.weight.copy_(POOLER_SLOPE * torch.eye(hidden))
        pooler.dense.bias.zero_()
        projection.dense.weight.copy_(components / POOLER_SLOPE)
        projection.dense.bias.copy_(-length * components @ center)
        projection.LayerNorm.weight.fill_(math.sqrt(score_scale / dims))
        projection.LayerNorm.bias.zero_()


def freeze_below(trunk: RealmBertModel, first_trained_layer: int) -> None:
    """Take embeddings and the layers below `first_trained_layer` out of training; nothing if it is 0.

    Raises:
        RecipeError: There are fewer layers.
    """
    layers = len(trunk.encoder.layer)
    if first_trained_layer > layers:
        raise RecipeError(f"first_trained_layer is {first_trained_layer}; the network has {layers} layers.")
    if not first_trained_layer:
        return
    frozen: list[nn.Module] = [trunk.embeddings, *trunk.encoder.layer[:first_trained_layer]]
    for module in frozen:
        for parameter in module.parameters():
            parameter.requires_grad = False


def _bert_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError(f"No config.json in {folder}: expected a BERT folder.")
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    # Others (RoBERTa) share the names of weights, but count positions differently.
    kind = values.get("model_type", "bert")
    if kind != "bert" or "num_hidden_layers" not in values:
        raise ModelError(f"{path} describes a {kind!r} model; a trunk must be a BERT with num_hidden_layers.")
    return values
