"""State dicts out of Google's checkpoints and back, for every network, with tiny shapes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from realm.errors import ModelError, SourceError, UsageError
from realm.interop.google_checkpoint import load_google_checkpoint, save_google_checkpoint
from realm.interop.google_names import Flavour, Target
from realm.interop.tensorflow_bundle import TensorBundle

HIDDEN, WIDE, VOCABULARY, PROJECTION, SPAN = 4, 6, 9, 3, 5
NORM = {"weight": (HIDDEN,), "bias": (HIDDEN,)}
SQUARE = {"weight": (HIDDEN, HIDDEN), "bias": (HIDDEN,)}
Shapes = dict[str, tuple[int, ...]]


def under(prefix: str, shapes: Shapes) -> Shapes:
    return {f"{prefix}.{name}": shape for name, shape in shapes.items()}


def trunk() -> Shapes:
    layer = {
        **{
            key: shape
            for name in ("query", "key", "value")
            for key, shape in under(f"attention.self.{name}", SQUARE).items()
        },
        **under("attention.output.dense", SQUARE),
        **under("attention.output.LayerNorm", NORM),
        **under("intermediate.dense", {"weight": (WIDE, HIDDEN), "bias": (WIDE,)}),
        **under("output.dense", {"weight": (HIDDEN, WIDE), "bias": (HIDDEN,)}),
        **under("output.LayerNorm", NORM),
    }
    return {
        "embeddings.word_embeddings.weight": (VOCABULARY, HIDDEN),
        "embeddings.position_embeddings.weight": (7, HIDDEN),
        "embeddings.token_type_embeddings.weight": (2, HIDDEN),
        **under("embeddings.LayerNorm", NORM),
        **under("encoder.layer.0", layer),
        **under("encoder.layer.1", layer),
        **under("pooler.dense", SQUARE),
    }


MLM: Shapes = {
    "predictions.bias": (VOCABULARY,),
    **under("predictions.transform.dense", SQUARE),
    **under("predictions.transform.LayerNorm", NORM),
}
ENCODER = {**under("realm", trunk()), **under("cls", MLM)}
EMBEDDER = {
    **ENCODER,
    **under("cls.dense", {"weight": (PROJECTION, HIDDEN), "bias": (PROJECTION,)}),
    **under("cls.LayerNorm", {"weight": (PROJECTION,), "bias": (PROJECTION,)}),
}
READER = {
    **ENCODER,
    **under("qa_outputs.dense_intermediate", {"weight": (2 * SPAN, HIDDEN), "bias": (2 * SPAN,)}),
    **under("qa_outputs.dense_output", {"weight": (1, SPAN), "bias": (1,)}),
    **under("qa_outputs.layer_normalization", {"weight": (SPAN,), "bias": (SPAN,)}),
}
OPENQA = {**under("embedder", EMBEDDER), **under("reader", READER), "block_emb": (8, PROJECTION)}
SHAPES: dict[Target, Shapes] = {
    "embedder": EMBEDDER,
    "scorer": under("embedder", EMBEDDER),
    "encoder": ENCODER,
    "reader": READER,
    "openqa": OPENQA,
}
WAYS: list[tuple[Target, Flavour]] = [
    ("embedder", "pretrained"),
    ("embedder", "finetuned"),
    ("scorer", "pretrained"),
    ("scorer", "finetuned"),
    ("encoder", "pretrained"),
    ("reader", "finetuned"),
    ("openqa", "finetuned"),
]


def weights(target: Target) -> dict[str, Tensor]:
    return {name: torch.randn(shape) for name, shape in SHAPES[target].items()}


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == torch.float32
        assert torch.equal(found[name], tensor.float()), name


@pytest.mark.parametrize(("target", "flavour"), WAYS)
def test_every_network_comes_back_and_what_has_no_variable_is_named(
    tmp_path: Path, target: Target, flavour: Flavour
) -> None:
    state = weights(target)
    aliases = {
        "cls.predictions.decoder.weight": torch.randn(VOCABULARY, HIDDEN),
        "realm.embeddings.position_ids": torch.arange(7)[None],
    }
    assert save_google_checkpoint(state | aliases, tmp_path / "m.ckpt-3", target, flavour) == tuple(aliases)
    assert_equal(load_google_checkpoint(tmp_path / "m.ckpt-3", target), state)


def test_openqa_is_put_together_from_a_pretrained_embedder_and_encoder(tmp_path: Path) -> None:
    state = weights("openqa")
    left_out = save_google_checkpoint(state, tmp_path / "m", "openqa", "pretrained")
    assert set(left_out) == {name for name in state if "qa_outputs" in name}
    assert_equal(
        load_google_checkpoint(tmp_path / "m", "openqa"),
        {name: tensor for name, tensor in state.items() if name not in left_out},
    )
    encoder = load_google_checkpoint(tmp_path / "m", "encoder")
    assert_equal(encoder, {name: state[f"reader.{name}"] for name in encoder})


def test_each_part_of_the_fine_tuned_model_is_loaded_on_its_own(tmp_path: Path) -> None:
    state = weights("openqa")
    save_google_checkpoint(state, tmp_path / "m", "openqa", "finetuned")
    for target, prefix in (("embedder", "embedder."), ("reader", "reader."), ("scorer", "")):
        found = load_google_checkpoint(tmp_path / "m", target)  # type: ignore[arg-type]
        assert_equal(found, {name: state[prefix + name] for name in SHAPES[target]})  # type: ignore[index]


def google_variables(prefix: str) -> dict[str, np.ndarray[Any, Any]]:
    """A trunk as TensorFlow has it, built from TensorFlow's side: kernels are (in, out)."""
    random = np.random.default_rng(1)
    shapes: Shapes = {
        "embeddings/word_embeddings": (9, 4),
        "embeddings/position_embeddings": (7, 4),
        "embeddings/token_type_embeddings": (2, 4),
        "embeddings/LayerNorm/gamma": (4,),
        "embeddings/LayerNorm/beta": (4,),
        "pooler/dense/kernel": (4, 4),
        "pooler/dense/bias": (4,),
    }
    for layer in ("encoder/layer_0", "encoder/layer_1"):
        for dense, size in (
            ("attention/self/query", (4, 4)),
            ("attention/self/key", (4, 4)),
            ("attention/self/value", (4, 4)),
            ("attention/output/dense", (4, 4)),
            ("intermediate/dense", (4, 6)),
            ("output/dense", (6, 4)),
        ):
            shapes |= {f"{layer}/{dense}/kernel": size, f"{layer}/{dense}/bias": size[1:]}
        for norm in ("attention/output/LayerNorm", "output/LayerNorm"):
            shapes |= {f"{layer}/{norm}/gamma": (4,), f"{layer}/{norm}/beta": (4,)}
    return {f"{prefix}/{name}": random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def test_a_checkpoint_by_a_second_writer_is_loaded_with_its_kernels_turned(
    tmp_path: Path, by_hand: Callable[..., None]
) -> None:
    random = np.random.default_rng(2)
    theirs = google_variables("reader/module/bert") | {
        "reader/dense/kernel": random.standard_normal((4, 10)).astype(np.float32),
        "reader/dense/bias": random.standard_normal(10).astype(np.float32),
        "reader/dense_1/kernel": random.standard_normal((5, 1)).astype(np.float32),
        "reader/dense_1/bias": random.standard_normal(1).astype(np.float32),
        "reader/layer_normalization/gamma": random.standard_normal(5).astype(np.float32),
        "reader/layer_normalization/beta": random.standard_normal(5).astype(np.float32),
    }
    slots = {f"{name}/{slot}": array for name, array in theirs.items() for slot in ("adam_m", "adam_v")}
    by_hand(tmp_path / "m", theirs | slots | {"global_step": np.array(5)})
    found = load_google_checkpoint(tmp_path / "m", "reader")
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == {
        name: shape for name, shape in READER.items() if not name.startswith("cls.")
    }
    bert = "reader/module/bert"
    for ours, name in {
        "realm.encoder.layer.1.intermediate.dense.weight": f"{bert}/encoder/layer_1/intermediate/dense/kernel",
        "realm.encoder.layer.0.attention.self.query.weight": f"{bert}/encoder/layer_0/attention/self/query/kernel",
        "qa_outputs.dense_intermediate.weight": "reader/dense/kernel",
        "qa_outputs.dense_output.weight": "reader/dense_1/kernel",
    }.items():
        assert np.array_equal(found[ours].numpy(), theirs[name].T)
    for ours, name in {
        "realm.embeddings.word_embeddings.weight": f"{bert}/embeddings/word_embeddings",
        "realm.encoder.layer.1.output.LayerNorm.weight": f"{bert}/encoder/layer_1/output/LayerNorm/gamma",
        "qa_outputs.layer_normalization.bias": "reader/layer_normalization/beta",
    }.items():
        assert np.array_equal(found[ours].numpy(), theirs[name])


def test_loaded_weights_are_contiguous_and_may_be_changed(tmp_path: Path) -> None:
    save_google_checkpoint(weights("encoder"), tmp_path / "m", "encoder", "pretrained")
    for tensor in load_google_checkpoint(tmp_path / "m", "encoder").values():
        assert tensor.is_contiguous()
        tensor += 1


def test_what_is_not_filled_and_not_used_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_google_checkpoint(weights("openqa"), tmp_path / "m", "openqa", "finetuned")
    with caplog.at_level(logging.INFO, "realm.interop.google_checkpoint"):
        load_google_checkpoint(tmp_path / "m", "reader")
    assert "not filled: cls.predictions.decoder.weight\n" in caplog.text
    assert "not used: block_emb, module/module/module/LayerNorm/beta, " in caplog.text


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_any_precision_are_saved_in_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    state = {name: tensor.to(dtype).requires_grad_() for name, tensor in weights("encoder").items()}
    save_google_checkpoint(state, tmp_path / "m", "encoder", "pretrained")
    assert {variable.dtype for variable in TensorBundle(tmp_path / "m").variables.values()} == {"float32"}
    assert_equal(load_google_checkpoint(tmp_path / "m", "encoder"), state)


def test_a_shared_query_embedder_is_left_out_and_one_of_its_own_is_refused(tmp_path: Path) -> None:
    state = weights("scorer")
    shared = {f"query_{name}": tensor for name, tensor in state.items()}
    assert save_google_checkpoint(state | shared, tmp_path / "m", "scorer", "pretrained") == tuple(shared)
    own = shared | {"query_embedder.cls.dense.bias": torch.zeros(PROJECTION)}
    with pytest.raises(ModelError, match=r"query_embedder\.cls\.dense\.bias is not the weight of the other"):
        save_google_checkpoint(state | own, tmp_path / "other", "scorer", "pretrained")
    assert not (tmp_path / "other.index").exists()


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"of 50 weights none belongs to openqa: realm\.embeddings\.word_embeddings"):
        save_google_checkpoint(weights("reader"), tmp_path / "m", "openqa", "finetuned")
    with pytest.raises(UsageError, match="no 'finetuned' checkpoint of encoder"):
        save_google_checkpoint(weights("encoder"), tmp_path / "m", "encoder", "finetuned")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_weight_is_an_error_that_names_its_variable(tmp_path: Path) -> None:
    save_google_checkpoint(weights("encoder"), tmp_path / "m", "encoder", "pretrained")
    data = bytearray((tmp_path / "m.data-00000-of-00001").read_bytes())
    data[-1] ^= 1
    (tmp_path / "m.data-00000-of-00001").write_bytes(data)
    with pytest.raises(SourceError, match=r"the bytes of cls/.* do not match their checksum"):
        load_google_checkpoint(tmp_path / "m", "encoder")


def test_a_missing_checkpoint_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"absent\.index is missing"):
        load_google_checkpoint(tmp_path / "absent", "encoder")
