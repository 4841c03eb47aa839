"""pyproject.toml, constraints.txt and the source agree on what is needed and what is shipped."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

packages_distributions = cache(metadata.packages_distributions)

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
CORE = [Requirement(line) for line in PROJECT["dependencies"]]
EXTRAS = {name: [Requirement(line) for line in lines] for name, lines in PROJECT["optional-dependencies"].items()}
TESTED = {
    canonicalize_name(line.partition("==")[0]): line.partition("==")[2]
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
}
# What `make` installs; of the other extras no version is pinned.
INSTALLED_EXTRAS = ("dev", "train", "evaluate", "serve", "wikipedia", "demo")
INSTALLED = [*CORE, *(requirement for name in INSTALLED_EXTRAS for requirement in EXTRAS[name])]
ROOM_EXTRAS = {"serving": "serve", "training": "train"}


def imports_at_load(body: list[ast.stmt]) -> Iterator[str]:
    """Top-level names imported when a module is loaded: not inside functions, not for type checkers only."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]
        elif isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test):
            yield from imports_at_load([*node.body, *node.orelse])
        elif isinstance(node, ast.ClassDef):
            yield from imports_at_load(node.body)


@pytest.mark.parametrize("requirement", INSTALLED, ids=str)
def test_a_dependency_is_pinned_to_a_version_its_range_allows(requirement: Requirement) -> None:
    tested = TESTED.get(canonicalize_name(requirement.name))
    assert tested, f"{requirement.name} has no line in constraints.txt"
    assert requirement.specifier.contains(tested)


def test_constraints_are_exact_and_unique() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if not line.startswith("#")]
    assert all("==" in line and "+" not in line for line in lines)
    assert len(TESTED) == len(lines)


def imports_anywhere(tree: ast.Module) -> Iterator[str]:
    """Top-level names imported anywhere in a module, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from imports_at_load([node])


def is_declared(name: str, requirements: list[Requirement]) -> bool:
    """Whether a module comes with the standard library, with realm, or with one of `requirements`."""
    if name in sys.stdlib_module_names or name == "realm":
        return True
    homes = {canonicalize_name(home) for home in packages_distributions().get(name, [name])}
    return bool(homes & {canonicalize_name(requirement.name) for requirement in requirements})


def test_what_a_module_imports_at_call_time_is_a_declared_dependency_or_extra() -> None:
    declared = [*CORE, *(requirement for extra in EXTRAS.values() for requirement in extra)]
    undeclared = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in (ROOT / "src" / "realm").rglob("*.py")
        for name in imports_anywhere(ast.parse(path.read_text("utf-8")))
        if not is_declared(name, declared)
    }
    assert undeclared == set()


def test_what_a_module_imports_when_loaded_is_a_declared_dependency() -> None:
    undeclared = set()
    for path in (ROOT / "src" / "realm").rglob("*.py"):
        room = path.relative_to(ROOT / "src" / "realm").parts[0]
        declared = [*CORE, *EXTRAS.get(ROOM_EXTRAS.get(room, ""), [])]
        for name in imports_at_load(ast.parse(path.read_text("utf-8")).body):
            if not is_declared(name, declared):
                undeclared.add(f"{path.relative_to(ROOT)} imports {name}")
    assert undeclared == set()


def test_every_data_file_of_the_source_tree_is_shipped() -> None:
    realm = ROOT / "src" / "realm"
    globs = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["package-data"]["realm"]
    shipped = {path for glob in globs for path in realm.glob(glob)}
    data = {path for path in realm.rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}}
    assert {str(path.relative_to(realm)) for path in data - shipped} == set()
