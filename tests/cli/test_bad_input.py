"""Bad input on the command line: exit code 2, one line that says what and where, and nothing lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Run, Said
from tiny_model import digests, stories, write_jsonl


def assert_one_line(said: Said, *parts: str) -> None:
    assert said.code == 2
    assert said.out == ""
    lines = said.err.splitlines()
    assert len(lines) == 1, said.err
    assert lines[0].startswith("realm: ")
    assert "Traceback" not in said.err
    for part in parts:
        assert part in lines[0], said.err


def missing(folder: Path) -> Path:
    return folder / "missing.jsonl"


def empty(folder: Path) -> Path:
    (folder / "empty.jsonl").touch()
    return folder / "empty.jsonl"


def blank(folder: Path) -> Path:
    (folder / "blank.jsonl").write_text("\n  \n", encoding="utf-8")
    return folder / "blank.jsonl"


def no_documents(folder: Path) -> Path:
    (folder / "pictures").mkdir()
    (folder / "pictures" / "sea.jpg").write_bytes(b"sea")
    return folder / "pictures"


def other_kind(folder: Path) -> Path:
    (folder / "story.docx").write_bytes(b"PK")
    return folder / "story.docx"


def not_utf8(folder: Path) -> Path:
    (folder / "latin.txt").write_bytes("Die Z\xfcge von Z\xfcrich.".encode("latin-1"))
    return folder / "latin.txt"


def not_utf8_line(folder: Path) -> Path:
    (folder / "latin.jsonl").write_bytes(b'{"text": "one"}\n{"text": "\xfc"}\n')
    return folder / "latin.jsonl"


def broken_json(folder: Path) -> Path:
    lines = ['{"id": "a", "text": "The queen wrote."}', '{"id": "b", "text": ', '{"id": "c", "text": "The duke."}']
    (folder / "broken.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder / "broken.jsonl"


def no_text(folder: Path) -> Path:
    (folder / "titles.jsonl").write_text('{"title": "[/red] Wolf"}\n', encoding="utf-8")
    return folder / "titles.jsonl"


def same_id(folder: Path) -> Path:
    line = '{"id": "[/b]", "text": "The queen wrote."}\n'
    (folder / "twice.jsonl").write_text(line * 2, encoding="utf-8")
    return folder / "twice.jsonl"


def cut_off(folder: Path) -> Path:
    (folder / "cut.jsonl.gz").write_bytes(b"\x1f\x8b\x08")
    return folder / "cut.jsonl.gz"


def zero_width(folder: Path) -> Path:
    (folder / "thin.jsonl").write_text('{"text": "\\u200b\\ufeff"}\n', encoding="utf-8")
    return folder / "thin.jsonl"


SOURCES: dict[Callable[[Path], Path], tuple[str, ...]] = {
    missing: ("missing.jsonl", "no such file", "Check the path"),
    empty: ("empty.jsonl", "no documents", "expected"),
    blank: ("blank.jsonl", "no documents"),
    no_documents: ("pictures", "no documents", ".txt"),
    other_kind: ("story.docx", "expected one of .jsonl"),
    not_utf8: ("latin.txt", "not UTF-8", "0xfc", "offset 5", "save it as UTF-8", "--skip-bad"),
    not_utf8_line: ("latin.jsonl:2", "not UTF-8"),
    broken_json: ("broken.jsonl:2", "broken JSON", "column", "--skip-bad"),
    no_text: ("titles.jsonl:1", '"text" is missing', "--skip-bad"),
    zero_width: ("thin.jsonl:1", "no visible character", "--skip-bad"),
    same_id: ("twice.jsonl:2", "[/b]", "unique", "--skip-bad"),
    cut_off: ("cut.jsonl.gz",),
}


@pytest.mark.parametrize("make", SOURCES)
def test_a_bad_source_is_told_in_one_line_and_changes_nothing(
    realm: Run, kb: Path, model: Path, tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    before = digests(kb)
    source = make(tmp_path)
    good = write_jsonl(tmp_path / "good.jsonl", stories(2, seed=7))
    assert_one_line(realm("index", good, source, "--kb", kb, "--model", model), *SOURCES[make])
    assert digests(kb) == before
    assert_one_line(realm("index", source, "--kb", tmp_path / "new", "--model", model), *SOURCES[make])
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("make", "reason"), [(broken_json, "broken_json 1"), (same_id, "duplicate_id 1")])
def test_skip_bad_keeps_the_rest_and_says_what_it_left_out(
    realm: Run, model: Path, tmp_path: Path, make: Callable[[Path], Path], reason: str
) -> None:
    said = realm("index", make(tmp_path), "--kb", tmp_path / "new", "--model", model, "--skip-bad")
    assert said.code == 0
    assert f"skipped 1: {reason}" in said.err
    assert f"first: {tmp_path}" in said.err
    assert SOURCES[make][0] in said.err
    kept = 2 if make is broken_json else 1
    assert f"version 1, {kept} documents added, 0 updated, 0 unchanged; {kept} blocks embedded" in said.out


def test_a_source_that_is_given_twice_is_told_as_such(
    realm: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = write_jsonl(tmp_path / "good.jsonl", stories(2))
    for again in (source, Path("good.jsonl")):
        said = realm("index", source, again, "--kb", tmp_path / "new", "--model", model)
        assert_one_line(said, "good.jsonl:1", "its source was given twice", "Give it once")
    assert_one_line(realm("index", tmp_path, source, "--kb", tmp_path / "new", "--model", model), "given twice")


@pytest.mark.parametrize("line", [("index", ""), ("index", "good.jsonl", "--kb", ""), ("ask", "who?", "--kb", "")])
def test_an_empty_path_is_not_the_current_folder(
    realm: Run, kb: Path, model: Path, monkeypatch: pytest.MonkeyPatch, line: tuple[str, ...]
) -> None:
    monkeypatch.chdir(kb)
    write_jsonl(kb / "good.jsonl", stories(2))
    before = digests(kb)
    assert_one_line(realm(*line), 'found ""; give a path, such as .', f"realm {line[0]} --help")
    assert digests(kb) == before


def test_skip_bad_does_not_make_a_knowledge_base_of_nothing(realm: Run, model: Path, tmp_path: Path) -> None:
    said = realm("index", no_text(tmp_path), "--kb", tmp_path / "new", "--model", model, "--skip-bad")
    assert_one_line(said, "titles.jsonl", "no documents", "no_text 1")
    assert not (tmp_path / "new").exists()


QUESTIONS = {
    "": "The question is empty",
    " \n ": "The question is empty",
    "who " * 5000: "The question has 5,000 word pieces; at most 128 are read",
    "who \udcfc": "not UTF-8",
}


@pytest.mark.parametrize("question", QUESTIONS, ids=["empty", "blank", "5000 words", "not text"])
def test_a_question_that_cannot_be_asked_is_told_in_one_line(realm: Run, kb: Path, question: str) -> None:
    before = digests(kb)
    assert_one_line(realm("ask", question, "--kb", kb), QUESTIONS[question])
    assert_one_line(realm("ask", question, "--kb", kb, "--json"), QUESTIONS[question])
    assert digests(kb) == before


WRONG_LINES = {
    ("ask", "who?", "--nope"): ("No such option: --nope", "realm ask --help"),
    ("ask", "who?", "--top", "0"): ("--top", "greater than or equal to 1", "realm ask --help"),
    ("ask", "who?", "--top", "many"): ("--top", "realm ask --help"),
    ("ask", "who?", "--min-confidence", "2"): ("--min-confidence", "1"),
    ("ask",): ("Missing argument 'question'", "realm ask --help"),
    ("ask", "who", "wrote", "it?"): ("wrote", "realm ask --help"),
    ("index",): ("Missing argument 'sources'", "realm index --help"),
    ("remove",): ("either ids of documents or --where", "realm remove --help"),
    ("asks", "who?"): ("No such command 'asks'", "realm --help"),
    ("--nope",): ("No such option: --nope", "realm --help"),
    ("train", "nothing"): ("No such command 'nothing'", "realm train --help"),
    ("train", "embedder", "mini-embedder"): ("--out", "realm train embedder --help"),
}


@pytest.mark.parametrize("line", WRONG_LINES, ids=" ".join)
def test_a_line_that_cannot_be_parsed_is_told_with_where_to_read_on(realm: Run, line: tuple[str, ...]) -> None:
    assert_one_line(realm(*line), *WRONG_LINES[line])


RECIPES = {
    "nothing-of-the-kind": ("No recipe nothing-of-the-kind", "mini-embedder"),
    "unknown.toml": ("unknown.toml", "unknown key 'stepz'", "'steps'"),
    "broken.toml": ("broken.toml", "not a TOML file"),
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_bad_recipe_is_told_in_one_line(
    realm: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "unknown.toml").write_text("stepz = 3\n", encoding="utf-8")
    (tmp_path / "broken.toml").write_text("steps = \n", encoding="utf-8")
    for job in ("embedder", "reader"):
        assert_one_line(realm("train", job, name, "--out", tmp_path / "run"), *RECIPES[name])
    assert not (tmp_path / "run").exists()


def test_an_unknown_key_over_a_recipe_is_told_with_the_nearest_one(realm: Run, tmp_path: Path) -> None:
    said = realm("train", "reader", "mini-reader", "--set", "learning_rat=1", "--out", tmp_path / "run")
    assert_one_line(said, "unknown key 'learning_rat'", "did you mean 'learning_rate'?")
    said = realm("train", "reader", "mini-reader", "--set", "steps", "--out", tmp_path / "run")
    assert_one_line(said, "--set takes key=value", "'steps'")
    said = realm("train", "reader", "mini-reader", "--set", "steps=many", "--out", tmp_path / "run")
    assert_one_line(said, "steps must be int", "'many'")
    (tmp_path / "taken").touch()
    said = realm("train", "reader", "mini-reader", "--out", tmp_path / "taken")
    assert_one_line(said, "taken", "Give another folder")
    assert not (tmp_path / "run").exists()
