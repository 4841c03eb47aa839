"""The floors hold: imports go downstairs only; every room has a floor, a docstring and a line on the plan."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "realm"
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
LAYERS: list[str] = next(contract["layers"] for contract in CONTRACTS if contract["id"] == "floors")
FLOORS = [[room.strip(" ()") for room in layer.split("|")] for layer in LAYERS]


def rooms() -> list[Path]:
    """Every package directly under realm."""
    return sorted(path.parent for path in SOURCE.glob("*/__init__.py"))


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    """Run the import linter on the project at `root`."""
    code = "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache', '--no-logo'])"
    environment = {**os.environ, "PYTHONPATH": str(root / "src"), "NO_COLOR": "1", "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def empty_house(tmp_path: Path) -> Path:
    """A project with our contracts and floors whose rooms are empty."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    realm = tmp_path / "src" / "realm"
    (realm / "demo").mkdir(parents=True)
    shutil.copy(SOURCE / "__init__.py", realm)
    for room in (room for floor in FLOORS for room in floor):
        if (SOURCE / f"{room}.py").exists():
            (realm / f"{room}.py").touch()
        else:
            (realm / room).mkdir()
            (realm / room / "__init__.py").touch()
            (realm / room / "part.py").touch()
    # The front door leads everywhere, as the real one does.
    for home in (
        "openqa/ask",
        "openqa/knowledge_base",
        "openqa/model",
        "openqa/retriever",
        "text/tokenization",
    ):
        (realm / f"{home}.py").touch()
    for home in ("configuration", "embedder", "encoder", "reader", "scorer"):
        (realm / "models" / f"{home}.py").touch()
    return tmp_path


def test_imports_go_downstairs_only() -> None:
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_linter_accepts_empty_rooms_and_one_step_down(empty_house: Path) -> None:
    (empty_house / "src/realm/openqa/part.py").write_text("import realm.features.part\n", "utf-8")
    result = lint_imports(empty_house)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("importer", "statement"),
    [
        ("models/part.py", "from realm.openqa import part"),  # upstairs
        ("models/part.py", "from realm.text import part"),  # sideways
        ("artifacts.py", "from realm import records"),  # sideways on the ground floor
        ("text/part.py", "from realm import OpenQA"),  # through the front door
        ("text/part.py", "def late():\n    import realm.cli.part"),  # upstairs, at call time
        ("errors.py", "import numpy"),  # more than the standard library on the ground floor
        ("corpus/part.py", "import torch"),
        ("interop/part.py", "import tensorflow"),
        ("training/part.py", "import typer"),
    ],
)
def test_the_linter_refuses(empty_house: Path, importer: str, statement: str) -> None:
    (empty_house / "src" / "realm" / importer).write_text(f"{statement}\n", "utf-8")
    result = lint_imports(empty_house)
    assert result.returncode == 1
    assert "BROKEN" in result.stdout, result.stdout + result.stderr


def test_the_linter_refuses_a_room_without_a_floor(empty_house: Path) -> None:
    (empty_house / "src" / "realm" / "utils.py").touch()
    result = lint_imports(empty_house)
    assert result.returncode == 1
    assert "realm.utils" in result.stdout


@pytest.mark.parametrize("room", rooms(), ids=lambda room: room.name)
def test_a_rooms_init_is_only_a_docstring(room: Path) -> None:
    tree = ast.parse((room / "__init__.py").read_text("utf-8"))
    assert len(tree.body) == 1, f"{room.name}/__init__.py holds more than a docstring"
    assert ast.get_docstring(tree), f"{room.name}/__init__.py does not say what lives there"


def test_the_drawing_in_architecture_names_every_room_on_its_floor() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    drawing = text.split("```", 2)[1].splitlines()
    for floor in FLOORS:
        assert any(all(room in line.split() for room in floor) for line in drawing), (
            f"no line of the drawing has {floor}"
        )
