"""Recipes: TOML files read into frozen dataclasses, with overrides and errors that name the nearest legal key.

`LoopSettings` are the keys that all jobs share. Knows no tensors, and no job's own keys.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import tomllib
import typing
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from realm.errors import RecipeError

R = TypeVar("R")

MENDING_KEYS = ("learning_rate", "clip_norm")
"""Keys that a run whose numbers are not finite any more can be helped by; the loop logs where they change."""


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """How a job is trained.

    Attributes:
        steps: Optimiser steps in all.
        learning_rate: Peak, reached after warm-up, then linear decay to 0.
        warmup_steps: Linear warm-up; -1 for min(10,000, max(100, steps / 10)), and never more than half of the steps.
        weight_decay: On everything but biases and layer norms.
        clip_norm: Largest global gradient norm.
        bias_correction: Adam's, which BERT's own optimiser leaves out; it matters in the first steps only.
        gradient_checkpointing: Compute layers a second time in the backward pass instead of keeping their states.
        seed: Of all randomness.
        save_every_steps: Checkpoint interval.
        log_every_steps: Log interval.
        evaluate_every_steps: Interval of the dev metric, where the job has one; 0 for never.
        patience: Stop after this many evaluations in a row without a better dev metric; 0 to go on.
        tensorboard: Whether the log is also written for TensorBoard.

    Raises:
        RecipeError: A value is out of its range, or not among those that a key may have; a key that must be given is
            empty; or there is patience with a dev metric that is never measured.

    Source: BERT's warm-up as google-research `language/realm` (865fae6) has it.
    """

    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        "steps": (1, math.inf),
        "learning_rate": (0, 1),
        "warmup_steps": (-1, math.inf),
        "weight_decay": (0, 1),
        "clip_norm": (1e-6, math.inf),
        "seed": (0, 2**32 - 1),
        "save_every_steps": (1, math.inf),
        "log_every_steps": (1, math.inf),
        "evaluate_every_steps": (0, math.inf),
        "patience": (0, math.inf),
    }
    """Smallest and largest value of keys that are numbers; a subclass lists its own, which are added to these."""
    choices: ClassVar[Mapping[str, Sequence[str]]] = {}
    """Values of keys that name one of several ways; a subclass lists its own."""
    may_change: ClassVar[frozenset[str]] = frozenset(
        {
            "gradient_checkpointing", "save_every_steps", "log_every_steps", "evaluate_every_steps", "patience",
            "tensorboard", *MENDING_KEYS,
        }
    )  # fmt: skip
    """Keys that a run may go on with other values of; a subclass adds its own.

    All but `MENDING_KEYS` leave the next losses as they are. `steps` is not among them: the learning rate falls to 0 at
    the last one.
    """

    steps: int
    learning_rate: float
    warmup_steps: int = -1
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    bias_correction: bool = False
    gradient_checkpointing: bool = False
    seed: int = 0
    save_every_steps: int = 100
    log_every_steps: int = 10
    evaluate_every_steps: int = 0
    patience: int = 0
    tensorboard: bool = False

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if _has_no_default(field) and getattr(self, field.name) in ("", ()):
                raise RecipeError(f"{field.name} is empty; it must be given.")
        for kind in type(self).__mro__:
            for key, (low, high) in vars(kind).get("limits", {}).items():
                if not low <= getattr(self, key) <= high:
                    bound = f"at least {low}" if high == math.inf else f"between {low} and {high}"
                    raise RecipeError(f"{key} must be {bound}; found {getattr(self, key)}.")
            for key, names in vars(kind).get("choices", {}).items():
                if (found := getattr(self, key)) not in names:
                    near = difflib.get_close_matches(found, names, n=1, cutoff=0.0)[0]
                    raise RecipeError(f"{key} must be one of {', '.join(names)}; found {found!r}; nearest: {near!r}.")
        if self.warmup_steps < 0:
            steps = min(10_000, max(100, self.steps // 10), self.steps // 2)
            object.__setattr__(self, "warmup_steps", steps)  # resolved, so that a run's recipe says it
        if self.warmup_steps >= self.steps:
            raise RecipeError(
                f"warmup_steps is {self.warmup_steps:,}, but there are only {self.steps:,} steps, so the learning rate "
                "would never reach its peak. Lower it, or leave it out."
            )
        if self.patience and not self.evaluate_every_steps:
            raise RecipeError(
                f"patience is {self.patience:,}, but evaluate_every_steps is 0, so nothing is measured that could get "
                "better. Give evaluate_every_steps, or leave patience out."
            )

    @classmethod
    def keys_that_may_change(cls) -> frozenset[str]:
        """`may_change` of the class and all its bases."""
        return frozenset().union(*(vars(kind).get("may_change", frozenset()) for kind in cls.__mro__))


@dataclass(frozen=True, kw_only=True)
class LoopRecipe(LoopSettings):
    """Base of all recipes: a job's dataclass adds its own keys, and defaults where it has better ones."""

    tensorboard: bool = True

    def loop(self) -> LoopSettings:
        """Settings of the training loop: the recipe itself, so that a checkpoint can name all of it."""
        return self


