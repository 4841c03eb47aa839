"""A reader that goes on from another reader's weights."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from realm.errors import ModelError, RecipeError
from realm.models.embedder import RealmEmbedder
from realm.openqa.model import RealmForOpenQA
from realm.openqa.model_folder import ModelFolder
from realm.training.loop import train
from realm.training.reader import ReaderJob, ReaderRecipe

pytest.importorskip("accelerate", reason="training needs the extra `train`")


@pytest.fixture
def recipe(trunk: Path, data: Path) -> ReaderRecipe:
    return ReaderRecipe(
        str(trunk), ("towns.jsonl",), steps=2, data=str(data), batch_questions=4, max_pieces=96, warmup_steps=1
    )


def test_reader_goes_on_from_another_readers_run(recipe: ReaderRecipe, tmp_path: Path) -> None:
    first = ReaderJob(recipe)
    train(first, recipe.loop(), tmp_path / "first")
    for start in (tmp_path / "first", tmp_path / "first" / "model"):
        second = ReaderJob(dataclasses.replace(recipe, start_from=str(start), seed=9))
        for name, value in first.model.state_dict().items():
            assert torch.equal(second.model.state_dict()[name], value), name
        assert second.parents().keys() == {"trunk", "start_from", "towns.jsonl"}
    trained = {name for name, p in first.model.named_parameters() if p.requires_grad}
    assert {name for name, p in second.model.named_parameters() if p.requires_grad} == trained


def test_reader_goes_on_from_that_of_a_whole_model(recipe: ReaderRecipe, tmp_path: Path) -> None:
    config = ReaderJob(recipe).reader.config
    whole = RealmForOpenQA(config)
    whole.save_pretrained(tmp_path)
    found = ReaderJob(dataclasses.replace(recipe, start_from=str(tmp_path))).reader.state_dict()
    assert found.keys() == whole.reader.state_dict().keys()
    for name, value in whole.reader.state_dict().items():
        assert torch.equal(found[name], value), name


def test_reader_goes_on_from_the_built_in_model(recipe: ReaderRecipe) -> None:
    recipe = dataclasses.replace(recipe, trunk="minilm", start_from="realm-mini")
    found = ReaderJob(recipe).reader.state_dict()
    shipped = ModelFolder.open("realm-mini").networks.reader.state_dict()
    assert found.keys() == shipped.keys()
    for name, value in shipped.items():
        if not name.startswith(("cls.", "realm.pooler.")):  # nothing reads these, and they are not shipped
            assert torch.equal(found[name], value), name


def test_run_whose_start_has_changed_is_not_gone_on_with(recipe: ReaderRecipe, tmp_path: Path) -> None:
    train(ReaderJob(recipe), recipe.loop(), tmp_path / "first")
    recipe = dataclasses.replace(recipe, start_from=str(tmp_path / "first"))
    train(ReaderJob(recipe), recipe.loop(), tmp_path / "second")
    other = dataclasses.replace(recipe, start_from="", seed=3)
    train(ReaderJob(other), other.loop(), tmp_path / "other")
    moved = dataclasses.replace(recipe, start_from=str(tmp_path / "other"))
    with pytest.raises(RecipeError, match="was made from another start_from"):
        train(ReaderJob(moved), moved.loop(), tmp_path / "second")


def test_run_whose_examples_have_changed_is_not_gone_on_with(recipe: ReaderRecipe, data: Path, tmp_path: Path) -> None:
    train(ReaderJob(recipe), recipe.loop(), tmp_path / "run")
    shutil.copyfile(data / "more.jsonl", tmp_path / "towns.jsonl")
    other = dataclasses.replace(recipe, data=str(tmp_path))
    with pytest.raises(RecipeError, match=r"was made from another towns\.jsonl"):
        train(ReaderJob(other), other.loop(), tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start_from": "/nowhere"}, "No trained model in /nowhere: expected config.json and model.safetensors"),
        ({"extra_layers": 2}, "is a RealmReader of other sizes: 16 weights differ"),
    ],
)
def test_start_that_does_not_fit_is_refused(
    recipe: ReaderRecipe, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    ReaderJob(recipe).save(tmp_path)
    with pytest.raises(ModelError) as caught:
        ReaderJob(dataclasses.replace(recipe, **{"start_from": str(tmp_path), **changes}))
    assert message in str(caught.value)


def test_start_of_another_kind_is_refused(recipe: ReaderRecipe, tmp_path: Path) -> None:
    config = ReaderJob(recipe).reader.config
    RealmEmbedder(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"holds \['RealmEmbedder'\]; expected RealmReader"):
        ReaderJob(dataclasses.replace(recipe, start_from=str(tmp_path)))
