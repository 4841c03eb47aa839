"""A checkpoint goes on with the recipe and the models that it was made with, and says what differs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_job import SETTINGS, ToyJob

from realm.errors import RecipeError
from realm.training.loop import train
from realm.training.origin import Origin
from realm.training.recipe import LoopSettings

OTHER_VALUES = {
    "steps": 12, "learning_rate": 0.1, "warmup_steps": 4, "weight_decay": 0.5, "clip_norm": 2.0,
    "bias_correction": True, "seed": 6, "gradient_checkpointing": True, "save_every_steps": 3, "log_every_steps": 2,
    "evaluate_every_steps": 5, "patience": 2, "tensorboard": True,
}  # fmt: skip


class GrownJob(ToyJob):
    """A job that stands on a model with a digest."""

    def __init__(self, digest: str) -> None:
        super().__init__()
        self._digest = digest

    def parents(self) -> dict[str, str]:
        return {"trunk": self._digest}


def test_values_of_all_keys_are_tried() -> None:
    assert OTHER_VALUES.keys() == {field.name for field in dataclasses.fields(LoopSettings)}


@pytest.mark.parametrize("key", OTHER_VALUES)
def test_key_that_differs_is_named_unless_it_may_change(key: str) -> None:
    settings = dataclasses.replace(SETTINGS, evaluate_every_steps=4)
    before, now = (Origin.of(s, {}) for s in (settings, dataclasses.replace(settings, **{key: OTHER_VALUES[key]})))
    assert (before.digest == now.digest) == (key in LoopSettings.may_change)
    if key in LoopSettings.may_change:
        now.check(before.state(), Path("run"))
    else:
        with pytest.raises(RecipeError, match=rf"run was made with {key} = .*; the recipe now says .*Use a new run"):
            now.check(before.state(), Path("run"))


def test_resuming_with_another_recipe_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    train(ToyJob(), SETTINGS, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(RecipeError, match=r"made with weight_decay = 0\.01; the recipe now says 0\.1\. Use a new run"):
        train(ToyJob(), dataclasses.replace(SETTINGS, weight_decay=0.1), tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_resuming_from_another_parent_is_refused(tmp_path: Path) -> None:
    train(GrownJob("a" * 64), SETTINGS, tmp_path)
    train(GrownJob("a" * 64), SETTINGS, tmp_path)
    with pytest.raises(RecipeError, match=r"from another trunk: its digest was aaaaaaaaaaaa, and is now bbbbbbbbbbbb"):
        train(GrownJob("b" * 64), SETTINGS, tmp_path)
    with pytest.raises(RecipeError, match=r"from another trunk: its digest was aaaaaaaaaaaa, and is now none"):
        train(ToyJob(), SETTINGS, tmp_path)


def test_checkpoint_and_log_intervals_may_change_in_a_runs_course(tmp_path: Path) -> None:
    class Stopped(BaseException):
        pass

    def stop(step: int) -> None:
        if step == 6:
            raise Stopped

    with pytest.raises(Stopped):
        train(ToyJob(before_step=stop), SETTINGS, tmp_path / "cut")
    train(ToyJob(), dataclasses.replace(SETTINGS, save_every_steps=2, log_every_steps=1), tmp_path / "cut")
    train(ToyJob(), SETTINGS, tmp_path / "whole")
    cut, whole = ((tmp_path / run / "checkpoint" / "state.safetensors").read_bytes() for run in ("cut", "whole"))
    assert cut == whole


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.booleans(), max_size=5))
def test_origin_accepts_itself_and_nothing_with_one_key_more(values: dict[str, object]) -> None:
    origin = Origin(values, {"trunk": "1"})
    origin.check(origin.state(), Path("run"))
    more = Origin({**values, "another": 1}, {"trunk": "1"})
    assert more.digest != origin.digest
    with pytest.raises(RecipeError, match="another = nothing; the recipe now says 1"):
        more.check(origin.state(), Path("run"))