def load_recipe(kind: type[R], path: Path, overrides: Sequence[str] = ()) -> R:
    """Read a recipe.

    Args:
        kind: Frozen dataclass with a default for every optional key.
        path: The TOML file.
        overrides: `key=value` items; the value is TOML, or else a plain string.

    Raises:
        RecipeError: The file is missing or not TOML; a key is unknown or absent; a value has the wrong type.
    """
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise RecipeError(f"No recipe at {path}. Give a path, or the name of a recipe in the package.") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise RecipeError(f"{path} is not a TOML file: {exc}.") from exc
    given = {}
    for item in overrides:
        key, separator, text = item.partition("=")
        if not separator:
            raise RecipeError(f"--set takes key=value; found {item!r}.")
        given[key.strip()] = _parse_value(text.strip())
    return build(kind, values | given, str(path), given.keys())


def find_recipe(name: str) -> Path:
    """Path of a recipe: a file, or the name of one in the package.

    Raises:
        RecipeError: There is neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    shelf = Path(__file__).parent / "recipes"
    built_in = shelf / f"{name}.toml"
    if not built_in.is_file():
        names = ", ".join(sorted(p.relative_to(shelf).with_suffix("").as_posix() for p in shelf.rglob("*.toml")))
        raise RecipeError(f"No recipe {name}: it is neither a file nor one of {names}.")
    return built_in


def build(kind: type[R], values: Mapping[str, Any], where: str, overridden: Collection[str] = ()) -> R:
    """Make a recipe of plain values, checking names and types.

    Args:
        kind: Frozen dataclass.
        values: By key.
        where: Where they come from, for messages.
        overridden: Keys whose values come from --set.
    """
    places = dict.fromkeys(overridden, "--set")
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(kind)
    for key in values:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1, cutoff=0.0)
            raise RecipeError(f"{places.get(key, where)}: unknown key {key!r}; did you mean {near[0]!r}?")
    missing = [name for name, field in fields.items() if _has_no_default(field) and name not in values]
    if missing:
        raise RecipeError(f"{where}: missing {', '.join(missing)}.")
    checked = {key: _checked(value, hints[key], f"{places.get(key, where)}: {key}") for key, value in values.items()}
    try:
        return kind(**checked)
    except RecipeError as exc:
        # A message about a value begins with its key.
        raise RecipeError(f"{places.get(str(exc).partition(' ')[0], where)}: {exc}") from exc


def as_toml(recipe: Any) -> str:
    """The resolved recipe as TOML, to be saved with the run."""
    lines = []
    for key, value in dataclasses.asdict(recipe).items():
        lines.append(f"{key} = {_toml_value(value)}")
    return "\n".join(lines) + "\n"


def _has_no_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _checked(value: Any, expected: Any, where: str) -> Any:
    if typing.get_origin(expected) is tuple:
        item = typing.get_args(expected)[0]
        if not isinstance(value, list | tuple):
            raise RecipeError(f"{where} must be a list; found {value!r}.")
        return tuple(_checked(part, item, f"{where}[{number}]") for number, part in enumerate(value))
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
        raise RecipeError(f"{where} must be {expected.__name__}; found {value!r}.")
    return value


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml_value(part) for part in value) + "]"
    if isinstance(value, str):
        # JSON's escapes are TOML's; JSON alone lets the delete character stand as it is.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
