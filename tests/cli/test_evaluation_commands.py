"""`realm evaluate`, `realm score` and `realm evaluate-beir` from the outside."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import Run
from tiny_model import stories

from realm.openqa.ask import OpenQA
from realm.openqa.calibration import Calibration, Confidence
from realm.openqa.model_folder import ModelFolder

ROOT = Path(__file__).parents[2]


def write_lines(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def predicted(key: str, said: str | None, *answers: str, confidence: float = 0.5) -> dict[str, Any]:
    return {"id": key, "question": "Who?", "prediction": said, "answers": list(answers), "confidence": confidence}


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """Five questions about the stories; the words are found in some."""
    asked = [{"id": f"q{n}", "question": f"who ruled {word}?", "answers": [word]}
             for n, word in enumerate(["rome", "the moon", "zürich", "nowhere", "paris"])]  # fmt: skip
    return write_lines(tmp_path / "questions.jsonl", *asked)


def test_evaluate_asks_scores_and_reports(realm: Run, kb: Path, questions: Path, tmp_path: Path) -> None:
    said = realm("evaluate", questions, "--kb", kb, "--out", tmp_path / "r", "--top", 2, "--retrieve", 7, "--batch", 2)
    assert said.code == 0, said.err
    assert "exact match (ORQA)" in said.out
    lines = [json.loads(line) for line in (tmp_path / "r" / "predictions.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == ["q0", "q1", "q2", "q3", "q4"]
    qa = OpenQA.load(kb)
    for line in lines:
        answer, deep = qa.ask(line["question"], top=2), qa.ask(line["question"], top=7)
        assert line["prediction"] == answer.text
        assert line["confidence"] == pytest.approx(answer.confidence, abs=1e-4)
        assert [b["block_id"] for b in line["evidence"]] == [e.block_id for e in deep.evidence]
        assert [("text" in b) for b in line["evidence"]] == [True, True] + [False] * 5
        assert [b["score"] for b in line["evidence"]] == pytest.approx([e.score for e in deep.evidence], abs=1e-4)
    report = json.loads((tmp_path / "r" / "report.json").read_text())
    assert report["questions"] == 5
    assert report["settings"]["top"] == 2
    assert {"answer_recall@1", "answer_recall@5", "reader_oracle"} <= set(report["metrics"])
    assert (tmp_path / "r" / "report.md").read_text().startswith("# questions.jsonl on kb")


def test_evaluate_goes_on_where_it_was_stopped(realm: Run, kb: Path, questions: Path, tmp_path: Path) -> None:
    arguments = ("evaluate", questions, "--kb", kb, "--top", 2, "--json", "--out")
    whole = json.loads(realm(*arguments, tmp_path / "whole").out)
    assert realm(*arguments, tmp_path / "r").code == 0
    path = tmp_path / "r" / "predictions.jsonl"
    kept = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(kept[:2]) + kept[2][:50])
    again = realm(*arguments, tmp_path / "r")
    assert again.code == 0, again.err
    assert path.read_bytes().splitlines(keepends=True)[:2] == kept[:2]
    assert json.loads(again.out)["metrics"] == whole["metrics"]
    said = realm(*arguments, tmp_path / "r", "--top", 3)
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "was made with top 2; now it is 3" in said.err


def test_evaluate_does_not_go_on_with_another_calibration(
    realm: Run, kb: Path, model: Path, questions: Path, tmp_path: Path
) -> None:
    own = shutil.copytree(model, tmp_path / "model")
    arguments = ("evaluate", questions, "--kb", kb, "--model", own, "--out", tmp_path / "r")
    assert realm(*arguments).code == 0
    sure = Confidence(1.0, {}, 0.0)
    Calibration(ModelFolder.open(str(own)).reader_sha256, sure, sure, {}).save(own)
    said = realm(*arguments)
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "was made with calibration_sha256 None; now it is" in said.err


def test_evaluate_asks_the_same_sample_every_time_and_questions_without_references(
    realm: Run, kb: Path, tmp_path: Path
) -> None:
    path = write_lines(tmp_path / "q.jsonl", *({"id": str(n), "question": f"who saw {n}?"} for n in range(20)))
    for out in ("a", "b"):
        said = realm("evaluate", path, "--kb", kb, "--out", tmp_path / out, "--sample", 3, "--top", 1)
        assert said.code == 0, said.err
        assert "3 predictions. The questions have no references" in said.out
    first, second = ((tmp_path / out / "predictions.jsonl").read_text().splitlines() for out in ("a", "b"))
    assert [json.loads(line)["id"] for line in first] == [json.loads(line)["id"] for line in second]
    assert len(first) == 3


def test_score_prints_figures_and_compares(realm: Run, tmp_path: Path) -> None:
    one = write_lines(tmp_path / "one.jsonl", *(predicted(str(n), "x" if n % 3 else "y", "x") for n in range(30)))
    two = write_lines(tmp_path / "two.jsonl", *(predicted(str(n), "x", "x") for n in range(30)))
    said = realm("score", one, "--compare", two, "--out", tmp_path / "r")
    assert said.code == 0, said.err
    rows = {line[:24].strip(): line.split() for line in said.out.splitlines()}
    assert "66.667" in rows["exact match (ORQA)"] or "66.667" in said.out
    assert "+33.333" in said.out
    assert "10 / 0" in said.out
    found = json.loads(realm("score", one, "--compare", two, "--json").out)
    assert found["metrics"]["official_exact_match"]["value"] == pytest.approx(2 / 3)
    assert found["comparison"]["official_exact_match"]["p_value"] == pytest.approx(2 / 2**10)
    assert json.loads((tmp_path / "r" / "report.json").read_text())["comparison"] == found["comparison"]


def test_score_takes_answers_of_squad_with_their_questions(realm: Run, tmp_path: Path) -> None:
    context = "Mary Ann Evans wrote Middlemarch."
    asked = [{"id": "a", "question": "Who?", "answers": [{"text": "Mary Ann Evans", "answer_start": 0}]},
             {"id": "b", "question": "What?", "answers": [{"text": "Middlemarch", "answer_start": 21}]}]  # fmt: skip
    squad = {"version": "1.1", "data": [{"title": "T", "paragraphs": [{"context": context, "qas": asked}]}]}
    (tmp_path / "dev.json").write_text(json.dumps(squad))
    (tmp_path / "answers.json").write_text(json.dumps({"a": "Ann Evans"}))
    said = realm("score", tmp_path / "answers.json", "--questions", tmp_path / "dev.json", "--json")
    found = json.loads(said.out)
    assert found["metrics"]["squad_exact_match"]["value"] == 0.0
    assert found["metrics"]["squad_f1"]["value"] == pytest.approx(0.8 / 2)
    assert found["remarks"] == ["1 questions have no prediction and count as wrong"]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["{}"], '1: "id" is missing'),
        ([json.dumps(predicted("a", "x", "x")), '{"id": "b", '], "2: broken JSON"),
        ([json.dumps(predicted("a", "x", "x")), json.dumps(predicted("a", "x", "x"))], '2: the id "a"'),
        ([json.dumps(predicted("a", "x"))], "no prediction has a reference"),
    ],
)
def test_score_of_damaged_predictions_is_one_line_and_exit_code_2(
    realm: Run, tmp_path: Path, lines: list[str], problem: str
) -> None:
    path = tmp_path / "predictions.jsonl"
    path.write_text("\n".join(lines) + "\n")
    said = realm("score", path)
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert problem in said.err


def test_score_of_different_questions_is_one_line_and_exit_code_2(realm: Run, tmp_path: Path) -> None:
    one = write_lines(tmp_path / "one.jsonl", predicted("a", "x", "x"))
    two = write_lines(tmp_path / "two.jsonl", predicted("b", "x", "x"))
    said = realm("score", one, "--compare", two)
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert 'two.jsonl: 1 questions of the other file are missing, such as "a"' in said.err
    said = realm("score", one, "--questions", write_lines(tmp_path / "q.jsonl", {"id": "c", "question": "Who?"}))
    assert said.code == 2
    assert "none of its 1 predictions" in said.err


def test_score_loads_no_torch_no_transformers_and_no_store(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "p.jsonl", predicted("a", "x", "x"), predicted("b", "y", "x", confidence=0.1))
    code = (
        "import sys; from realm.cli.main import main; "
        f"sys.argv = ['realm', 'score', {str(path)!r}, '--out', {str(tmp_path / 'r')!r}]; assert main() == 0; "
        "print([m for m in ('torch', 'transformers', 'lance', 'faiss') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert found.stdout.splitlines()[-1] == "[]"


def test_evaluate_beir_indexes_searches_and_scores(realm: Run, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("ir_measures")
    told = stories(8)
    write_lines(tmp_path / "corpus.jsonl", *({"_id": d.id, "title": d.title, "text": d.text} for d in told))
    write_lines(tmp_path / "queries.jsonl", *({"_id": str(n), "text": d.text[:40]} for n, d in enumerate(told)))
    (tmp_path / "qrels").mkdir()
    grades = "".join(f"{n}\t{d.id}\t1\n" for n, d in enumerate(told))
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + grades)
    arguments = ("evaluate-beir", tmp_path, "--kb", tmp_path / "beir", "--model", model, "--batch", 3, "--json")
    said = realm(*arguments)
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["R@100"]["value"] == 1.0  # eight documents: all are found
    assert found["R@100"]["n"] == 8
    qa = OpenQA.load(tmp_path / "beir")
    ranks = []
    for document in told:
        evidence = qa.ask(document.text[:40], top=100).evidence
        ranks.append(list(dict.fromkeys(e.document_id for e in evidence)).index(document.id) + 1)
    assert found["RR@10"]["value"] == pytest.approx(sum(1 / rank for rank in ranks) / 8)
    assert json.loads(realm(*arguments).out) == found
    assert realm("evaluate-beir", tmp_path, "--kb", tmp_path / "beir", "--split", "dev").code == 2
