"""The README is run: its commands and scripts print what it says. What it may write: see readme_blocks.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from readme_blocks import (
    READ,
    RUN,
    SAME_AS,
    Workshop,
    is_python,
    read_blocks,
    read_steps,
    same_line,
    same_output,
)

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
MAX_LINES = 150
SET_UP = re.compile(r"^(?:sudo\s+)?(make\s+[\w-]+|(?:\S*pip3?|python3? -m (?:pip|venv)|uv|conda|apt(?:-get)?)\s.*)$")

BLOCKS = read_blocks(README.read_text("utf-8")) if README.exists() else []


def test_every_block_prints_what_the_readme_says(tmp_path: Path) -> None:
    Workshop(tmp_path, ROOT).run_page(BLOCKS)


def test_the_readme_fits_on_150_lines() -> None:
    assert len(README.read_text("utf-8").splitlines()) <= MAX_LINES


def test_the_readme_names_exactly_two_set_up_commands() -> None:
    commands = [
        " ".join(step.command.split())
        for block in BLOCKS
        if block.language == "console"
        for step in read_steps(block.text)
    ]
    assert {command for command in commands if SET_UP.match(command)} == {"make demo", "make test"}


def test_every_block_says_how_it_is_to_be_read() -> None:
    assert [f"line {block.line}: {block.language!r}" for block in BLOCKS if block.language not in RUN | READ] == []


def test_a_block_that_is_not_run_says_why_and_is_still_python_or_console() -> None:
    for block in BLOCKS:
        if "no-run" in block.options:
            assert dict(block.notes).get("no-run"), f"line {block.line}: no <!-- no-run: reason --> above the block"
            assert is_python(block.text) if block.language == "python" else read_steps(block.text)


def test_make_demo_runs_the_command_that_stands_for_it_here() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    recipe = re.search(r"^demo:.*\n\t@?(.*)$", makefile, re.MULTILINE)
    assert recipe
    assert recipe[1].removeprefix("$(BIN)/") == SAME_AS["make demo"]


# ---------------------------------------------------------------------------------------- the checker itself

PAGE = """\
Words.

<!-- before: echo one > made.txt -->
```console
$ cat made.txt
one
$ cat <<END
> two
> END
two
$ ls nowhere
ls: cannot access 'nowhere': No such file or directory
[exit 2]
```

<!-- no-run: needs hours -->
```console no-run
$ make world
```

```python
print("a", "b")
# > a b
```
"""


def test_blocks_are_read_with_their_notes_and_options() -> None:
    first, second, third = read_blocks(PAGE)
    assert (first.line, first.is_run, first.notes) == (5, True, (("before", "echo one > made.txt"),))
    assert (second.options, second.is_run, second.notes) == (("no-run",), False, (("no-run", "needs hours"),))
    assert (third.language, third.text, third.notes) == ("python", ('print("a", "b")', "# > a b"), ())


def test_a_note_counts_only_for_the_block_below_it() -> None:
    (block,) = read_blocks("<!-- no-run: why -->\nWords between.\n```text\n```\n")
    assert block.notes == ()


def test_a_true_page_passes(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path, ROOT)
    for block in read_blocks(PAGE):
        if block.is_run:
            workshop.run_block(block)


@pytest.mark.parametrize(
    ("said", "truth"),
    [
        ("one\n$", "two\n$"),
        ("[exit 2]", "[exit 1]"),
        ("> two", "> three"),
        ("# > a b", "# > b a"),
        ('"b")', '"b"'),
    ],
)
def test_a_page_that_says_something_else_fails(tmp_path: Path, said: str, truth: str) -> None:
    assert said in PAGE
    workshop = Workshop(tmp_path, ROOT)

    def run_page() -> None:
        for block in read_blocks(PAGE.replace(said, truth, 1)):
            if block.is_run:
                workshop.run_block(block)

    with pytest.raises(AssertionError):
        run_page()


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ("done in 3.2 s", "done in 41 s"),
        ("done in 0.9 s", "done in 870 ms"),
        ("1,204 blocks at 37 blocks/s", "1,204 blocks at 212.5 blocks/s"),
        ("left 0:12", "left 1:02:59"),
        ("confidence 83 %   yes", "confidence 79 %  yes"),
        ("83%", "83.4 %"),
    ],
)
def test_lines_are_the_same_up_to_measurements(expected: str, found: str) -> None:
    assert same_line(expected, found)


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ("1,204 blocks", "1,205 blocks"),
        ("confidence 83 %", "confidence 12 %"),
        ("George Eliot", "george eliot"),
        ("3 seasons", "4 seasons"),
        ("in 1874", "in 1875"),
    ],
)
def test_lines_differ_in_what_was_said(expected: str, found: str) -> None:
    assert not same_line(expected, found)


@pytest.mark.parametrize(
    ("expected", "found", "agree"),
    [
        ("a ... c", "a b b c", True),
        ("...", "", True),
        ("a ...", "a", True),
        ("... c", "a b", False),
        ("a c", "a b c", False),
        ("a ... b ... c", "a x b y b c", True),
    ],
)
def test_three_dots_stand_for_any_lines(expected: str, found: str, agree: bool) -> None:
    assert same_output(expected.split(), found.split()) is agree
