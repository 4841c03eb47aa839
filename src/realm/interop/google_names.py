"""The two-way table between the variables of Google's REALM and ORQA and the weights of our networks.

    bert/encoder/layer_3/output/dense/kernel     realm.encoder.layer.3.output.dense.weight, transposed
    reader/layer_normalization/gamma             reader.qa_outputs.layer_normalization.weight

A line is a prefix and a leaf. The prefix depends on the network (target) and on the checkpoint (flavour): a
hub module as pre-trained, or a whole model as fine-tuned. Knows no tensors.

Source: the name map of transformers 4.37.2, which the released conversions were made with.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal, NamedTuple, TypeAlias, get_args

from realm.errors import UsageError

Target: TypeAlias = Literal["embedder", "scorer", "encoder", "reader", "openqa"]
Flavour: TypeAlias = Literal["pretrained", "finetuned"]

_OPTIMISER_SCOPES: Final = frozenset(
    {"adam_m", "adam_v", "AdamWeightDecayOptimizer", "AdamWeightDecayOptimizer_1", "global_step"}
)

# Leaves: theirs, ours, transposed. A kernel is (in, out) there and (out, in) here.
_Leaves: TypeAlias = tuple[tuple[str, str, bool], ...]


def _under(theirs: str, ours: str, leaves: _Leaves) -> _Leaves:
    return tuple((f"{theirs}/{leaf}", f"{ours}.{weight}", turned) for leaf, weight, turned in leaves)


_DENSE: Final[_Leaves] = (("kernel", "weight", True), ("bias", "bias", False))
_NORM: Final[_Leaves] = (("gamma", "weight", False), ("beta", "bias", False))
_LAYER: Final[_Leaves] = (
    *_under("attention/self/query", "attention.self.query", _DENSE),
    *_under("attention/self/key", "attention.self.key", _DENSE),
    *_under("attention/self/value", "attention.self.value", _DENSE),
    *_under("attention/output/dense", "attention.output.dense", _DENSE),
    *_under("attention/output/LayerNorm", "attention.output.LayerNorm", _NORM),
    *_under("intermediate/dense", "intermediate.dense", _DENSE),
    *_under("output/dense", "output.dense", _DENSE),
    *_under("output/LayerNorm", "output.LayerNorm", _NORM),
)
_TRUNK: Final[_Leaves] = (
    ("embeddings/word_embeddings", "embeddings.word_embeddings.weight", False),
    ("embeddings/position_embeddings", "embeddings.position_embeddings.weight", False),
    ("embeddings/token_type_embeddings", "embeddings.token_type_embeddings.weight", False),
    *_under("embeddings/LayerNorm", "embeddings.LayerNorm", _NORM),
    *_under("encoder/layer_{i}", "encoder.layer.{i}", _LAYER),
)
_POOLER: Final[_Leaves] = _under("pooler/dense", "pooler.dense", _DENSE)
_MLM: Final[_Leaves] = (
    ("predictions/output_bias", "predictions.bias", False),
    *_under("predictions/transform/dense", "predictions.transform.dense", _DENSE),
    *_under("predictions/transform/LayerNorm", "predictions.transform.LayerNorm", _NORM),
)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table; `{i}` stands for the number of a layer.

    Attributes:
        theirs: Name of the variable.
        ours: Name of the weight.
        transposed: Whether one is the other transposed.
        part: What of the target it belongs to: "embedder", "encoder", "reader" or "block_emb".
        flavour: The checkpoints that have it.
        needed: Whether the network's result depends on it.
    """

    theirs: str
    ours: str
    transposed: bool
    part: str
    flavour: Flavour
    needed: bool


class TorchName(NamedTuple):
    """A weight of ours, and whether TensorFlow has it transposed."""

    name: str
    transposed: bool


class GoogleName(NamedTuple):
    """A variable of Google's, and whether we have it transposed."""

    name: str
    transposed: bool


# Blocks of lines: part, flavour, their prefix, our prefix, leaves, whether the result depends on them.
_Blocks: TypeAlias = tuple[tuple[str, Flavour, str, str, _Leaves, bool], ...]


def _embedder(flavour: Flavour, root: str) -> _Blocks:
    return (
        ("embedder", flavour, f"{root}/module/bert", "realm", _TRUNK + _POOLER, True),
        ("embedder", flavour, f"{root}/module/cls", "cls", _MLM, False),
        ("embedder", flavour, f"{root}/dense", "cls.dense", _DENSE, True),
        ("embedder", flavour, f"{root}/LayerNorm", "cls.LayerNorm", _NORM, True),
    )


