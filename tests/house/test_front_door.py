"""The front door: public names are sorted, documented and importable; opening it costs next to nothing."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import realm

ROOT = Path(__file__).parents[2]
HEAVY = ("accelerate", "faiss", "lance", "numpy", "pyarrow", "tokenizers", "torch", "transformers")
MOST_MODULES = 450


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a fresh interpreter that finds realm where this one found it."""
    path = os.pathsep.join([str(Path(realm.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": path.rstrip(os.pathsep), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def heavy_modules_after(code: str) -> str:
    """Which heavy libraries a fresh interpreter has loaded once `code` has run."""
    result = run_python("-c", f"import sys\n{code}\nsys.stderr.write(' '.join(sorted({HEAVY} & sys.modules.keys())))")
    assert result.returncode == 0, result.stderr
    return result.stderr


def type_checkers_view() -> dict[str, str]:
    """Name -> home, as the imports under TYPE_CHECKING say."""
    tree = ast.parse(Path(realm.__file__).read_text("utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    return {
        alias.name: node.module or "" for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }


def test_public_names_are_sorted_and_unique() -> None:
    assert realm.__all__ == sorted(set(realm.__all__))


def test_type_checkers_and_interpreter_find_each_name_in_the_same_home() -> None:
    assert type_checkers_view() == realm._HOMES
    assert {*realm._HOMES, "__version__"} == set(realm.__all__)


@pytest.mark.parametrize("name", sorted(realm._HOMES))
def test_a_public_name_is_the_object_its_home_defines(name: str) -> None:
    value = getattr(realm, name)
    assert value is getattr(importlib.import_module(realm._HOMES[name]), name)
    assert value.__module__ == realm._HOMES[name], f"{name} is re-exported, not defined, in {realm._HOMES[name]}"


@pytest.mark.parametrize("name", sorted(realm._HOMES))
def test_a_public_name_has_a_docstring_of_its_own(name: str) -> None:
    docstring = vars(getattr(realm, name)).get("__doc__") or ""
    # A dataclass without a docstring is given its signature as one.
    assert docstring.strip(), f"{name} has no docstring"
    assert not docstring.startswith(f"{name}("), f"{name} has no docstring but its signature"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'realm' has no attribute 'RealmOracle'"):
        realm.RealmOracle  # noqa: B018


def test_completion_offers_the_public_names_and_no_machinery() -> None:
    assert dir(realm) == realm.__all__


def test_the_version_is_that_of_the_distribution() -> None:
    assert f'version = "{realm.__version__}"' in (ROOT / "pyproject.toml").read_text("utf-8")


def test_importing_realm_loads_no_heavy_library() -> None:
    assert heavy_modules_after("import realm") == ""


def test_the_records_are_had_without_a_heavy_library() -> None:
    assert heavy_modules_after("from realm import Answer, Document, RealmError") == ""


HELP = (
    "import runpy\nsys.argv = ['realm', '--help']\n"
    "try:\n    runpy.run_module('realm', run_name='__main__')\n"
    "except SystemExit as end:\n    assert not end.code"
)


def test_help_loads_no_heavy_library() -> None:
    assert heavy_modules_after(HELP) == ""


def test_help_loads_few_modules() -> None:
    """What makes it quick (see `benchmarks/front_door.py`), and does not depend on what else the machine does."""
    result = run_python("-c", f"import sys\n{HELP}\nprint(len(sys.modules), file=sys.stderr)")
    assert result.returncode == 0, result.stderr
    assert int(result.stderr.split()[-1]) < MOST_MODULES
