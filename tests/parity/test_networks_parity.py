"""The four networks give what transformers 4.37.2 gave: outputs, losses, gradients, errors, stored files."""

from __future__ import annotations

import inspect
import json

import pytest
import torch
from comparison import compare_call, failures
from golden_cases import ATTENTIONS, GOLDENS, calls, case, case_names, load_model, shared_model
from safetensors.torch import load_file

from realm.models.configuration import RealmConfig

BIN_KINDS = ("embedder", "scorer", "encoder", "reader")


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize(("name", "call"), calls(openqa=False))
def test_a_call_gives_what_4_37_2_gave(name: str, call: str, attention: str) -> None:
    checks = compare_call(name, call, attention)
    assert checks
    assert not failures(checks), failures(checks)


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.int32])
def test_masks_of_any_type_give_what_integer_masks_give(dtype: torch.dtype) -> None:
    golden, model = case("embedder_base"), shared_model("embedder_base", "sdpa").eval()
    inputs = golden.part("mask_2d_eval", "inputs")
    inputs["attention_mask"] = inputs["attention_mask"].to(dtype)
    wanted = golden.tensors["mask_2d_eval/outputs/projected_score"]
    torch.testing.assert_close(model(**inputs).projected_score, wanted, atol=2e-5, rtol=0.0)


@pytest.mark.parametrize("name", case_names(openqa=False))
def test_every_stored_weight_arrives_unchanged(name: str) -> None:
    golden = case(name)
    stored = load_file(GOLDENS / golden.head["weights"] / "model.safetensors")
    found = load_model(golden, "eager").state_dict()
    moved = [key for key, value in stored.items() if key not in found or not torch.equal(found[key], value)]
    assert moved == []


@pytest.mark.parametrize("kind", BIN_KINDS)
def test_a_pytorch_model_bin_gives_the_same_weights_as_safetensors(kind: str) -> None:
    golden = case(f"{kind}_gelu")
    wanted = load_model(golden, "eager").state_dict()
    found = load_model(golden, "eager", "weights_bin").state_dict()
    assert found.keys() == wanted.keys()
    assert [key for key in wanted if not torch.equal(found[key], wanted[key])] == []


def test_unknown_keys_of_released_configurations_survive_loading() -> None:
    model = load_model(case("embedder_gelu"), "eager", "weights_bin")
    assert model.config.searcher_seq_len == 64


def test_a_second_embedder_given_at_loading_takes_the_place_of_the_stored_one() -> None:
    golden = case("scorer_own_gelu")
    other = load_model(case("embedder_gelu"), "eager")
    scorer = type(load_model(golden, "eager")).from_pretrained(GOLDENS / golden.head["weights"], query_embedder=other)
    assert scorer.query_embedder is other
    wanted = load_file(GOLDENS / golden.head["weights"] / "model.safetensors")
    assert torch.equal(scorer.embedder.cls.dense.weight, wanted["embedder.cls.dense.weight"])


def test_every_default_of_the_configuration_is_that_of_4_37_2() -> None:
    stored = json.loads((GOLDENS / "texts" / "configuration.json").read_text(encoding="utf-8"))["all"]
    config = RealmConfig()
    documented = {name: stored[name] for name in inspect.signature(RealmConfig).parameters if name in stored}
    assert len(documented) >= 24
    differing = {name for name, value in documented.items() if getattr(config, name) != value}
    # [PAD] is 0 in every released vocabulary; 4.37.2 says 1. Both mean row 0 here.
    assert differing <= {"pad_token_id"}
    assert RealmConfig(pad_token_id=stored["pad_token_id"]).padding_row == config.padding_row == 0


def test_the_positional_order_of_the_configuration_is_that_of_4_37_2() -> None:
    stored = json.loads((GOLDENS / "texts" / "configuration.json").read_text(encoding="utf-8"))["order"]
    assert list(inspect.signature(RealmConfig).parameters)[: len(stored)] == stored
