"""The keys that all recipes share: ranges, choices, and which of them may change in a run's course."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import pytest

from realm.errors import RecipeError
from realm.training.embedder_recipe import EmbedderRecipe
from realm.training.finetune_recipe import FinetuneRecipe
from realm.training.ict_recipe import IctRecipe
from realm.training.pretrain_recipe import PretrainRecipe
from realm.training.reader import ReaderRecipe
from realm.training.recipe import LoopRecipe, LoopSettings, build


@dataclass(frozen=True)
class Job(LoopRecipe):
    """A recipe of a job, as jobs write them."""

    limits: ClassVar[Mapping[str, tuple[float, float]]] = {"rows": (1, 64)}
    choices: ClassVar[Mapping[str, Sequence[str]]] = {"masking": ("salient", "random_token", "random_span")}
    may_change: ClassVar[frozenset[str]] = frozenset({"rows"})

    trunk: str
    _: KW_ONLY
    rows: int = 8
    masking: str = "salient"
    learning_rate: float = 1e-3


VALUES: dict[str, Any] = {"trunk": "t", "steps": 3}


def test_recipe_of_a_job_has_the_loops_keys_and_is_its_own_loop_settings() -> None:
    recipe = build(Job, {**VALUES, "clip_norm": 2}, "r.toml")
    assert (recipe.trunk, recipe.steps, recipe.clip_norm, recipe.learning_rate) == ("t", 3, 2.0, 1e-3)
    assert recipe.loop() is recipe
    assert Job.keys_that_may_change() == LoopSettings.may_change | {"rows"}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("steps", 0, "steps must be at least 1; found 0"),
        ("steps", -3, "steps must be at least 1; found -3"),
        ("learning_rate", -1e-3, "learning_rate must be between 0 and 1; found -0.001"),
        ("learning_rate", 30.0, "learning_rate must be between 0 and 1; found 30.0"),
        ("learning_rate", math.nan, "learning_rate must be between 0 and 1; found nan"),
        ("warmup_steps", -2, "warmup_steps must be at least -1; found -2"),
        (
            "warmup_steps",
            3,
            "warmup_steps is 3, but there are only 3 steps, so the learning rate would never reach its peak. Lower it, "
            "or leave it out",
        ),
        ("weight_decay", 1.5, "weight_decay must be between 0 and 1; found 1.5"),
        ("clip_norm", 0.0, "clip_norm must be at least 1e-06; found 0.0"),
        ("seed", -1, "seed must be between 0 and 4294967295; found -1"),
        ("save_every_steps", 0, "save_every_steps must be at least 1; found 0"),
        ("patience", -1, "patience must be at least 0; found -1"),
        ("rows", 65, "rows must be between 1 and 64; found 65"),
        (
            "masking",
            "salient_spans",
            "masking must be one of salient, random_token, random_span; found 'salient_spans'; nearest: 'salient'",
        ),
    ],
)
def test_value_out_of_range_is_refused_with_the_range(key: str, value: object, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        build(Job, {**VALUES, key: value}, "r.toml")
    assert str(caught.value) == f"r.toml: {message}."


def test_patience_needs_something_that_is_measured() -> None:
    said = r"^--set: patience is 3, but evaluate_every_steps is 0, so nothing is measured"
    with pytest.raises(RecipeError, match=said):
        build(Job, {**VALUES, "patience": 3}, "r.toml", ["patience"])
    assert build(Job, {**VALUES, "patience": 3, "evaluate_every_steps": 2}, "r.toml").patience == 3


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Job, {"trunk": ""}),
        (ReaderRecipe, {"sources": [], "trunk": "t"}),
        (IctRecipe, {"blocks": "", "trunk": "t"}),
        (PretrainRecipe, {"corpus": "", "encoder": "t"}),
        (PretrainRecipe, {"encoder": "", "corpus": "c"}),
        (FinetuneRecipe, {"corpus": "", "questions": ["q"], "model": "m"}),
        (FinetuneRecipe, {"questions": [], "corpus": "c", "model": "m"}),
    ],
)
def test_key_that_must_be_given_is_not_empty(kind: type[LoopRecipe], values: dict[str, Any]) -> None:
    key = next(iter(values))
    with pytest.raises(RecipeError, match=f"^--set: {key} is empty"):
        build(kind, {"steps": 3, "learning_rate": 0.1, **values}, "r.toml", values)


@pytest.mark.parametrize(
    ("kind", "values", "said", "mend"),
    [
        (IctRecipe, {"blocks": "b", "trunk": "t"}, "held_out_blocks is 0", {"held_out_blocks": 8}),
        (PretrainRecipe, {"corpus": "c", "encoder": "t", "held_out_share": 0.0}, "held_out_share is 0",
         {"held_out_share": 0.1}),
        (FinetuneRecipe, {"corpus": "c", "questions": ["q"], "model": "m"}, "There are no questions to measure by",
         {"questions": ["q;keep_aside=9"]}),
        (FinetuneRecipe, {"corpus": "c", "questions": ["q"], "model": "m"}, "There are no questions to measure by",
         {"dev": "q"}),
    ],
)  # fmt: skip
def test_dev_metric_of_nothing_is_refused_at_once(
    kind: type[LoopRecipe], values: dict[str, Any], said: str, mend: dict[str, Any]
) -> None:
    build(kind, {"steps": 3, **values}, "r.toml")
    measured = {"steps": 3, "evaluate_every_steps": 2, **values}
    with pytest.raises(RecipeError, match=said):
        build(kind, measured, "r.toml")
    build(kind, {**measured, **mend}, "r.toml")


@pytest.mark.parametrize(
    ("steps", "warmup"),
    [(1, 0), (3, 1), (150, 75), (200, 100), (500, 100), (5_000, 500), (100_000, 10_000), (400_000, 10_000)],
)
def test_warmup_that_is_not_given_is_a_tenth_within_bounds(steps: int, warmup: int) -> None:
    for given in ({}, {"warmup_steps": -1}):
        recipe = build(Job, {**VALUES, **given, "steps": steps}, "r.toml")
        assert recipe.warmup_steps == warmup < steps


@pytest.mark.parametrize("key", sorted({*Job.limits, *LoopSettings.limits} - {"warmup_steps"}))
def test_ends_of_a_range_are_in_it(key: str) -> None:
    low, high = {**LoopSettings.limits, **Job.limits}[key]
    kind = type(getattr(build(Job, VALUES, "r"), key))
    for end in (low, high):
        if math.isfinite(end) or kind is float:
            assert getattr(build(Job, {**VALUES, key: kind(end)}, "r"), key) == end


@pytest.mark.parametrize("kind", [EmbedderRecipe, ReaderRecipe])
def test_ranges_and_free_keys_name_keys_of_their_recipe(kind: type[EmbedderRecipe | ReaderRecipe]) -> None:
    names = {field.name for field in dataclasses.fields(kind)}
    assert kind.limits.keys() | kind.choices.keys() | kind.keys_that_may_change() <= names
