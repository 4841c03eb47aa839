"""What commands print when all is well, and what the command line itself promises."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Run
from tiny_model import digests, stories, write_jsonl

import realm as front_door
from realm.openqa.ask import OpenQA, Searching
from realm.openqa.knowledge_base import KnowledgeBase

QUESTION = "Who wrote the opera of São Paulo?"


def test_ask_json_prints_one_object_with_the_documented_keys(realm: Run, kb: Path) -> None:
    said = realm("ask", QUESTION, "--kb", kb, "--json", "--top", 3, "--dense")
    assert (said.code, said.err) == (0, "")
    assert said.out.count("\n") == 1
    found = json.loads(said.out)
    assert {"answer", "confidence", "evidence"} <= set(found)
    answer = OpenQA.load(kb).ask(QUESTION, top=3, searching=Searching(hybrid=False))
    assert found["answer"] == answer.text
    assert found["confidence"] == pytest.approx(answer.confidence)
    assert len(found["evidence"]) == 3
    assert sorted((e["score"] for e in found["evidence"]), reverse=True) == [e["score"] for e in found["evidence"]]
    answering = []
    for evidence in found["evidence"]:
        assert {"title", "document_id", "text", "score", "start", "end"} <= set(evidence)
        document = KnowledgeBase.open(kb).document(evidence["document_id"])
        assert evidence["title"] == document.title
        assert evidence["text"] in document.text
        if evidence["start"] is not None:
            answering.append(document.text[evidence["start"] : evidence["end"]])
    assert answering == [found["answer"]]


def test_ask_json_says_null_for_no_answer(realm: Run, kb: Path) -> None:
    found = json.loads(realm("ask", QUESTION, "--kb", kb, "--json", "--min-confidence", "1").out)
    assert found["answer"] is None
    assert 0 <= found["confidence"] < 1
    assert all(evidence["start"] is None for evidence in found["evidence"])


def test_ask_shows_the_answer_and_where_it_stands(realm: Run, kb: Path) -> None:
    answer = OpenQA.load(kb).ask(QUESTION)
    said = realm("ask", QUESTION, "--kb", kb)
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[0].startswith(f"{answer.text}   (confidence ")
    place = next(evidence for evidence in answer.evidence if evidence.start is not None)
    name = f"{place.title} — {place.document_id}" if place.title else place.document_id
    assert lines[1].startswith(f"  {name} [{place.start}:{place.end}]   score ")
    assert answer.text is not None
    assert answer.text.replace("\n", " ") in lines[2]
    assert len(lines) == 1 + 2 * len(answer.evidence)
    assert realm("ask", QUESTION, "--kb", kb, "--min-confidence", "1").out.startswith("no answer   (confidence ")


def test_asking_changes_nothing_on_disk(realm: Run, kb: Path) -> None:
    before = digests(kb)
    realm("ask", QUESTION, "--kb", kb)
    realm("info", "--kb", kb, "--verify")
    assert digests(kb) == before


def test_index_says_what_it_did(realm: Run, kb: Path, model: Path, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "stories.jsonl", [*stories(7), *stories(10, seed=3)[7:]])
    said = realm("index", source, "--kb", kb, "--model", model)
    assert said.code == 0
    assert "version 2, 2 documents added, 1 updated, 7 unchanged" in said.out
    assert "Traceback" not in said.err
    said = realm("index", source, "--kb", kb, "--model", model)
    assert "version 2, 0 documents added, 0 updated, 10 unchanged; 0 blocks embedded" in said.out


def test_names_with_brackets_and_colons_are_printed_as_they_are(
    realm: Run, kb: Path, model: Path, tmp_path: Path
) -> None:
    odd = tmp_path / "kb[/red]:smile:"
    source = tmp_path / "[bold]"
    (source / "[").mkdir(parents=True)
    (source / "[red]one.txt").write_text("The [red] queen[/bold] wrote :smile: music.", encoding="utf-8")
    (source / "[" / "x].doc").touch()
    said = realm("index", source, "--kb", odd, "--model", model)
    assert said.code == 0
    assert f"{odd}: version 1, 1 documents added" in said.out
    assert f"  first: {source}/[/x].doc: " in said.err
    said = realm("ask", "who wrote it?", "--kb", odd)
    assert said.code == 0
    assert "[red]one" in said.out
    assert "The [red] queen[/bold] wrote :smile: music." in said.out


def test_a_document_cannot_steer_the_terminal(realm: Run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("The queen\x1b[2J wrote\x07 music.\r\nIn\u202e Paris.", encoding="utf-8")
    realm("index", tmp_path / "one.txt", "--kb", tmp_path / "kb", "--model", model)
    for least in (0, 1):
        said = realm("ask", "who wrote it?", "--kb", tmp_path / "kb", "--min-confidence", least)
        assert "The queen [2J wrote  music.  In  Paris." in said.out
        assert all(line.isprintable() for line in said.out.splitlines())


def test_remove_says_how_many_there_were_and_which_were_not(realm: Run, kb: Path) -> None:
    said = realm("remove", "story/1", "story/3", "nobody", "story/1", "--kb", kb)
    assert (said.code, said.out) == (0, f"removed 2 of 3 documents; {kb} is now version 2\n")
    assert said.err == "not there: 'nobody'\n"
    assert KnowledgeBase.open(kb).manifest.documents == 6


def test_remove_takes_out_all_that_fit_a_condition(realm: Run, kb: Path) -> None:
    said = realm("remove", "--where", "id IN ('story/1', 'story/5')", "--kb", kb)
    assert (said.code, said.out) == (0, f"removed 2 of 2 documents; {kb} is now version 2\n")
    left = {id for batch in KnowledgeBase.open(kb).documents.ids() for id, _ in batch}
    assert left == {f"story/{number}" for number in (0, 2, 3, 4, 6, 7)}
    said = realm("remove", "--where", "id = 'story/1'", "--kb", kb)
    assert (said.code, said.out) == (0, f"no document fits the condition; {kb} is still version 2\n")


def test_info_counts_what_is_there(realm: Run, kb: Path, model: Path) -> None:
    base = KnowledgeBase.open(kb)
    found = json.loads(realm("info", "--kb", kb, "--json", "--verify").out)
    assert (found["version"], found["documents"], found["blocks"]) == (1, 8, base.live_blocks)
    assert found["vector_bytes"] == (kb / "vectors" / "000000.f16").stat().st_size
    assert (found["model"], found["verified"]) == (str(model), True)
    assert f"{'documents':>14}  8\n" in realm("info", "--kb", kb).out


def test_without_a_command_the_help_is_shown(realm: Run) -> None:
    for arguments, word in (([], "Commands"), (["train"], "embedder")):
        said = realm(*arguments)
        assert (said.code, said.err) == (2, "")
        assert word in said.out
        said = realm(*arguments, "--help")
        assert (said.code, said.err) == (0, "")
        assert "Usage: realm" in said.out


def test_the_version_is_that_of_the_package(realm: Run) -> None:
    said = realm("--version")
    assert (said.code, said.out, said.err) == (0, f"realm {front_door.__version__}\n", "")


def test_ctrl_c_says_that_nothing_is_lost(realm: Run, kb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(OpenQA, "ask", interrupted)
    said = realm("ask", "who?", "--kb", kb)
    assert (said.code, said.err) == (130, "realm: stopped; nothing that was complete is lost.\n")


def test_a_bug_of_ours_is_not_hidden(realm: Run, kb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenQA, "ask", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        realm("ask", "who?", "--kb", kb)


def test_the_module_is_the_command_and_prints_nothing_beside_its_answer(kb: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "realm", "ask", QUESTION, "--kb", str(kb), "--json"],
        env={**os.environ, "PYTHONPATH": str(Path(front_door.__file__).parents[1]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (said.returncode, said.stderr) == (0, "")
    assert json.loads(said.stdout)["question"] == QUESTION


@pytest.mark.parametrize("job", ["embedder", "reader", "ict", "pretrain", "finetune"])
def test_every_job_is_a_command_that_knows_its_keys(realm: Run, tmp_path: Path, job: str) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text("lerning_rate = 1e-4\n")
    said = realm("train", job, recipe, "--out", tmp_path / "run")
    assert said.code == 2
    assert "lerning_rate" in said.err
    assert "learning_rate" in said.err.replace("lerning_rate", "")


def test_words_first_and_vectors_later(realm: Run, model: Path, tmp_path: Path) -> None:
    kb, source = tmp_path / "kb", write_jsonl(tmp_path / "stories.jsonl", stories(5))
    said = realm("index", source, "--kb", kb, "--model", model, "--words-only")
    blocks = re.search(r"; (\d+) blocks stored", said.out)
    assert blocks is not None
    remark = f"{blocks[1]} blocks have no vectors: questions are answered by words alone, until all are embedded with: "
    assert f"{remark}realm embed --kb {kb}" in said.err
    assert realm("ask", QUESTION, "--kb", kb).code == 0
    said = realm("ask", QUESTION, "--kb", kb, "--weight", "0.5")
    assert said.code == 2
    assert f"Embed them with: realm embed --kb {kb}" in said.err
    told = realm("info", "--kb", kb).out
    assert f"without_vectors  {blocks[1]}\n" in told
    assert f"embed_with  realm embed --kb {kb}\n" in told
    said = realm("embed", "--kb", kb)
    assert f"{kb}: version 2, {blocks[1]} blocks embedded" in said.out
    assert "without_vectors" not in realm("info", "--kb", kb).out
    assert realm("ask", QUESTION, "--kb", kb, "--weight", "0.5").code == 0
    assert realm("embed", "--kb", kb).out == f"{kb}: version 2, 0 blocks embedded\n"
    said = realm("embed", "--kb", tmp_path / "none")
    assert said.code == 2
    assert "No knowledge base at" in said.err


@pytest.mark.parametrize(("encoding", "dash"), [("utf-8", "—"), ("latin-1", "\\u2014")])
def test_signs_that_a_terminal_does_not_have_are_written_otherwise(kb: Path, encoding: str, dash: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "realm", "search", QUESTION, "--kb", kb],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert dash in done.stdout.decode(encoding)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_output_that_finds_no_room_is_told_in_one_line(kb: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-m", "realm", "list", "--kb", kb], stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (
        2,
        b"realm: the output cannot be written: no space is left where it goes.\n",
    )
