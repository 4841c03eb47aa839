"""`realm train embedder`, `reader` and `pack`, from recipe files to one small file, through the command line."""

from __future__ import annotations

import json
import re
import shutil
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from tiny_trunk import write_lines

from realm.artifacts import sha256_of_file
from realm.cli import training
from realm.cli.main import main
from realm.models.embedder import RealmEmbedder
from realm.models.reader import RealmReader
from realm.openqa import default_model
from realm.training.reader import ReaderJob, ReaderRecipe
from realm.training.recipe import as_toml, load_recipe

pytest.importorskip("accelerate", reason="training needs the extra `train`")

RECIPES = {
    "embedder": 'documents = ["documents.jsonl"]\nquestions = ["questions.jsonl"]\ndimensions = 12\nbatch_pairs = 5\n',
    "reader": "max_span_width = 5\nbatch_questions = 4\nmicro_rows = 3\n",
}

Realm = Callable[..., int]


@pytest.fixture
def realm(monkeypatch: pytest.MonkeyPatch) -> Realm:
    """Run the command line with some arguments, and give its exit code."""

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["realm", *map(str, arguments)])
        return main()

    return run


def write_recipe(folder: Path, kind: str, trunk: Path, data: Path) -> Path:
    path = folder / f"{kind}.toml"
    common = (
        f'trunk = "{trunk}"\ndata = "{data}"\nsources = ["towns.jsonl;keep_aside=5"]\nsteps = 3\nwarmup_steps = 1\n'
    )
    path.write_text(common + RECIPES[kind], encoding="utf-8")
    return path


@pytest.mark.parametrize(("kind", "model_class"), [("embedder", RealmEmbedder), ("reader", RealmReader)])
def test_train_leaves_recipe_log_checkpoint_and_model(
    realm: Realm, kind: str, model_class: type[RealmEmbedder | RealmReader], trunk: Path, data: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "run"
    recipe = write_recipe(tmp_path, kind, trunk, data)
    assert realm("train", kind, recipe, "--out", out, "--set", "steps=2", "--set", "seed=4") == 0
    assert f"{out}: done after 2 steps; the result is in {out / 'model'}" in capsys.readouterr().out.replace("\n", "")
    assert {path.name for path in out.iterdir()} - {"states"} == {
        "checkpoint", "finished.json", "log.jsonl", "model", "recipe.toml", "tensorboard",
    }  # fmt: skip
    assert (out / "states").exists() == (kind == "embedder")
    saved = tomllib.loads((out / "recipe.toml").read_text())
    assert (saved["steps"], saved["seed"], saved["trunk"], saved["learning_rate"] > 0) == (2, 4, str(trunk), True)
    (line,) = (out / "log.jsonl").read_text().splitlines()
    assert {"step", "loss", "gradient_norm", "seconds_per_step"} <= json.loads(line).keys()
    model = model_class.from_pretrained(out / "model")
    trained = load_file(out / "checkpoint" / "state.safetensors")
    assert float(trained["step.realm.encoder.layer.2.output.dense.bias"]) == 2
    for name, value in trained.items():
        if name.startswith("weight."):
            assert torch.equal(model.get_parameter(name.removeprefix("weight.")), value)


def test_saved_recipe_of_a_run_trains_the_same_again(realm: Realm, trunk: Path, data: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, "reader", trunk, data)
    assert realm("train", "reader", recipe, "--out", tmp_path / "one") == 0
    assert realm("train", "reader", tmp_path / "one" / "recipe.toml", "--out", tmp_path / "two") == 0
    one, two = (sha256_of_file(tmp_path / run / "checkpoint" / "state.safetensors") for run in ("one", "two"))
    assert one == two
    assert as_toml(load_recipe(ReaderRecipe, tmp_path / "two" / "recipe.toml")) == (
        tmp_path / "one" / "recipe.toml"
    ).read_text(encoding="utf-8")


def test_embedder_and_reader_runs_are_packed(
    realm: Realm, trunk: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    package = tmp_path / "packages" / "tiny_trunk_of_command"
    shutil.copytree(trunk, package / "model")
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setattr(default_model, "_TRUNK_PACKAGE", package.name)
    monkeypatch.setattr(default_model, "TRUNK_SHA256", sha256_of_file(package / "model" / "model.safetensors"))
    for kind in ("embedder", "reader"):
        recipe = write_recipe(tmp_path, kind, trunk, data)
        # The name `minilm` stands for the installed package.
        assert realm("train", kind, recipe, "--out", tmp_path / kind, "--set", "trunk=minilm") == 0
    packed = tmp_path / "packed"
    assert realm("train", "pack", tmp_path / "embedder", tmp_path / "reader", "--out", packed) == 0
    assert f"{packed}: 0.1 MB" in capsys.readouterr().out.replace("\n", "")
    config = json.loads((packed / "config.json").read_text())
    assert config["weights_sha256"] == sha256_of_file(packed / "weights.safetensors")
    with safe_open(packed / "weights.safetensors", "pt") as weights:
        towers = {key.split(".")[0] for key in weights.keys()}  # noqa: SIM118
    assert towers == {"embedder", "reader"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["reader", "mini-readr"], "neither a file nor one of"),
        (["reader", "RECIPE", "--set", "stepz=3"], "unknown key 'stepz'; did you mean 'steps'?"),
        (["reader", "RECIPE", "--set", "trunk=/nowhere"], "No trunk in /nowhere"),
        (["reader", "RECIPE", "--set", "sources=[]"], "sources is empty"),
        (["reader", "RECIPE", "--set", "sources=['none.jsonl']"], "none.jsonl: there is no such file"),
        (["reader", "RECIPE", "--set", "steps=0"], "--set: steps must be at least 1; found 0"),
        (["reader", "RECIPE", "--set", "sources=['a', 7]"], "--set: sources[1] must be str; found 7"),
        (["reader", "RECIPE", "--set", "start_from=/nowhere"], "No trained model in /nowhere"),
        (["embedder", "RECIPE"], "unknown key 'max_span_width'"),
        (["pack", "RECIPE", "RECIPE"], "No trained model in"),
    ],
)
def test_mistake_of_the_caller_is_one_line_and_exit_code_2(
    realm: Realm, trunk: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str,
) -> None:  # fmt: skip
    monkeypatch.setattr("realm.training.packing.trunk_folder", lambda: trunk)
    recipe = str(write_recipe(tmp_path, "reader", trunk, data))
    given = [recipe if argument == "RECIPE" else argument for argument in arguments]
    assert realm("train", *given, "--out", tmp_path / "run") == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1
    assert "Traceback" not in shown


