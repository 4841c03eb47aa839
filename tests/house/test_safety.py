"""Nothing here runs what a file or a caller hands in: no pickle, no eval, no shell, no remote code.

Every Python file is read as a syntax tree. Tests may import pickle, because they write the hostile files;
nothing else is allowed to them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("src", "tests", "tools", "benchmarks")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))

PICKLES = {"_pickle", "cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
RUNS_TEXT = {"eval", "exec", "compile", "__import__"}
SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}
# Keyword arguments that must be left out or be False.
MUST_BE_OFF = {"allow_pickle", "shell", "trust_remote_code"}


def dotted(node: ast.expr) -> str:
    """`a.b.c` for such an expression; "" for any other."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (left := dotted(node.value)):
        return f"{left}.{node.attr}"
    return ""


def full_names(tree: ast.Module) -> dict[str, str]:
    """What each imported name stands for: `np` -> `numpy`, `load` -> `torch.load`."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imports_of_pickle(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and module of each import of a library that runs what it reads."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        else:
            continue
        yield from ((node.lineno, f"imports {name}") for name in modules if name.split(".")[0] in PICKLES)


def unsafe_calls(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and reason of each call that may run what it is handed."""
    names = full_names(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        head, _, rest = dotted(node.func).partition(".")
        called = ".".join(filter(None, [names.get(head, head), rest])).removeprefix("builtins.")
        options = {keyword.arg: keyword.value for keyword in node.keywords}
        if called in RUNS_TEXT | SHELLS:
            yield node.lineno, f"calls {called}"
        if called == "torch.load" and not is_constant(options.get("weights_only"), True):
            yield node.lineno, "calls torch.load without weights_only=True"
        if called == "torch.hub.load":
            yield node.lineno, "calls torch.hub.load"
        if called == "numpy.load" and len(node.args) > 2:
            yield node.lineno, "calls numpy.load with allow_pickle by position"
        yield from (
            (node.lineno, f"sets {name}")
            for name in sorted(MUST_BE_OFF & {name for name in options if name})
            if not is_constant(options[name], False)
        )


def is_constant(node: ast.expr | None, value: bool) -> bool:
    """Whether an expression is the literal `value`; a variable never is."""
    return isinstance(node, ast.Constant) and node.value is value


def findings(source: str, *, may_pickle: bool = False) -> list[str]:
    """Every unsafe thing in a file, as `line: reason`."""
    tree = ast.parse(source)
    found = list(unsafe_calls(tree)) + ([] if may_pickle else list(imports_of_pickle(tree)))
    return [f"{line}: {reason}" for line, reason in sorted(found)]


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_folder_is_left_out(folder: str) -> None:
    assert any(path.is_relative_to(ROOT / folder) for path in FILES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_runs_nothing_it_is_handed(path: Path) -> None:
    is_test = path.is_relative_to(ROOT / "tests")
    assert findings(path.read_text("utf-8"), may_pickle=is_test) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import numpy.random, _pickle as quick",
        "def late():\n    import marshal",
        "eval(text)",
        "import builtins\nbuiltins.exec(text)",
        "__import__(name)",
        "import torch\ntorch.load(path)",
        "import torch as t\nt.load(path, weights_only=False)",
        "from torch import load\nload(path, weights_only=flag)",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "import numpy\nnumpy.load(path, None, True)",
        "AutoModel.from_pretrained(path, trust_remote_code=flag)",
        "import subprocess\nsubprocess.run(line, shell=True)",
        "from os import system\nsystem(line)",
    ],
)
def test_the_scan_finds(source: str) -> None:
    assert len(findings(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "import pickletools",  # reads the opcodes and runs none
        "model.eval()",
        "import re, torch\nre.compile(pattern)\ntorch.compile(model)",
        "import torch\ntorch.load(path, weights_only=True)",
        "import numpy as np\nnp.load(path, mmap_mode='r', allow_pickle=False)",
        "import json\njson.load(file)",
        "import subprocess\nsubprocess.run([program, path], shell=False)",
        "# eval(text)\n'import pickle'",
    ],
)
def test_the_scan_lets_pass(source: str) -> None:
    assert findings(source) == []


def test_the_scan_allows_tests_to_write_pickles_but_not_to_run_text() -> None:
    assert findings("import pickle\neval(text)", may_pickle=True) == ["2: calls eval"]
