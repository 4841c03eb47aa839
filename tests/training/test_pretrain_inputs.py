"""Groups of like length, recipes of the package, and recall: what pre-training is built of."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_blocks import MemoryBlocks
from numpy.typing import NDArray
from tiny_trunk import tokenizer_of, write_lines

from realm.errors import SourceError
from realm.features.inputs import Row
from realm.records import Question
from realm.training import pretrain_recipe
from realm.training.pretrain_inputs import groups_of_like_length
from realm.training.pretrain_recall import answerable_questions, zero_shot_recall
from realm.training.pretrain_recipe import PretrainRecipe
from realm.training.recipe import find_recipe, load_recipe

SHELF = Path(pretrain_recipe.__file__).parent / "recipes"
ABLATIONS = {
    "random_token": {"masking": "random_token"},
    "random_span": {"masking": "random_span"},
    "stale": {"stale_factor": 30},
    "frozen_retriever": {"freeze_retriever": True},
    "reset_retriever": {"reset_retriever": True},
    "reset_encoder": {"reset_encoder": True},
    "no_null_document": {"null_document": False},
    "trivial_candidate": {"drop_origin": False},
    "span_marginal": {"marginal": "span"},
    "fresh_query": {"query_tower": "fresh"},
}


@given(st.lists(st.integers(1, 300), max_size=60))
def test_groups_hold_every_row_once_and_have_little_padding(lengths: list[int]) -> None:
    groups = list(groups_of_like_length(lengths))
    assert sorted(number for group in groups for number in group) == list(range(len(lengths)))
    for group in groups:
        longest = max(lengths[number] for number in group)
        assert sum(lengths[number] for number in group) >= 0.9 * longest * len(group)
    # A row more would be too much: no group could take the shortest row of the next one.
    for one, following in pairwise(groups):
        rows = [lengths[number] for number in one] + [lengths[following[0]]]
        assert sum(rows) < 0.9 * max(rows) * len(rows)


@pytest.mark.parametrize("name", ABLATIONS)
def test_ablation_differs_from_the_published_recipe_in_what_it_is_named_for(name: str) -> None:
    published, ablation = (
        vars(load_recipe(PretrainRecipe, find_recipe(recipe))) for recipe in ("pretrain", f"ablation/{name}")
    )
    assert {key: value for key, value in ablation.items() if value != published[key]} == ABLATIONS[name]


def test_every_ablation_has_its_line_here() -> None:
    assert {path.stem for path in (SHELF / "ablation").glob("*.toml")} == set(ABLATIONS)


def test_published_recipe_has_the_published_numbers() -> None:
    recipe = load_recipe(PretrainRecipe, find_recipe("pretrain"))
    assert (recipe.steps, recipe.batch_sentences, recipe.learning_rate, recipe.warmup_steps) == (
        200_000, 512, 3e-5, 10_000,
    )  # fmt: skip
    assert (recipe.candidates, recipe.query_seq_len, recipe.candidate_seq_len, recipe.max_masks) == (8, 96, 288, 10)
    assert (recipe.refresh, recipe.refresh_every_steps, recipe.query_tower, recipe.marginal) == (
        "other_process", 500, "snapshot", "token",
    )  # fmt: skip
    written: dict[str, Any] = tomllib.loads((SHELF / "pretrain.toml").read_text(encoding="utf-8"))
    assert "seed" not in written


def test_mini_recipe_fits_one_model() -> None:
    recipe = load_recipe(PretrainRecipe, find_recipe("pretrain-mini"))
    assert (recipe.pooling, recipe.extra_layers) == ("mean", 1)


def test_recall_counts_questions_with_an_answer_in_one_of_the_best_blocks(trunk: Path) -> None:
    blocks = MemoryBlocks(
        trunk, [("", text) for text in ("built in 1253", "a Mill", "by the Ely river", "built 12534")]
    )
    questions = [
        Question("a", "when was it built?", ("1253", "1254")),
        Question("b", "what is old?", ("^a mil", "zzz"), "regex"),
        Question("c", "which river?", ("ely",)),
        Question("d", "when?", ("1253",)),
    ]
    seen: list[list[int]] = []

    def search(rows: Sequence[Row], k: int) -> NDArray[np.int64]:
        seen.extend(row.ids for row in rows)
        return np.array([[0, 1], [3, 1], [0, 3], [3, 2]])[:, :k]

    tokenizer = tokenizer_of(trunk)
    assert zero_shot_recall(questions, search, blocks, tokenizer, 40, k=2) == 2 / 4
    assert zero_shot_recall(questions, search, blocks, tokenizer, 40, k=1) == 1 / 4
    first = tokenizer.ids_of("when was it built?")
    assert seen[0] == [tokenizer.special_id("[CLS]"), *first, tokenizer.special_id("[SEP]")]


def test_questions_without_answers_are_left_out_or_refused(tmp_path: Path) -> None:
    records = [{"question": "who?", "answer": ["Ely"]}, {"question": "what?"}]
    path = write_lines(tmp_path / "a.jsonl", records)
    for kind in ("string", "regex"):
        (found,) = answerable_questions(path, kind)
        assert (found.text, found.answer_type) == ("who?", kind)
    with pytest.raises(SourceError, match="no question has an answer"):
        answerable_questions(write_lines(tmp_path / "b.jsonl", records[1:]), "string")
