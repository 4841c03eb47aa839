"""Passages and documents on the command line: `realm search`, `realm list` and `realm show`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Run
from test_bad_input import assert_one_line
from tiny_model import stories, write_jsonl

from realm.openqa.ask import OpenQA, Searching
from realm.openqa.knowledge_base import KnowledgeBase

SOURCE = Path(__file__).parents[2] / "src"
QUESTION = "Who wrote the opera of São Paulo?"


def test_search_gives_the_passages_that_asking_would_read(realm: Run, kb: Path) -> None:
    said = realm("search", QUESTION, "--kb", kb, "--top", 3, "--weight", 0.3, "--where", "id <> 'story/2'", "--json")
    assert (said.code, said.err, said.out.count("\n")) == (0, "", 1)
    found = json.loads(said.out)
    assert (found["question"], found["version"], found["note"]) == (QUESTION, 1, "")
    [expected] = OpenQA.load(kb).retrieve([QUESTION], 3, Searching("id <> 'story/2'", weight=0.3))
    assert [one["block_id"] for one in found["evidence"]] == [one.block_id for one in expected]
    base = KnowledgeBase.open(kb)
    for one in found["evidence"]:
        document = base.document(one["document_id"])
        assert document.text[one["block_start"] :].startswith(one["text"])
        assert (one["source"], one["metadata"]) == (document.source, dict(document.metadata))


def test_search_prints_each_passage_whole_below_its_place_and_source(realm: Run, kb: Path) -> None:
    said = realm("search", QUESTION, "--kb", kb, "--top", 2, "--dense")
    assert (said.code, said.err) == (0, "")
    [expected] = OpenQA.load(kb).retrieve([QUESTION], 2, Searching(hybrid=False))
    lines = said.out.splitlines()
    assert len(lines) == 4
    for head, text, one in zip(lines[::2], lines[1::2], expected, strict=True):
        assert (
            f"{one.document_id} [{one.block_start}:{one.block_start + len(one.text)}]   score {one.score:.1f}" in head
        )
        assert head.endswith(f"   {one.source}")
        assert text == "  " + one.text.replace("\n", " ")


def test_search_says_why_it_found_nothing(realm: Run, kb: Path) -> None:
    said = realm("search", QUESTION, "--kb", kb, "--where", "id = 'nobody'")
    assert (said.code, said.out) == (0, "")
    assert said.err == "No document has passages and fits the condition: id = 'nobody'\n"


def test_list_names_documents_with_title_and_source(realm: Run, kb: Path) -> None:
    said = realm("list", "--kb", kb)
    base = KnowledgeBase.open(kb)
    documents = [base.document(f"story/{number}") for number in range(8)]
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines() == [f"{one.id}\t{one.title}\t{one.source}" for one in documents]


def test_list_gives_those_that_fit_and_counts_those_left_out(realm: Run, kb: Path) -> None:
    said = realm("list", "--kb", kb, "--where", "id <> 'story/0'", "--limit", 2)
    assert [line.split("\t")[0] for line in said.out.splitlines()] == ["story/1", "story/2"]
    assert said.err == "2 of 7 documents; for more: --limit 7\n"
    found = json.loads(realm("list", "--kb", kb, "--limit", 3, "--json").out)
    assert (found["version"], found["total"], len(found["documents"])) == (1, 8, 3)
    assert found["documents"][0] == {
        "id": "story/0", "title": "", "source": KnowledgeBase.open(kb).document("story/0").source, "version": 1
    }  # fmt: skip
    assert_one_line(realm("list", "--kb", kb, "--where", "colour = 'red'"), "No document has 'colour'")


def test_show_prints_the_characters_that_an_answer_counts(realm: Run, kb: Path) -> None:
    document = KnowledgeBase.open(kb).document("story/3")
    assert realm("show", "story/3", "--kb", kb).out == document.text + "\n"
    said = realm("show", "story/3", "--kb", kb, "--from", 5, "--to", 17)
    assert (said.code, said.out, said.err) == (0, document.text[5:17] + "\n", "")
    found = json.loads(realm("show", "story/3", "--kb", kb, "--from", 5, "--json").out)
    assert found == {
        "id": "story/3", "title": document.title, "version": 1, "source": document.source, "metadata": {},
        "start": 5, "end": len(document.text), "total_characters": len(document.text), "text": document.text[5:],
    }  # fmt: skip


def test_a_place_of_an_older_version_is_still_found(realm: Run, kb: Path, model: Path, tmp_path: Path) -> None:
    old = KnowledgeBase.open(kb).document("story/3").text
    changed = write_jsonl(tmp_path / "stories.jsonl", stories(8, seed=5))
    assert realm("index", changed, "--kb", kb, "--model", model).code == 0
    assert realm("show", "story/3", "--kb", kb).out != old + "\n"
    assert realm("show", "story/3", "--kb", kb, "--version", 1).out == old + "\n"
    assert realm("compact", "--kb", kb).code == 0
    assert_one_line(realm("show", "story/3", "--kb", kb, "--version", 1), "has no version 1", "compact")


@pytest.mark.parametrize("places", [("--from", 10**6), ("--from", 7, "--to", 3), ("--to", 10**6)])
def test_places_that_a_document_does_not_have_are_refused(realm: Run, kb: Path, places: tuple[object, ...]) -> None:
    assert_one_line(realm("show", "story/3", "--kb", kb, *places), "'story/3' has", "characters", "--version")


def test_documents_that_are_not_there_are_named(realm: Run, kb: Path) -> None:
    assert_one_line(realm("show", "nobody", "--kb", kb), "No document 'nobody'", "realm list --kb")
    assert_one_line(realm("remove", "nobody", "none", "--kb", kb), "no document 'nobody', 'none'", "realm list --kb")
    assert_one_line(realm("remove", "--kb", kb), "either ids of documents or --where")
    assert_one_line(realm("remove", "story/1", "--where", "id = 'x'", "--kb", kb), "either ids")
    assert KnowledgeBase.open(kb).manifest.version == 1


def test_a_shown_document_cannot_steer_the_terminal(
    realm: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "The queen\x1b[2J wrote.\nIn\u202e Paris."
    write_jsonl(tmp_path / "one.jsonl", [stories(1)[0].__class__("one", "\x1b]0;x", text)])
    assert realm("index", tmp_path / "one.jsonl", "--kb", tmp_path / "kb", "--model", model).code == 0
    assert realm("show", "one", "--kb", tmp_path / "kb").out == text + "\n"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert realm("show", "one", "--kb", tmp_path / "kb").out == "The queen [2J wrote.\nIn  Paris.\n"
    assert realm("list", "--kb", tmp_path / "kb").out.startswith("one\t ]0;x\t")


@pytest.mark.parametrize(
    "arguments",
    [["list"], ["show", "story/2"], ["info", "--verify"], ["remove", "story/2"], ["compact"]],
    ids=lambda arguments: arguments[0],
)
def test_what_needs_no_model_loads_neither_torch_nor_transformers(arguments: list[str], kb: Path) -> None:
    code = (
        "import sys; from realm.cli.main import main; "
        f"sys.argv = {['realm', *arguments, '--kb', str(kb)]}; assert main() == 0; "
        "print([name for name in ('torch', 'transformers', 'faiss') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert found.stdout.splitlines()[-1] == "[]"
