"""Recipes: TOML files read into frozen dataclasses, with overrides and errors that name the nearest legal key."""

from __future__ import annotations

import dataclasses
import difflib
import json
import tomllib
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from realm.errors import RecipeError

R = TypeVar("R")


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
    for item in overrides:
        key, separator, text = item.partition("=")
        if not separator:
            raise RecipeError(f"--set takes key=value; found {item!r}.")
        values[key.strip()] = _parse_value(text.strip())
    return build(kind, values, str(path))


def find_recipe(name: str) -> Path:
    """Path of a recipe: a file, or the name of one in the package.

    Raises:
        RecipeError: There is neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    built_in = Path(__file__).parent / "recipes" / f"{name}.toml"
    if not built_in.is_file():
        names = ", ".join(sorted(p.stem for p in built_in.parent.glob("*.toml")))
        raise RecipeError(f"No recipe {name}: it is neither a file nor one of {names}.")
    return built_in


def build(kind: type[R], values: Mapping[str, Any], where: str) -> R:
    """Make a recipe of plain values, checking names and types."""
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(kind)
    for key in values:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1, cutoff=0.0)
            raise RecipeError(f"{where}: unknown key {key!r}; did you mean {near[0]!r}?")
    missing = [name for name, field in fields.items() if field.default is dataclasses.MISSING and name not in values]
    if missing:
        raise RecipeError(f"{where}: missing {', '.join(missing)}.")
    return kind(**{key: _checked(value, hints[key], f"{where}: {key}") for key, value in values.items()})


def as_toml(recipe: Any) -> str:
    """The resolved recipe as TOML, to be saved with the run."""
    lines = []
    for key, value in dataclasses.asdict(recipe).items():
        lines.append(f"{key} = {_toml_value(value)}")
    return "\n".join(lines) + "\n"


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
        return tuple(_checked(part, item, where) for part in value)
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
