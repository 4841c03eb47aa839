"""Runs of the job `finetune` that are killed and resumed, or shared by two processes: the same losses as one alone."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from finetune_towns import town_recipe, train_run, write_towns
from safetensors.torch import load_file

PROGRAM = str(Path(__file__).with_name("finetune_towns.py"))
CLOCKS = {"seconds_per_step", "seconds_left", "examples_per_second", "retrieval_share", "stale_seconds"}


@pytest.fixture(scope="module")
def folder(trunk: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_towns(trunk, tmp_path_factory.mktemp("towns"))


def log_of(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("changes", [[], ["train_blocks=true", "refresh_every_steps=3", "dropout=0.1"]])
def test_run_that_is_killed_twice_learns_what_one_does_that_never_stops(
    folder: Path, tmp_path: Path, changes: list[str]
) -> None:
    done = subprocess.run(
        [sys.executable, PROGRAM, str(folder), str(tmp_path), "--kill", "3,5", *changes],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-4:] == ["-9", "-9", "0", "0"]
    cut, whole = log_of(tmp_path / "cut"), log_of(tmp_path / "whole")
    assert [line["step"] for line in whole] == [1, 2, 3, 4, 5, 6]
    for one, other in zip(cut, whole, strict=True):
        for key in other.keys() - CLOCKS:
            assert one[key] == other[key], key
    weights = [load_file(tmp_path / name / "model" / "model.safetensors") for name in ("cut", "whole")]
    assert all(torch.equal(weights[0][name], value) for name, value in weights[1].items())


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(folder: Path, tmp_path: Path) -> None:
    changes = ["train_blocks=true", "refresh_every_steps=2", "evaluate_every_steps=3", 'dev="asked.jsonl"']
    items = dict(item.split("=") for item in changes)
    values = {key: json.loads(value) for key, value in items.items()}
    train_run(town_recipe(folder, steps=4, **values), tmp_path / "1")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, PROGRAM, str(folder), str(tmp_path / "2"), "steps=4", *changes],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank), "ACCELERATE_USE_CPU": "true"},
            stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    said = [process.communicate(timeout=300)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], "\n".join(said)
    one, two = log_of(tmp_path / "1"), log_of(tmp_path / "2")
    assert len(one) == len(two) >= 4
    for first, second in zip(one, two, strict=True):
        assert first.keys() == second.keys()
        for key in first.keys() - CLOCKS - {"padding_share"}:
            assert second[key] == pytest.approx(first[key], rel=2e-3, abs=1e-4), key
    weights = [load_file(tmp_path / count / "model" / "model.safetensors") for count in "12"]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, atol=2e-4, rtol=2e-3)


@pytest.mark.slow
def test_command_trains_and_measures_by_official_exact_match(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from realm.cli.main import main
    from realm.training.recipe import as_toml

    recipe = tmp_path / "recipe.toml"
    recipe.write_text(as_toml(town_recipe(folder, steps=2, evaluate_every_steps=2, dev="asked.jsonl")), "utf-8")
    monkeypatch.setattr(sys, "argv", ["realm", "train", "finetune", str(recipe), "--out", str(tmp_path / "run")])
    assert main() == 0
    assert "done after 2 steps; the result is in" in capsys.readouterr().out.replace("\n", "")
    dev = [line for line in log_of(tmp_path / "run") if "dev_official_exact_match" in line]
    assert [line["step"] for line in dev] == [0, 2]
    assert all(0 <= line["dev_official_exact_match"] <= 1 for line in dev)


def test_recipes_of_the_package_are_the_published_settings() -> None:
    from realm.training.finetune_recipe import FinetuneRecipe
    from realm.training.recipe import find_recipe, load_recipe

    names = {"nq": 79_168 * 4, "webq": 3_417 * 60, "curatedtrec": 1_353 * 80}
    for name, steps in names.items():
        recipe = load_recipe(FinetuneRecipe, find_recipe(f"finetune-{name}"))
        assert (recipe.steps, recipe.batch_questions, recipe.learning_rate) == (steps, 1, 1e-5)
        assert recipe.warmup_steps == min(10_000, max(100, steps // 10))
        assert (recipe.retrieved, recipe.reader_blocks, recipe.reader_seq_len, recipe.max_span_width) == (
            5000, 5, 320, 10
        )  # fmt: skip
        assert (recipe.answer_type == "regex") == (name == "curatedtrec")
    for name in ("plusplus", "mini"):
        assert load_recipe(FinetuneRecipe, find_recipe(f"finetune-{name}")).batch_questions > 1
