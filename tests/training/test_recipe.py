"""Recipes: names, types, overrides, and what is saved with a run."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import realm.training.recipe
from realm.errors import RecipeError
from realm.training.embedder_recipe import EmbedderRecipe
from realm.training.finetune_recipe import FinetuneRecipe
from realm.training.ict_recipe import IctRecipe
from realm.training.pretrain_recipe import PretrainRecipe
from realm.training.reader import ReaderRecipe
from realm.training.reading_data import split_paths
from realm.training.recipe import LoopRecipe, as_toml, build, find_recipe, load_recipe


@dataclass(frozen=True)
class Small:
    """A recipe with every kind of value."""

    trunk: str
    sources: tuple[str, ...]
    steps: int
    learning_rate: float = 0.5
    shuffled: bool = True
    widths: tuple[int, ...] = (1, 2)


COMPLETE = 'trunk = "t"\nsources = ["a", "b"]\nsteps = 3\n'


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(COMPLETE, encoding="utf-8")
    return path


def test_recipe_is_read_and_the_rest_are_defaults(recipe: Path) -> None:
    assert load_recipe(Small, recipe) == Small("t", ("a", "b"), 3)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("step", "steps"), ("learning-rate", "learning_rate"), ("Trunk", "trunk"), ("source", "sources")],
)
def test_unknown_key_names_the_nearest_legal_one(recipe: Path, wrong: str, right: str) -> None:
    with pytest.raises(RecipeError, match=rf"^--set: unknown key '{wrong}'; did you mean '{right}'\?"):
        load_recipe(Small, recipe, [f"{wrong}=1"])
    recipe.write_text(f"{wrong} = 1\n{COMPLETE}", encoding="utf-8")
    with pytest.raises(RecipeError, match=rf"small\.toml: unknown key '{wrong}'; did you mean '{right}'\?"):
        load_recipe(Small, recipe, ["steps=4"])


@pytest.mark.parametrize("line", ["[steps]\nn = 1\n", "[optimizer]\nlr = 1\n"])
def test_tables_are_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "r.toml"
    path.write_text('trunk = "t"\nsources = []\n' + line, encoding="utf-8")
    with pytest.raises(RecipeError, match=r"unknown key 'optimizer'|steps must be int; found \{'n': 1\}"):
        load_recipe(Small, path)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("steps=3.5", "steps must be int; found 3.5"),
        ("steps=true", "steps must be int; found True"),
        ("steps=three", "steps must be int; found 'three'"),
        ("learning_rate=true", "learning_rate must be float; found True"),
        ("learning_rate='fast'", "learning_rate must be float; found 'fast'"),
        ("shuffled=1", "shuffled must be bool; found 1"),
        ("trunk=2020", "trunk must be str; found 2020"),
        ("sources=a", "sources must be a list; found 'a'"),
        ("sources=['a', 1]", "sources[1] must be str; found 1"),
        ("widths=[1, 'x']", "widths[1] must be int; found 'x'"),
    ],
)
def test_value_of_the_wrong_type_is_named_with_its_key(recipe: Path, item: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(Small, recipe, [item])
    assert str(caught.value).startswith(f"--set: {message}")


@pytest.mark.parametrize(("item", "place"), [("steps=0", "--set: steps must"), ("seed=1", "r.toml: steps must")])
def test_value_out_of_range_is_said_to_come_from_where_it_does(tmp_path: Path, item: str, place: str) -> None:
    path = tmp_path / "r.toml"
    path.write_text('trunk = "t"\nsources = ["a"]\nsteps = 0\n', encoding="utf-8")
    with pytest.raises(RecipeError, match=re.escape(place)):
        load_recipe(ReaderRecipe, path, [item])


def test_missing_keys_are_all_named(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text("steps = 1", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"missing trunk, sources"):
        load_recipe(Small, path)


@pytest.mark.parametrize(
    ("item", "key", "value"),
    [
        ("steps=7", "steps", 7),
        ("steps = 1_000", "steps", 1000),
        ("learning_rate=3e-4", "learning_rate", 3e-4),
        ("learning_rate=2", "learning_rate", 2.0),
        ("shuffled=false", "shuffled", False),
        ("trunk=models/bert", "trunk", "models/bert"),
        ('trunk="2020"', "trunk", "2020"),
        ("trunk=a=b", "trunk", "a=b"),
        ("trunk=", "trunk", ""),
        ('sources=["x;share=0.4", "y"]', "sources", ("x;share=0.4", "y")),
        ("sources=[]", "sources", ()),
        ("widths=[4, 5]", "widths", (4, 5)),
    ],
)
def test_set_overrides_the_recipe(recipe: Path, item: str, key: str, value: object) -> None:
    found = load_recipe(Small, recipe, [item])
    assert getattr(found, key) == value
    assert type(getattr(found, key)) is type(value)


def test_last_of_several_overrides_wins(recipe: Path) -> None:
    assert load_recipe(Small, recipe, ["steps=4", "steps=5"]).steps == 5


def test_override_without_equals_sign_is_refused(recipe: Path) -> None:
    with pytest.raises(RecipeError, match="takes key=value; found 'steps'"):
        load_recipe(Small, recipe, ["steps"])


@pytest.mark.parametrize("content", [b"trunk = ", b'trunk = "\xff"', b"a = 1\na = 2"])
def test_file_that_is_not_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "r.toml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=r"r\.toml is not a TOML file"):
        load_recipe(Small, path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="No recipe at"):
        load_recipe(Small, tmp_path / "none.toml")


# TOML holds what Unicode can encode; lone surrogates are no text.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@settings(max_examples=40)
@given(
    st.builds(
        Small,
        trunk=TEXTS,
        sources=st.lists(TEXTS).map(tuple),
        steps=st.integers(-(2**63), 2**63 - 1),
        learning_rate=st.floats(allow_nan=False),
        shuffled=st.booleans(),
        widths=st.lists(st.integers(-(2**63), 2**63 - 1)).map(tuple),
    )
)
def test_saved_recipe_reads_back_as_itself(recipe: Small) -> None:
    assert build(Small, tomllib.loads(as_toml(recipe)), "saved") == recipe


@pytest.mark.parametrize("text", ['say "yes"', "C:\\data\\new", "a\nb\tc\rd\x00\x1f\x7f\x85", "😀é", "'''", '"""'])
def test_saved_recipe_keeps_quotes_backslashes_and_control_characters(tmp_path: Path, text: str) -> None:
    path = tmp_path / "saved.toml"
    recipe = Small(text, (text, text), 1)
    path.write_text(as_toml(recipe), encoding="utf-8")
    assert load_recipe(Small, path) == recipe


