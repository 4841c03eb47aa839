"""`realm calibrate` from the outside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import Run

from realm.corpus.answers import contains_answer
from realm.evaluation.predicting import claim_folder
from realm.openqa.ask import OpenQA, Searching
from realm.openqa.asked import Asked
from realm.openqa.calibration import Calibration

WORDS = ("rome", "the moon", "zürich", "nowhere", "paris", "opera", "bridge", "river")


@pytest.fixture
def questions(tmp_path: Path, kb: Path) -> Path:
    """Questions of which two in three are answered right, because what the tiny model says is the reference."""
    qa = OpenQA.load(kb)
    path = tmp_path / "asked.jsonl"
    lines = []
    for number in range(24):
        text = f"who ruled {WORDS[number % len(WORDS)]} in {number}?"
        said = {qa.ask(text, top=2, searching=Searching(hybrid=hybrid), min_confidence=0.0).text for hybrid in (0, 1)}
        answers = sorted(filter(None, said)) if number % 3 else ["never said"]
        lines.append(json.dumps({"id": str(number), "question": text, "answers": answers}) + "\n")
    path.write_text("".join(lines), encoding="utf-8")
    return path


def calibrated(realm: Run, questions: Path, kb: Path, out: Path) -> dict[str, Any]:
    said = realm("calibrate", questions, "--kb", kb, "--out", out, "--top", 2, "--json")
    assert said.code == 0, said.err
    figures: dict[str, Any] = json.loads(said.out)
    return figures


def test_calibrate_writes_what_the_model_then_uses(realm: Run, questions: Path, kb: Path, tmp_path: Path) -> None:
    figures = calibrated(realm, questions, kb, tmp_path / "out")
    found = Calibration.load(tmp_path / "out")
    assert found is not None
    assert found.measured == figures
    assert (figures["asked"], figures["top"], figures["questions"]) == (24, 2, "asked.jsonl")
    for name in ("vectors", "words"):
        assert 0 < figures[name]["right"] < figures[name]["questions"] < 24
        assert 0 < figures[name]["hidden"] <= figures[name]["questions"]
        lines = (tmp_path / "out" / "cases.jsonl").read_text().splitlines()
        cases = [json.loads(line)[name] for line in lines]
        assert len(cases) == 24
        assert sum(case[-3] for one in cases for case in one if not case[-2]) == 16


def test_calibrate_goes_on_where_it_was_stopped(
    realm: Run, questions: Path, kb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = calibrated(realm, questions, kb, tmp_path / "out")
    cases = tmp_path / "out" / "cases.jsonl"
    lines = cases.read_text().splitlines(keepends=True)
    cases.write_text("".join(lines[:21]) + lines[21][:9])
    asked = []
    find = OpenQA.find

    def counted(self: OpenQA, texts: list[str], *others: Any, **options: Any) -> Any:
        asked.extend(texts)
        return find(self, texts, *others, **options)

    monkeypatch.setattr(OpenQA, "find", counted)
    again = calibrated(realm, questions, kb, tmp_path / "out")
    assert set(asked) == {f"who ruled {WORDS[number % len(WORDS)]} in {number}?" for number in (21, 22, 23)}
    # Other questions in a batch move the last digits.
    for name in ("vectors", "words"):
        assert again.pop(name) == pytest.approx(whole.pop(name), abs=1e-5)
    assert again == whole


def test_blocks_that_hold_an_answer_are_hidden_from_the_search_itself(
    realm: Run, questions: Path, kb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = {one["question"]: one["answers"] for one in map(json.loads, questions.read_text().splitlines())}
    hidden = 0
    read = OpenQA.read

    def watched(self: OpenQA, wanted: list[Asked], *others: Any) -> Any:
        nonlocal hidden
        for plain, without in zip(wanted[::2], wanted[1::2], strict=True):
            assert plain.text == without.text
            texts = [stored.block.text for stored in self.blocks_of(without)]
            assert not any(contains_answer(text, answers[plain.text]) for text in texts)
            if plain.found.rows[0] not in without.found.rows:
                hidden += 1
                if without.by_words and len(texts) > 1:
                    # As in any search: what is best by vectors, or by words, has a whole share of it.
                    assert without.found.fused.max() >= 0.5
        return read(self, wanted, *others)

    monkeypatch.setattr(OpenQA, "read", watched)
    calibrated(realm, questions, kb, tmp_path / "out")
    assert hidden > 8


def test_cases_of_other_questions_are_not_mixed(realm: Run, questions: Path, kb: Path, tmp_path: Path) -> None:
    calibrated(realm, questions, kb, tmp_path / "out")
    said = realm("calibrate", questions, "--kb", kb, "--out", tmp_path / "out", "--top", 3)
    assert said.code == 2
    assert "was made with top 2; now it is 3" in said.err


def test_a_damaged_file_of_cases_is_named_with_its_line(realm: Run, questions: Path, kb: Path, tmp_path: Path) -> None:
    calibrated(realm, questions, kb, tmp_path / "out")
    cases = tmp_path / "out" / "cases.jsonl"
    cases.write_text(cases.read_text().replace("[", "{", 1))
    said = realm("calibrate", questions, "--kb", kb, "--out", tmp_path / "out", "--top", 2)
    assert said.code == 2
    assert "cases.jsonl, line 1: no cases" in said.err


def test_a_file_of_cases_that_is_no_text_is_named_with_its_line(
    realm: Run, questions: Path, kb: Path, tmp_path: Path
) -> None:
    calibrated(realm, questions, kb, tmp_path / "out")
    cases = tmp_path / "out" / "cases.jsonl"
    cases.write_bytes(b"\xff" + cases.read_bytes())
    said = realm("calibrate", questions, "--kb", kb, "--out", tmp_path / "out", "--top", 2)
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "cases.jsonl, line 1: no cases" in said.err


def test_calibrate_leaves_a_folder_alone_that_another_run_is_writing(
    realm: Run, questions: Path, kb: Path, tmp_path: Path
) -> None:
    with claim_folder(tmp_path / "out", {}, "cases.jsonl"):
        said = realm("calibrate", questions, "--kb", kb, "--out", tmp_path / "out")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "is being written by another run" in said.err
