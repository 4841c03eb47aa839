"""Warm starts: a BERT-family encoder as trunk, or a network that was trained before."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from realm.errors import ModelError, RecipeError
from realm.features.inputs import InputBuilder, Row, batches_of_like_length
from realm.models.configuration import RealmConfig
from realm.models.trunk import RealmBertModel, RealmPreTrainedModel
from realm.openqa.default_model import DEFAULT_MODEL, default_model_folder, trunk_folder
from realm.openqa.model import RealmForOpenQA

_CONFIG_KEYS = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act",
    "hidden_dropout_prob", "attention_probs_dropout_prob", "max_position_embeddings", "type_vocab_size",
    "initializer_range", "layer_norm_eps", "pad_token_id",
)  # fmt: skip

WEIGHTS_FILE = "model.safetensors"
_PIECES_AT_ONCE = 4096
_TRUNK_FILES = ("config.json", WEIGHTS_FILE, "tokenizer.json")
TOWERS = {"RealmEmbedder": "embedder", "RealmReader": "reader"}
"""What networks are called inside a RealmForOpenQA."""

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
    """Folder of a trained model: the folder itself, or the result in a run folder; "realm-mini" for the built-in one.

    Raises:
        ModelError: There is no trained model in either.
    """
    if name == DEFAULT_MODEL:
        return default_model_folder()
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
    """Copy all weights of a trained network of the same kind and sizes; an embedder's or a reader's also out of a
    RealmForOpenQA.

    Raises:
        ModelError: It is of another kind, or of other sizes.
    """
    config = RealmConfig.from_pretrained(folder)
    kind, kinds = type(network).__name__, config.architectures or ()
    if kind in kinds:
        trained = type(network).from_pretrained(folder)
    elif RealmForOpenQA.__name__ in kinds and kind in TOWERS:
        trained = getattr(RealmForOpenQA.from_pretrained(folder), TOWERS[kind])
    else:
        raise ModelError(f"{folder} holds {config.architectures}; expected {kind}.")
    weights = trained.state_dict()
    wanted = network.state_dict()
    if differing := differing_weights(wanted, weights):
        raise ModelError(
            f"{folder} is a {kind} of other sizes: {len(differing)} weights differ, {differing[0]} first. "
            "Give the recipe the trunk and the number of layers that it was trained with."
        )
    network.load_state_dict(weights)


def differing_weights(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> list[str]:
    """Names that only one of them has, or whose shapes differ."""
    return sorted(
        key for key in one.keys() | other.keys()
        if key not in one or key not in other or one[key].shape != other[key].shape
    )  # fmt: skip


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


@torch.no_grad()
def inputs_of_last_layer(
    trunk: RealmBertModel, builder: InputBuilder, rows: Sequence[Row]
) -> Iterator[tuple[Tensor, Tensor]]:
    """What goes into a trunk's last layer, in batches of like length: (rows, pieces, hidden), and where pieces are."""
    trunk.eval()
    for numbers in batches_of_like_length([len(row.ids) for row in rows], _PIECES_AT_ONCE):
        inputs = builder.pad([rows[number] for number in numbers])
        states = trunk(**inputs.for_trunk(), output_hidden_states=True, return_dict=True).hidden_states
        yield states[-2], inputs.attention_mask
    trunk.train()


def modern_name(key: str) -> str:
    """Name of a BERT's weight without the prefix, and without the names that TensorFlow gave layer norms."""
    name = key.removeprefix("bert.")
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


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
