"""The table of names: rules written out by hand, both ways, for every network and flavour."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from realm.errors import UsageError
from realm.interop.google_names import (
    Flavour,
    Target,
    find_row,
    is_optimiser_slot,
    table,
    to_tf_name,
    to_torch_name,
    weights_without_variable,
)

TARGETS: tuple[Target, ...] = get_args(Target)
M = "module/module/module"
EXAMPLES: dict[tuple[Target, Flavour], dict[str, str]] = {
    ("embedder", "pretrained"): {
        f"{M}/bert/embeddings/word_embeddings": "realm.embeddings.word_embeddings.weight",
        f"{M}/bert/encoder/layer_11/attention/self/key/kernel": "realm.encoder.layer.11.attention.self.key.weight",
        f"{M}/cls/predictions/output_bias": "cls.predictions.bias",
        "module/module/dense/kernel": "cls.dense.weight",
        "module/module/LayerNorm/gamma": "cls.LayerNorm.weight",
    },
    ("embedder", "finetuned"): {
        f"{M}/module/bert/pooler/dense/bias": "realm.pooler.dense.bias",
        f"{M}/module/cls/predictions/transform/dense/kernel": "cls.predictions.transform.dense.weight",
        f"{M}/dense/bias": "cls.dense.bias",
        f"{M}/LayerNorm/beta": "cls.LayerNorm.bias",
    },
    ("scorer", "pretrained"): {"module/module/dense/kernel": "embedder.cls.dense.weight"},
    ("scorer", "finetuned"): {
        f"{M}/module/bert/embeddings/LayerNorm/beta": "embedder.realm.embeddings.LayerNorm.bias",
    },
    ("encoder", "pretrained"): {
        "bert/encoder/layer_0/intermediate/dense/kernel": "realm.encoder.layer.0.intermediate.dense.weight",
        "cls/predictions/transform/LayerNorm/gamma": "cls.predictions.transform.LayerNorm.weight",
    },
    ("reader", "finetuned"): {
        "reader/module/bert/encoder/layer_5/output/LayerNorm/beta": "realm.encoder.layer.5.output.LayerNorm.bias",
        "reader/module/cls/predictions/output_bias": "cls.predictions.bias",
        "reader/dense/kernel": "qa_outputs.dense_intermediate.weight",
        "reader/dense_1/kernel": "qa_outputs.dense_output.weight",
        "reader/layer_normalization/beta": "qa_outputs.layer_normalization.bias",
    },
    ("openqa", "pretrained"): {
        "module/module/dense/bias": "embedder.cls.dense.bias",
        "bert/embeddings/token_type_embeddings": "reader.realm.embeddings.token_type_embeddings.weight",
        "cls/predictions/output_bias": "reader.cls.predictions.bias",
        "block_emb": "block_emb",
    },
    ("openqa", "finetuned"): {
        f"{M}/dense/kernel": "embedder.cls.dense.weight",
        "reader/module/bert/pooler/dense/kernel": "reader.realm.pooler.dense.weight",
        "reader/dense_1/bias": "reader.qa_outputs.dense_output.bias",
        "block_emb": "block_emb",
    },
}


@pytest.mark.parametrize(("target", "flavour"), EXAMPLES)
def test_names_written_out_by_hand_translate_both_ways(target: Target, flavour: Flavour) -> None:
    for theirs, ours in EXAMPLES[target, flavour].items():
        transposed = theirs.endswith("/kernel")
        assert to_torch_name(theirs, target) == (ours, transposed)
        assert to_tf_name(ours, target, flavour) == (theirs, transposed)


def flavours(target: Target) -> list[Flavour]:
    return sorted({row.flavour for row in table(target)})


@pytest.mark.parametrize("target", TARGETS)
def test_every_line_goes_there_and_back(target: Target) -> None:
    for row in table(target):
        for layer in ("0", "7", "23") if "{i}" in row.ours else ("",):
            theirs, ours = row.theirs.replace("{i}", layer), row.ours.replace("{i}", layer)
            assert to_torch_name(theirs, target) == (ours, row.transposed)
            assert to_tf_name(ours, target, row.flavour) == (theirs, row.transposed)


@pytest.mark.parametrize("target", TARGETS)
def test_no_two_lines_of_a_flavour_share_a_name(target: Target) -> None:
    for flavour in flavours(target):
        lines = [row for row in table(target) if row.flavour == flavour]
        assert len({row.theirs for row in lines}) == len({row.ours for row in lines}) == len(lines)


def by_rule(theirs: str) -> tuple[str, bool]:
    """The rules for the part after the prefix, as transformers 4.37.2 states them."""
    ours = re.sub(r"layer_(\d+)", r"layer/\1", theirs).replace("/", ".")
    ours = re.sub(r"_embeddings$", "_embeddings.weight", ours)
    ours = re.sub(r"\.gamma$", ".weight", ours)
    ours = re.sub(r"\.(beta|output_bias)$", ".bias", ours)
    return re.sub(r"\.kernel$", ".weight", ours), theirs.endswith("kernel")


def test_the_encoder_is_what_the_rules_give() -> None:
    for row in table("encoder"):
        theirs = row.theirs.replace("{i}", "3")
        ours, transposed = by_rule(theirs.replace("bert/", "realm/"))
        assert to_torch_name(theirs, "encoder") == (ours, transposed)


@pytest.mark.parametrize(
    ("target", "flavour", "weights"),
    [  # state dicts with 12 layers, without aliases and the unused decoders
        ("embedder", "pretrained", 208),
        ("embedder", "finetuned", 208),
        ("scorer", "pretrained", 208),
        ("encoder", "pretrained", 204),
        ("reader", "finetuned", 210),
        ("openqa", "finetuned", 419),
        ("openqa", "pretrained", 413),
    ],
)
def test_a_network_of_twelve_layers_has_all_its_weights(target: Target, flavour: Flavour, weights: int) -> None:
    lines = [row for row in table(target) if row.flavour == flavour]
    assert sum(12 if "{i}" in row.ours else 1 for row in lines) == weights
    assert not {row.ours for row in lines} & set(weights_without_variable(target))


SLOTS = ["adam_m", "adam_v", "AdamWeightDecayOptimizer", "AdamWeightDecayOptimizer_1"]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("slot", SLOTS)
def test_every_slot_of_the_optimiser_is_skipped(target: Target, slot: str) -> None:
    for row in table(target):
        for name in (f"{row.theirs}/{slot}".replace("{i}", "2"), f"{slot}/{row.theirs}".replace("{i}", "2")):
            assert is_optimiser_slot(name)
            assert to_torch_name(name, target) is None
        assert not is_optimiser_slot(row.theirs)
    assert is_optimiser_slot("global_step")
    assert to_torch_name("global_step", target) is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        "bert",
        "bert/",
        "bert/encoder/layer_{i}/output/dense/kernel",
        "bert/encoder/layer_/output/dense/kernel",
        "bert/encoder/layer_01/output/dense/kernel",
        "bert/encoder/layer_99999/output/dense/kernel",
        "bert/encoder/layer_-1/output/dense/kernel",
        "bert/encoder/layer_1/output/dense/weight",
        "bert/encoder/layer_1/layer_2/output/dense/kernel",
        "BERT/pooler/dense/kernel",
        "cls/seq_relationship/output_weights",
        "cls/predictions/decoder/kernel",
        "module/bert/pooler/dense/kernel",
        "reader/dense_2/kernel",
        "xreader/dense/kernel",
    ],
)
def test_any_other_name_is_not_in_the_table(name: str) -> None:
    assert all(find_row(name, target) is None for target in TARGETS)


@pytest.mark.parametrize(
    "name",
    ["cls.predictions.decoder.weight", "cls.predictions.decoder.bias", "realm.embeddings.position_ids", "{i}", ""],
)
def test_a_weight_without_variable_has_no_name(name: str) -> None:
    assert all(to_tf_name(name, target, flavour) is None for target in TARGETS for flavour in flavours(target))


def test_the_reader_takes_nothing_that_is_not_of_a_reader() -> None:
    assert all(row.theirs.startswith("reader/") for row in table("reader"))


def test_an_unknown_network_or_flavour_is_the_callers_mistake() -> None:
    with pytest.raises(
        UsageError, match="no network 'bert'; expected one of embedder, scorer, encoder, reader, openqa"
    ):
        table("bert")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no 'finetuned' checkpoint of encoder; expected pretrained"):
        to_tf_name("realm.pooler.dense.bias", "encoder", "finetuned")
    with pytest.raises(UsageError, match="no 'pretrained' checkpoint of reader; expected finetuned"):
        to_tf_name("realm.pooler.dense.bias", "reader", "pretrained")
