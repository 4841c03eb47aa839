"""Reads the code blocks of a Markdown page and runs them. What a page may write:

    ```console          Each `$ command` is run by bash, all blocks in one folder, in order; `> ` continues a
                        command. The lines below it are what it prints; a line `...` stands for any lines.
                        `[exit 2]` as the last line says that it fails, with its message shown; otherwise it
                        must succeed. `$REALM_SOURCE` is the project; `make demo` is run as `realm demo`.
    ```python           Run as a script of its own, in the same folder. `# > ` begins a line that it prints.
    ```console no-run   Not run; an HTML comment above it, `<!-- no-run: reason -->`, says why.
    <!-- before: command -->    Above a block: run first, unseen by the reader (makes a file it needs).

Durations, rates and clock times may differ from the page; percentages by ten points. All else is compared as
it stands, except for runs of spaces. Other languages (text, json, toml) are for reading.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

RUN = {"console", "python"}
READ = {"bibtex", "json", "text", "toml"}
# Set-up has been done where a test runs, so these are run without it.
SAME_AS = {"make demo": "realm demo"}
PERCENT_POINTS = 10.0
TIMEOUT_SECONDS = 180

# What installing the project would put into the folder of programs.
_LAUNCHER = "import sys\nfrom realm.cli.main import main\nsys.exit(main())\n"
# Takes the place of `realm`: asks `forking_realm` at a socket to run it.
_CLIENT = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
    server.connect({path!r})
    told = {{"argv": sys.argv[1:], "folder": os.getcwd(), "environment": dict(os.environ)}}
    socket.send_fds(server, [json.dumps(told).encode()], [0, 1, 2])
    sys.exit(int(server.recv(16)))
"""
_FENCE = re.compile(r"^```(.*)$")
_COMMENT = re.compile(r"^<!--\s*(no-run|before):\s*(.*?)\s*-->$")
_TIME = re.compile(r"\b(?:\d+:\d\d(?::\d\d)?|\d+(?:,\d{3})*(?:\.\d+)?\s?(?:ms|s|min|[A-Za-z]+/s))(?!\w)")
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s?%")


@dataclass(frozen=True)
class CodeBlock:
    """A fenced block.

    Attributes:
        line: Line of the page on which its text begins, from 1.
        language: First word after the fence.
        options: The other words.
        text: Its lines.
        notes: The HTML comments above it: `no-run` or `before`, and what follows.
    """

    line: int
    language: str
    options: tuple[str, ...]
    text: tuple[str, ...]
    notes: tuple[tuple[str, str], ...]

    @property
    def is_run(self) -> bool:
        return self.language in RUN and "no-run" not in self.options


@dataclass(frozen=True)
class Step:
    """A command of a console block and what the page says it prints."""

    command: str
    output: tuple[str, ...]
    exit_code: int


def read_blocks(page: str) -> list[CodeBlock]:
    """All fenced blocks of a page, in order."""
    blocks: list[CodeBlock] = []
    notes: list[tuple[str, str]] = []
    lines = iter(enumerate(page.splitlines(), start=1))
    for number, line in lines:
        if fence := _FENCE.match(line):
            language, *options = fence[1].split() or [""]
            text = []
            for _, inner in lines:
                if inner.rstrip() == "```":
                    break
                text.append(inner)
            blocks.append(CodeBlock(number + 1, language, tuple(options), tuple(text), tuple(notes)))
            notes = []
        elif comment := _COMMENT.match(line.strip()):
            notes.append((comment[1], comment[2]))
        elif line.strip():
            notes = []
    return blocks


def read_steps(text: Sequence[str]) -> list[Step]:
    """The commands of a console block.

    Raises:
        ValueError: Something stands before the first `$ `.
    """
    steps: list[Step] = []
    lines = list(text)
    while lines:
        first = lines.pop(0)
        if not first.startswith("$ "):
            raise ValueError(f"expected `$ command`, found: {first!r}")
        command = [first[2:]]
        while lines and lines[0].startswith("> "):
            command.append(lines.pop(0)[2:])
        output = []
        while lines and not lines[0].startswith("$ "):
            output.append(lines.pop(0))
        ending = re.fullmatch(r"\[exit (\d+)\]", output[-1].strip()) if output else None
        steps.append(
            Step("\n".join(command), tuple(output[:-1] if ending else output), int(ending[1]) if ending else 0)
        )
    return steps


def printed_by(text: Sequence[str]) -> list[str]:
    """What a Python block says that it prints."""
    return [line.strip()[4:] for line in text if line.strip().startswith("# > ")]