_EMBEDDER: Final = (
    *_embedder("pretrained", "module/module"),
    *_embedder("finetuned", "module/module/module"),
)
_ENCODER: Final[_Blocks] = (
    ("encoder", "pretrained", "bert", "realm", _TRUNK, True),
    ("encoder", "pretrained", "bert", "realm", _POOLER, False),
    ("encoder", "pretrained", "cls", "cls", _MLM, True),
)
_READER: Final[_Blocks] = (
    ("reader", "finetuned", "reader/module/bert", "realm", _TRUNK, True),
    ("reader", "finetuned", "reader/module/bert", "realm", _POOLER, False),
    ("reader", "finetuned", "reader/module/cls", "cls", _MLM, False),
    ("reader", "finetuned", "reader/dense", "qa_outputs.dense_intermediate", _DENSE, True),
    ("reader", "finetuned", "reader/dense_1", "qa_outputs.dense_output", _DENSE, True),
    ("reader", "finetuned", "reader/layer_normalization", "qa_outputs.layer_normalization", _NORM, True),
)
# Before fine-tuning, the reader of the whole model is the pre-trained encoder.
_UNTRAINED_READER: Final[_Blocks] = (
    ("reader", "pretrained", "bert", "realm", _TRUNK, True),
    ("reader", "pretrained", "bert", "realm", _POOLER, False),
    ("reader", "pretrained", "cls", "cls", _MLM, False),
)
_BLOCK_EMB: Final = tuple(
    Row("block_emb", "block_emb", False, "block_emb", flavour, True) for flavour in get_args(Flavour)
)
_DECODER: Final = "cls.predictions.decoder.weight"


def _rows(blocks: _Blocks, prefix: str = "") -> tuple[Row, ...]:
    return tuple(
        Row(theirs, prefix + ours, turned, part, flavour, needed)
        for part, flavour, their_prefix, our_prefix, leaves, needed in blocks
        for theirs, ours, turned in _under(their_prefix, our_prefix, leaves)
    )


_TABLE: Final[dict[str, tuple[Row, ...]]] = {
    "embedder": _rows(_EMBEDDER),
    "scorer": _rows(_EMBEDDER, "embedder."),
    "encoder": _rows(_ENCODER),
    "reader": _rows(_READER),
    "openqa": _rows(_EMBEDDER, "embedder.") + _rows(_READER + _UNTRAINED_READER, "reader.") + _BLOCK_EMB,
}
# Weights for which there is no variable: an output matrix that nothing uses. In the encoder it is the word
# embeddings.
_UNNAMED: Final[dict[str, dict[str, str]]] = {
    "embedder": {_DECODER: "embedder"},
    "scorer": {f"embedder.{_DECODER}": "embedder"},
    "encoder": {},
    "reader": {_DECODER: "reader"},
    "openqa": {f"embedder.{_DECODER}": "embedder", f"reader.{_DECODER}": "reader"},
}


def table(target: Target) -> tuple[Row, ...]:
    """Every line for a network.

    Raises:
        UsageError: There is no such network.
    """
    if target not in _TABLE:
        raise UsageError(f"there is no network {target!r}; expected one of {', '.join(_TABLE)}")
    return _TABLE[target]


def weights_without_variable(target: Target) -> dict[str, str]:
    """Weights of a network that no checkpoint of Google's holds, and the part each belongs to."""
    return _UNNAMED[target]


def is_optimiser_slot(tf_name: str) -> bool:
    """Whether a variable belongs to the optimiser, or counts steps."""
    return not _OPTIMISER_SCOPES.isdisjoint(tf_name.split("/"))


def find_row(tf_name: str, target: Target) -> tuple[Row, str] | None:
    """The line of a variable, and the number of its layer or ""; None if it is not in the table."""
    pattern, layer = _pattern(tf_name, "/layer_{}/")
    row = _by_name(target, None).get(pattern)
    return None if row is None else (row, layer)


def to_torch_name(tf_name: str, target: Target) -> TorchName | None:
    """The weight of `target` that a variable holds; None for an optimiser's slot or anything else not in the
    table.

    Raises:
        UsageError: There is no such network.
    """
    found = find_row(tf_name, target)
    if found is None:
        return None
    row, layer = found
    return TorchName(row.ours.replace("{i}", layer), row.transposed)


def to_tf_name(torch_name: str, target: Target, flavour: Flavour) -> GoogleName | None:
    """The variable that holds a weight of `target` in a checkpoint of this flavour; None if none does.

    Raises:
        UsageError: There is no such network, or no checkpoint of it of that flavour.
    """
    flavours = sorted({row.flavour for row in table(target)})
    if flavour not in flavours:
        raise UsageError(f"there is no {flavour!r} checkpoint of {target}; expected {' or '.join(flavours)}")
    pattern, layer = _pattern(torch_name, ".layer.{}.")
    row = _by_name(target, flavour).get(pattern)
    return None if row is None else GoogleName(row.theirs.replace("{i}", layer), row.transposed)


def _pattern(name: str, scope: str) -> tuple[str, str]:
    """A name with `{i}` for the number of its layer, and the number. A name with `{` in it matches none."""
    if "{" in name:
        return "", ""
    before, after = scope.split("{}")
    match = re.search(f"{re.escape(before)}(0|[1-9][0-9]{{0,3}}){re.escape(after)}", name)
    if match is None:
        return name, ""
    return f"{name[: match.start(1)]}{{i}}{name[match.end(1) :]}", match[1]


@cache
def _by_name(target: Target, flavour: Flavour | None) -> dict[str, Row]:
    """The table by name of the variable; or, for one flavour, by name of the weight."""
    if flavour is None:
        return {row.theirs: row for row in table(target)}
    return {row.ours: row for row in table(target) if row.flavour == flavour}
