"""What two runs learned goes into one small file, and comes back as the two networks it was."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from realm.artifacts import sha256_of_file
from realm.errors import ModelError
from realm.models.configuration import RealmConfig
from realm.openqa import default_model
from realm.openqa.model import RealmForOpenQA
from realm.training.embedder import EmbedderJob
from realm.training.embedder_recipe import EmbedderRecipe
from realm.training.packing import pack_runs
from realm.training.reader import ReaderJob, ReaderRecipe

DIMENSIONS = 12


@pytest.fixture(scope="module")
def runs(trunk: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of an embedder and a reader run, with weights that have moved away from their start."""
    folder = tmp_path_factory.mktemp("runs")
    sources = ("towns.jsonl",)
    jobs = {
        "embedder": EmbedderJob(
            EmbedderRecipe(str(trunk), sources, steps=1, data=str(data), dimensions=DIMENSIONS), folder
        ),
        "reader": ReaderJob(ReaderRecipe(str(trunk), sources, steps=1, data=str(data), max_span_width=5)),
    }
    for name, job in jobs.items():
        with torch.no_grad():
            for parameter in job.model.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.1 * torch.randn_like(parameter))
        job.save(folder / name / "model")
    return folder


@pytest.fixture
def public_trunk(trunk: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Make the tiny trunk the one that realm-mini stands on, installed as a package of data."""
    package = tmp_path / "packages" / "tiny_trunk_data"
    shutil.copytree(trunk, package / "model")
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setattr(default_model, "_TRUNK_PACKAGE", package.name)
    monkeypatch.setattr(default_model, "TRUNK_SHA256", sha256_of_file(package / "model" / "model.safetensors"))
    monkeypatch.setenv("REALM_CACHE", str(tmp_path / "cache"))
    return package / "model"


def assembled(packed: Path, monkeypatch: pytest.MonkeyPatch) -> RealmForOpenQA:
    """The model that is put together when `packed` is what the package ships."""
    monkeypatch.setattr(default_model.resources, "files", lambda package: packed)
    model: RealmForOpenQA = RealmForOpenQA.from_pretrained(default_model.default_model_folder())
    return model.eval()


def weights_of(run: Path) -> dict[str, Tensor]:
    return load_file(run / "model" / "model.safetensors")


@pytest.mark.usefixtures("public_trunk")
def test_packed_runs_give_both_networks_back_within_half_precision(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_runs(runs / "embedder", runs / "reader", tmp_path / "packed")
    model = assembled(tmp_path / "packed", monkeypatch)
    assert (model.config.retriever_proj_size, model.config.max_span_width) == (DIMENSIONS, 5)
    compared = 0
    for name, tower in (("embedder", model.embedder), ("reader", model.reader)):
        found = tower.state_dict()
        for key, value in weights_of(runs / name).items():
            if key.startswith("cls.predictions.") or (name == "reader" and key.startswith("realm.pooler.")):
                continue  # never used by this network
            torch.testing.assert_close(found[key], value, rtol=2**-11, atol=2**-24)
            compared += 1
    assert compared > 2 * 53


def test_frozen_weights_are_not_packed_and_the_others_are(public_trunk: Path, runs: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    size = pack_runs(runs / "embedder", runs / "reader", packed)
    weights = load_file(packed / "weights.safetensors")
    assert size == (packed / "weights.safetensors").stat().st_size
    assert {value.dtype for value in weights.values()} == {torch.float16}
    trunk = load_file(public_trunk / "model.safetensors")
    kept = {key.removeprefix("embedder.realm.") for key in weights if key.startswith("embedder.realm.")}
    # The pooler's bias is zero in both, and so need not be packed.
    assert kept & trunk.keys() == {"pooler.dense.weight"}
    assert {f"encoder.layer.2.attention.self.{part}.weight" for part in ("query", "key", "value")} <= kept
    assert not any(".cls.predictions." in key or key.startswith("reader.realm.pooler") for key in weights)


@pytest.mark.usefixtures("public_trunk")
def test_packing_twice_gives_the_same_bytes_and_their_digest(runs: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        pack_runs(runs / "embedder", runs / "reader", tmp_path / name)
    one, two = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two
    config = json.loads((tmp_path / "one" / "config.json").read_text())
    assert config["weights_sha256"] == hashlib.sha256(one).hexdigest()
    assert config["architectures"] == ["RealmForOpenQA"]


@pytest.mark.usefixtures("public_trunk")
def test_reader_may_come_from_a_run_that_trained_both_networks(runs: Path, tmp_path: Path) -> None:
    towers = {name: weights_of(runs / name) for name in ("embedder", "reader")}
    both = {f"{name}.{key}": value for name, weights in towers.items() for key, value in weights.items()}
    config = RealmConfig.from_pretrained(runs / "reader" / "model")
    config.architectures, config.reader_seq_len, config.separate_query_embedder = ["RealmForOpenQA"], 99, True
    config.save_pretrained(tmp_path / "finetuned" / "model")
    save_file(both, tmp_path / "finetuned" / "model" / "model.safetensors", metadata={"format": "pt"})
    for name, run in (("apart", runs / "reader"), ("together", tmp_path / "finetuned")):
        pack_runs(runs / "embedder", run, tmp_path / name)
    for file in ("weights.safetensors", "config.json"):
        assert (tmp_path / "apart" / file).read_bytes() == (tmp_path / "together" / file).read_bytes()
    with pytest.raises(ModelError, match="questions have an embedder of their own"):
        pack_runs(tmp_path / "finetuned", runs / "reader", tmp_path / "packed")


@pytest.mark.usefixtures("public_trunk")
def test_readers_are_averaged_by_share_and_the_embedder_is_left_alone(runs: Path, tmp_path: Path) -> None:
    later = tmp_path / "later" / "model"
    shutil.copytree(runs / "reader" / "model", later)
    moved = {key: value + 0.25 for key, value in weights_of(runs / "reader").items()}
    save_file(moved, later / "model.safetensors", metadata={"format": "pt"})
    pack_runs(runs / "embedder", later.parent, tmp_path / "packed", earlier_reader=runs / "reader", share=0.75)
    packed = load_file(tmp_path / "packed" / "weights.safetensors")
    compared = 0
    for key, value in weights_of(runs / "reader").items():
        if (found := packed.get(f"reader.{key}")) is not None:
            torch.testing.assert_close(found.float(), value + 0.75 * 0.25, rtol=2**-10, atol=2**-20)
            compared += 1
    assert compared > 50
    pack_runs(runs / "embedder", runs / "reader", tmp_path / "alone")
    alone = load_file(tmp_path / "alone" / "weights.safetensors")
    assert all(torch.equal(alone[key], packed[key]) for key in alone if key.startswith("embedder."))


@pytest.mark.usefixtures("public_trunk")
def test_what_ships_so_far_can_be_packed_again_and_averaged_with(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_runs(runs / "embedder", runs / "reader", tmp_path / "shipped")
    assembled(tmp_path / "shipped", monkeypatch)
    mini = Path("realm-mini")
    pack_runs(mini, runs / "reader", tmp_path / "again", earlier_reader=mini, share=0.7)
    shipped, again = (load_file(tmp_path / name / "weights.safetensors") for name in ("shipped", "again"))
    assert shipped.keys() == again.keys()
    for key, value in shipped.items():
        if key.startswith("embedder."):
            assert torch.equal(again[key], value), key
        else:
            torch.testing.assert_close(again[key], value, rtol=2**-10, atol=2**-20)


@pytest.mark.usefixtures("public_trunk")
def test_readers_of_different_sizes_are_not_averaged(runs: Path, trunk: Path, data: Path, tmp_path: Path) -> None:
    recipe = ReaderRecipe(str(trunk), ("towns.jsonl",), steps=1, data=str(data), extra_layers=2)
    ReaderJob(recipe).save(tmp_path / "deep" / "model")
    with pytest.raises(ModelError, match=r"cannot be averaged: \d+ weights differ"):
        pack_runs(runs / "embedder", runs / "reader", tmp_path / "packed", earlier_reader=tmp_path / "deep")


@pytest.mark.usefixtures("public_trunk")
def test_runs_with_different_numbers_of_layers_are_refused(runs: Path, trunk: Path, data: Path, tmp_path: Path) -> None:
    recipe = ReaderRecipe(str(trunk), ("towns.jsonl",), steps=1, data=str(data), extra_layers=2)
    ReaderJob(recipe).save(tmp_path / "deep" / "model")
    with pytest.raises(ModelError, match=r"differ in num_hidden_layers: \[3, 4\]"):
        pack_runs(runs / "embedder", tmp_path / "deep", tmp_path / "packed")
    assert not (tmp_path / "packed").exists()


@pytest.mark.usefixtures("public_trunk")
def test_run_without_a_result_is_refused(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"No trained model in .*unfinished: expected config\.json"):
        pack_runs(runs / "embedder", tmp_path / "unfinished", tmp_path / "packed")


@pytest.mark.usefixtures("public_trunk")
def test_runs_in_the_wrong_order_are_refused(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is not the result of `realm train embedder`"):
        pack_runs(runs / "reader", runs / "embedder", tmp_path / "packed")


@pytest.mark.usefixtures("public_trunk")
def test_weights_that_half_precision_cannot_hold_are_refused(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "reader", tmp_path / "loud")
    path = tmp_path / "loud" / "model" / "model.safetensors"
    weights = load_file(path)
    weights["qa_outputs.dense_output.weight"][0, 0] = 1e5
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"reader\.qa_outputs\.dense_output\.weight does not fit half precision"):
        pack_runs(runs / "embedder", tmp_path / "loud", tmp_path / "packed")
