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
from interrupted import cut_short
from tiny_model import stories, write_jsonl

from realm.evaluation import beir_index
from realm.openqa.ask import OpenQA
from realm.openqa.calibration import Calibration, Confidence
from realm.openqa.model_folder import ModelFolder
from realm.openqa.writer import KnowledgeBaseWriter
from realm.records import Document

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


def test_evaluate_of_questions_without_references_prints_one_json_object(realm: Run, kb: Path, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "q.jsonl", *({"id": str(n), "question": f"who saw {n}?"} for n in range(3)))
    said = realm("evaluate", path, "--kb", kb, "--out", tmp_path / "r", "--top", 1, "--json")
    predictions = str(tmp_path / "r" / "predictions.jsonl")
    assert json.loads(said.out) == {"predictions": predictions, "questions": 3, "metrics": {}}


def test_evaluate_leaves_a_folder_alone_that_another_run_is_writing(
    realm: Run, kb: Path, questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("evaluate", questions, "--kb", kb, "--out", tmp_path / "r")
    ask_many, seconds = OpenQA.ask_many, []

    def meanwhile(self: OpenQA, *given: Any, **named: Any) -> Any:
        monkeypatch.setattr(OpenQA, "ask_many", ask_many)
        seconds.append(realm(*arguments))
        return ask_many(self, *given, **named)

    monkeypatch.setattr(OpenQA, "ask_many", meanwhile)
    assert realm(*arguments).code == 0
    (second,) = seconds
    assert second.code == 2
    assert f"{tmp_path / 'r'} is being written by another run" in second.err
    assert len((tmp_path / "r" / "predictions.jsonl").read_text().splitlines()) == 5


def test_evaluate_refuses_a_folder_it_cannot_write_to_in_one_line(realm: Run, kb: Path, questions: Path) -> None:
    said = realm("evaluate", questions, "--kb", kb, "--out", "/proc/self")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "/proc/self: cannot be used for a report" in said.err


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


def write_collection(folder: Path, count: int = 8) -> list[Document]:
    """A collection whose queries are the beginnings of its documents."""
    told = stories(count)
    write_lines(folder / "corpus.jsonl", *({"_id": d.id, "title": d.title, "text": d.text} for d in told))
    write_lines(folder / "queries.jsonl", *({"_id": str(n), "text": d.text[:40]} for n, d in enumerate(told)))
    (folder / "qrels").mkdir(exist_ok=True)
    grades = "".join(f"{n}\t{d.id}\t1\n" for n, d in enumerate(told))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + grades)
    return told


def test_evaluate_beir_indexes_searches_and_scores(realm: Run, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("ir_measures")
    told = write_collection(tmp_path)
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


def files_of(kb: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in kb.rglob("*") if path.is_file()}


def test_evaluate_beir_writes_nothing_when_all_is_there(
    realm: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ir_measures")
    write_collection(tmp_path)
    options = ("--kb", tmp_path / "beir", "--model", model)
    assert "version 1, 8 documents added" in realm("evaluate-beir", tmp_path, *options).out
    before = files_of(tmp_path / "beir")
    monkeypatch.chdir(tmp_path)  # also where the same folder is called otherwise
    assert "version 1, 0 documents added, 0 updated, 8 unchanged;" in realm("evaluate-beir", ".", *options).out
    assert files_of(tmp_path / "beir") == before


@pytest.mark.parametrize(
    ("method", "calls", "added", "embedded_before"), [("put", 2, 6, 0), ("embed", 5, 0, 5), ("publish", 0, 0, None)]
)
def test_evaluate_beir_that_was_stopped_is_gone_on_with(
    realm: Run,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    calls: int,
    added: int,
    embedded_before: int | None,
) -> None:
    """Stopped after some calls, in steps of one document and one block."""
    pytest.importorskip("ir_measures")
    write_collection(tmp_path)
    arguments = ("evaluate-beir", tmp_path, "--kb", tmp_path / "beir", "--model", model)
    whole, left = getattr(KnowledgeBaseWriter, method), iter(range(calls))

    def stopping(writer: KnowledgeBaseWriter, *given: Any, **named: Any) -> Any:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return whole(writer, *given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(KnowledgeBaseWriter, method, stopping)
        patch.setattr(beir_index, "_DOCUMENTS_PER_STEP", 1)
        patch.setattr(beir_index, "_BLOCKS_PER_STEP", 1)
        assert realm(*arguments).code == 130
    again = realm(*arguments)
    assert again.code == 0, again.err
    base = OpenQA.load(tmp_path / "beir").knowledge_base
    assert (base.manifest.documents, base.manifest.is_embedded) == (8, True)
    left_to_embed = 0 if embedded_before is None else base.live_blocks - embedded_before
    counts = f"{added} documents added, 0 updated, {8 - added} unchanged; {left_to_embed} blocks embedded"
    assert f"version 1, {counts}" in again.out


def test_evaluate_beir_follows_its_collection(realm: Run, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("ir_measures")
    arguments = ("evaluate-beir", tmp_path, "--kb", tmp_path / "beir", "--model", model)
    write_collection(tmp_path, 9)
    assert "9 documents added" in realm(*arguments).out
    write_collection(tmp_path, 8)
    assert "version 2, 0 documents added, 0 updated, 1 removed, 8 unchanged;" in realm(*arguments).out
    # What the same documents are called elsewhere does not make them others.
    moved = shutil.copytree(tmp_path, tmp_path.with_name(f"{tmp_path.name}-moved"))
    said = realm("evaluate-beir", moved, *arguments[2:])
    assert "version 3, 0 documents added, 0 updated, 8 unchanged (8 of them moved);" in said.out


def test_evaluate_beir_refuses_a_knowledge_base_of_other_documents(
    realm: Run, kb: Path, model: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ir_measures")
    told = write_collection(tmp_path)
    write_lines(tmp_path / "corpus.jsonl", *({"_id": d.id, "title": d.title, "text": "Another."} for d in told))
    before = files_of(kb)
    said = realm("evaluate-beir", tmp_path, "--kb", kb, "--model", model)
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert f"{kb} holds 8 documents that are not of {tmp_path}" in said.err
    assert files_of(kb) == before


def test_evaluate_beir_throws_an_unfinished_run_away_only_if_told_to(realm: Run, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("ir_measures")
    write_collection(tmp_path)
    source = write_jsonl(tmp_path / "own.jsonl", stories(3))
    cut_short(tmp_path / "beir", source, ModelFolder.open(str(model)))
    arguments = ("evaluate-beir", tmp_path, "--kb", tmp_path / "beir", "--model", model)
    said = realm(*arguments)
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "--discard-pending" in said.err
    said = realm(*arguments, "--discard-pending")
    assert said.code == 0, said.err
    assert "was discarded" in said.err
    assert "8 documents added" in said.out