def test_run_of_another_recipe_is_refused_and_keeps_its_recipe(
    realm: Realm, trunk: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, out = write_recipe(tmp_path, "reader", trunk, data), tmp_path / "run"
    assert realm("train", "reader", recipe, "--out", out) == 0
    before = (out / "recipe.toml").read_bytes()
    capsys.readouterr()
    assert realm("train", "reader", recipe, "--out", out, "--set", "weight_decay=0.5") == 2
    assert "was made with weight_decay = 0.01; the recipe now says 0.5. Use a new run" in capsys.readouterr().err
    assert (out / "recipe.toml").read_bytes() == before
    # A copy of the trunk in another place is the same trunk.
    moved = shutil.copytree(trunk, tmp_path / "moved")
    assert realm("train", "reader", recipe, "--out", out, "--set", f"trunk={moved}") == 0


def test_train_says_first_what_it_will_take(
    realm: Realm, trunk: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_recipe(tmp_path, "reader", trunk, data)
    assert realm("train", "reader", recipe, "--out", tmp_path / "run", "--set", "steps=12") == 0
    shown = capsys.readouterr().err
    assert re.search(r"s/step, about 0 minutes to go, \d\.\d GB of memory", shown)
    assert shown.index("s/step, about") < shown.index("step 10  loss")


def test_job_without_a_dev_metric_is_not_evaluated(
    realm: Realm, trunk: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_recipe(tmp_path, "reader", trunk, data)
    assert realm("train", "reader", recipe, "--out", tmp_path / "run", "--set", "evaluate_every_steps=2") == 2
    assert "this job has no dev metric" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_run_with_a_dev_metric_stops_early_and_says_so(
    trunk: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_recipe(tmp_path, "reader", trunk, data)
    values = iter([0.5, 0.4, 0.3, 0.2])
    changes = ["steps=9", "evaluate_every_steps=2", "patience=2"]
    training._run(
        ReaderRecipe, lambda chosen, _: ReaderJob(chosen), str(recipe), tmp_path / "run", changes,
        lambda chosen, job: lambda: {"em": next(values)},
    )  # fmt: skip
    assert "done after 4 steps of 9, nothing got better; the result is in" in capsys.readouterr().out.replace("\n", "")
    best, model = (load_file(tmp_path / "run" / name / "model.safetensors") for name in ("best", "model"))
    assert all(torch.equal(best[name], model[name]) for name in best)


def test_curves_draws_what_runs_have_logged(realm: Realm, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, loss in (("first", 3.0), ("second", 2.0)):
        lines = [{"step": 10, "loss": loss}, {"step": 10, "dev_em": 0.5, "dev_best_step": 10}]
        (tmp_path / name).mkdir()
        write_lines(tmp_path / name / "log.jsonl", lines)
    runs = (tmp_path / "first", tmp_path / "second")
    picture = tmp_path / "curves.png"
    assert realm("train", "curves", *runs, "--out", picture) == 0
    assert capsys.readouterr().out == f"{picture}: loss, dev_em\n"
    assert picture.read_bytes().startswith(b"\x89PNG")
    for wrong, said in (
        ((*runs, "--figure", "f1"), "No run has logged f1; there are dev_best_step, dev_em, loss."),
        ((tmp_path / "third",), "third/log.jsonl cannot be read"),
    ):
        assert realm("train", "curves", *wrong, "--out", tmp_path / "no.png") == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "no.png").exists()