@pytest.mark.parametrize(
    ("name", "kind"),
    [("mini-embedder", EmbedderRecipe), ("mini-reader", ReaderRecipe), ("mini-passages", ReaderRecipe)],
)
def test_built_in_recipe_is_found_by_name_and_complete(name: str, kind: type[EmbedderRecipe | ReaderRecipe]) -> None:
    recipe = load_recipe(kind, find_recipe(name))
    assert recipe.trunk == "minilm"
    assert recipe.loop().steps == recipe.steps > recipe.warmup_steps == recipe.loop().warmup_steps
    assert build(kind, tomllib.loads(as_toml(recipe)), "saved") == recipe


@pytest.mark.parametrize("name", ["finetune-mini", "mini-answers"])
def test_recipes_of_finetune_for_two_cores_start_from_the_built_in_model(name: str) -> None:
    recipe = load_recipe(FinetuneRecipe, find_recipe(name))
    assert (recipe.model, recipe.has_answer) == ("realm-mini", "tokens")
    assert all(split_paths(recipe.questions))


KINDS: dict[str, type[LoopRecipe]] = {
    "ict": IctRecipe, "pretrain": PretrainRecipe, "ablation": PretrainRecipe, "finetune": FinetuneRecipe,
    "mini-answers": FinetuneRecipe, "mini-embedder": EmbedderRecipe, "mini-passages": ReaderRecipe,
    "mini-reader": ReaderRecipe,
}  # fmt: skip
SHELF = Path(realm.training.recipe.__file__).with_name("recipes")
NAMES = sorted(path.relative_to(SHELF).with_suffix("").as_posix() for path in SHELF.rglob("*.toml"))


@pytest.mark.parametrize("name", NAMES)
def test_every_built_in_recipe_is_read_by_its_job(name: str) -> None:
    kind = next(kind for begin, kind in KINDS.items() if name.startswith(begin))
    recipe = load_recipe(kind, find_recipe(name))
    assert 0 < recipe.warmup_steps < recipe.steps


def test_unknown_recipe_name_lists_the_built_in_ones() -> None:
    with pytest.raises(RecipeError, match=r"neither a file nor one of .*mini-embedder, mini-passages, mini-reader"):
        find_recipe("mini")


@pytest.mark.parametrize("kind", [EmbedderRecipe, ReaderRecipe])
def test_every_key_of_a_recipe_is_described(kind: type[EmbedderRecipe | ReaderRecipe]) -> None:
    described = "".join((base.__doc__ or "").partition("Attributes:")[2] for base in kind.__mro__)
    assert [field.name for field in dataclasses.fields(kind) if field.name not in described] == []


@pytest.mark.parametrize("name", ["steps", "save_every_steps"])
def test_loop_refuses_counts_that_are_not_positive(recipe: Path, name: str) -> None:
    reader = ReaderRecipe("t", ("a",), steps=5)
    with pytest.raises(RecipeError, match=f"{name} must be at least 1; found 0"):
        dataclasses.replace(reader, **{name: 0}).loop()


def test_recipes_in_folders_of_the_package_are_listed_with_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recipes" / "ablation").mkdir(parents=True)
    for name in ("plain", "ablation/stale"):
        (tmp_path / "recipes" / f"{name}.toml").touch()
    monkeypatch.setattr("realm.training.recipe.__file__", str(tmp_path / "recipe.py"))
    assert find_recipe("ablation/stale") == tmp_path / "recipes" / "ablation" / "stale.toml"
    with pytest.raises(RecipeError, match=r"neither a file nor one of ablation/stale, plain\."):
        find_recipe("stale")