def same_line(expected: str, found: str) -> bool:
    """Whether two lines agree in all but durations, rates, and a few points of a percentage."""
    percents = [[float(number) for number in _PERCENT.findall(line)] for line in (expected, found)]
    texts = [" ".join(_PERCENT.sub("<%>", _TIME.sub("<time>", line)).split()) for line in (expected, found)]
    return texts[0] == texts[1] and all(abs(a - b) <= PERCENT_POINTS for a, b in zip(*percents, strict=True))


def same_output(expected: Sequence[str], found: Sequence[str]) -> bool:
    """Whether the printed lines are those of the page, where `...` stands for any number of lines."""
    if not expected:
        return not found
    if expected[0].strip() == "...":
        return any(same_output(expected[1:], found[begin:]) for begin in range(len(found) + 1))
    return bool(found) and same_line(expected[0], found[0]) and same_output(expected[1:], found[1:])


def check_output(what: str, expected: Sequence[str], printed: str) -> None:
    """Fail with both texts unless `printed` is what the page says."""
    wanted = "\n".join(expected).strip("\n").splitlines()
    found = [line.rstrip() for line in printed.strip("\n").splitlines()]
    assert same_output(wanted, found), "\n".join([what, "--- the page says", *wanted, "--- it printed", *found])


class Workshop:
    """One folder in which the blocks of a page are run, one after another.

    Args:
        folder: Where there is room for it.
        source: The project.
    """

    def __init__(self, folder: Path, source: Path) -> None:
        self.folder = folder / "work"
        self.folder.mkdir()
        self._programs = folder / "bin"
        self._programs.mkdir()
        beside = Path(sys.executable).parent
        if not (beside / "realm").exists():
            self._add_program(f"#!{sys.executable}\n{_LAUNCHER}")
        self.environment = {
            **os.environ,
            "COLUMNS": "100",
            "NO_COLOR": "1",
            "PATH": os.pathsep.join([str(self._programs), str(beside), os.environ["PATH"]]),
            "PYTHONPATH": str(source / "src"),
            "PYTHONUTF8": "1",
            "REALM_SOURCE": str(source),
            "TERM": "dumb",
        }

    def run_page(self, blocks: Sequence[CodeBlock]) -> None:
        """Run the blocks that are to be run; `realm` is loaded once for all of them, where the system can do that."""
        with self._forking_realm() if sys.platform == "linux" else nullcontext():
            for block in blocks:
                if block.is_run:
                    self.run_block(block)

    @contextmanager
    def _forking_realm(self) -> Iterator[None]:
        """Put a client of `forking_realm` in the place of `realm`."""
        path = str(self._programs / "socket")
        with subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("forking_realm.py")), path],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self.environment, text=True,
        ) as server:  # fmt: skip
            assert server.stdin is not None
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            self._add_program(_CLIENT.format(python=sys.executable, path=path))
            try:
                yield
            finally:
                (self._programs / "realm").unlink()
                server.stdin.close()

    def _add_program(self, text: str) -> None:
        (self._programs / "realm").write_text(text, "utf-8")
        (self._programs / "realm").chmod(0o755)

    def run_block(self, block: CodeBlock) -> None:
        """Run a block, and compare what it prints with the page."""
        for kind, command in block.notes:
            if kind == "before":
                self.run_step(Step(command, ("...",), 0))
        if block.language == "python":
            self.run_script(block)
        else:
            for step in read_steps(block.text):
                self.run_step(step)

    def run_step(self, step: Step) -> None:
        command = SAME_AS.get(step.command, step.command)
        result = self._run([shutil.which("bash") or "/bin/bash", "-c", command])
        printed = result.stdout + (result.stderr if result.returncode else "")
        assert result.returncode == step.exit_code, f"$ {command}\nexit {result.returncode}\n{printed}"
        check_output(f"$ {command}", step.output, printed)

    def run_script(self, block: CodeBlock) -> None:
        result = self._run([sys.executable, "-c", "\n".join(block.text)])
        assert result.returncode == 0, f"the script at line {block.line}\n{result.stderr}"
        check_output(f"the script at line {block.line}", printed_by(block.text) or ["..."], result.stdout)

    def _run(self, arguments: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            arguments,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
            stdin=subprocess.DEVNULL,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )


def is_python(text: Sequence[str]) -> bool:
    """Whether a block that is not run could be."""
    try:
        ast.parse("\n".join(text))
    except SyntaxError:
        return False
    return True
