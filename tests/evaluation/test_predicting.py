"""Asking in batches: every question once, however often the run is cut short."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from predicted import answer

from realm.corpus.answers import contains_answer
from realm.corpus.questions import ReferenceQuestion
from realm.errors import QuestionError, SourceError, UsageError
from realm.evaluation.predicting import claim_folder, predict
from realm.evaluation.predictions import read_predictions
from realm.records import Answer, Question

QUESTIONS = [ReferenceQuestion(Question(f"q{n}", f"question {n}", (f"word{n}",))) for n in range(10)]
BLOCKS = ("it says word3 here", "word1 and word2", "nothing")


class System:
    """Answers from three blocks, refuses some questions, and breaks down after some batches."""

    def __init__(self, breaks_after: int | None = None, refused: Sequence[str] = ()) -> None:
        self.asked: list[str] = []
        self.batches: list[int] = []
        self.breaks_after = breaks_after
        self.refused = refused

    def __call__(self, questions: Sequence[str]) -> list[Answer]:
        if len(self.batches) == self.breaks_after:
            raise KeyboardInterrupt
        if refused := set(questions) & set(self.refused):
            raise QuestionError(f"{min(refused)} is too long")
        self.batches.append(len(questions))
        self.asked += questions
        return [answer(question, f"answer to {question}", *BLOCKS) for question in questions]


def test_every_question_is_asked_once_in_batches(tmp_path: Path) -> None:
    system, seen = System(), []
    path = tmp_path / "p.jsonl"
    asked = predict(QUESTIONS, system, path, read=2, batch=4, progress=lambda *told: seen.append(told))
    assert (asked, system.batches, seen) == (10, [4, 4, 2], [(4, 10), (8, 10), (10, 10)])
    found = list(read_predictions(path))
    assert [p.id for p in found] == [q.question.id for q in QUESTIONS]
    assert found[7].prediction == "answer to question 7"
    assert found[7].answers == ("word7",)
    assert found[7].seconds == {"embed": 0.25, "read": 0.5}
    assert predict(QUESTIONS, system, path, read=2) == 0
    assert len(system.asked) == 10


@settings(max_examples=30)
@given(st.integers(0, 4), st.integers(0, 400))
def test_run_that_was_cut_short_goes_on_where_it_stopped(
    tmp_path_factory: pytest.TempPathFactory, batches: int, cut: int
) -> None:
    path = tmp_path_factory.mktemp("run") / "p.jsonl"
    whole = path.with_name("whole.jsonl")
    predict(QUESTIONS, System(), whole, read=2, batch=3)
    try:
        predict(QUESTIONS, System(breaks_after=batches), path, read=2, batch=3)
    except KeyboardInterrupt:
        assert len(list(read_predictions(path))) == 3 * batches
    data = path.read_bytes()[: max(0, path.stat().st_size - cut)]  # as a power cut may leave it
    path.write_bytes(data)
    system = System()
    asked = predict(QUESTIONS, system, path, read=2, batch=3)
    assert asked == len(system.asked) == 10 - data.count(b"\n")
    assert path.read_bytes() == whole.read_bytes()


def test_texts_are_kept_of_blocks_that_were_read_and_notes_of_all(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    predict(QUESTIONS, System(), path, read=2)
    for asked, found in zip(QUESTIONS, read_predictions(path), strict=True):
        assert found.read == 2
        assert [b.text for b in found.evidence] == [*BLOCKS[:2], None]
        assert [b.has_answer for b in found.evidence] == [contains_answer(t, asked.question.answers) for t in BLOCKS]
        assert [b.is_gold for b in found.evidence] == [None] * 3


def test_blocks_of_the_question_s_passage_are_noted(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    passages = ["Before. it says\nword3  here And after.", "word1", "another"]
    asked = [ReferenceQuestion(QUESTIONS[n].question, passage) for n, passage in enumerate(passages)]
    predict(asked, System(), path, read=3)
    assert [[b.is_gold for b in p.evidence] for p in read_predictions(path)] == [
        [True, False, False],  # the block is cut from the passage, line breaks apart
        [False, True, False],  # the passage stands in the block
        [False, False, False],
    ]


def test_questions_without_references_keep_all_texts(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    predict([ReferenceQuestion(Question("a", "Who?"))], System(), path, read=1)
    (found,) = read_predictions(path)
    assert [(b.text, b.has_answer) for b in found.evidence] == [(text, None) for text in BLOCKS]


def test_refused_question_gets_no_answer_and_stops_nobody(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    predict(QUESTIONS, System(refused=["question 2"]), path, read=2, batch=4)
    found = list(read_predictions(path))
    assert [p.prediction is None for p in found] == [n == 2 for n in range(10)]
    assert (found[2].problem, found[2].confidence, found[2].evidence) == ("question 2 is too long", 0.0, ())


def test_damaged_predictions_stop_the_run_and_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    predict(QUESTIONS[:3], System(), path, read=2)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:-9] + b"\n" + lines[2])
    with pytest.raises(SourceError, match=r"p\.jsonl:2: broken JSON"):
        predict(QUESTIONS, System(), path, read=2)
    assert path.read_bytes().count(b"\n") == 3


def test_folder_holds_predictions_of_one_system_alone(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert claimed(run, {"top": 5, "kb": "a"}) == run / "predictions.jsonl"
    assert json.loads((run / "settings.json").read_text()) == {"top": 5, "kb": "a"}
    assert claimed(run, {"top": 5, "kb": "a"}) == run / "predictions.jsonl"
    with pytest.raises(UsageError, match=r"made with top 5; now it is 3\. Give another folder, or delete") as refused:
        claimed(run, {"top": 3, "kb": "a"})
    assert str(refused.value).endswith(f"delete the two files {run / 'predictions.jsonl'} and {run / 'settings.json'}")
    (run / "settings.json").unlink()
    with pytest.raises(UsageError, match=r"but not the settings\.json"):
        claimed(run, {"top": 5})


def test_folder_has_one_writer_at_a_time(tmp_path: Path) -> None:
    with claim_folder(tmp_path / "run", {"top": 5}):
        with pytest.raises(UsageError, match="is being written by another run"):
            claimed(tmp_path / "run", {"top": 5})
        claimed(tmp_path / "run", {"top": 5}, "cases.jsonl")
    claimed(tmp_path / "run", {"top": 5})


@pytest.mark.parametrize("settings", ["[1]", "{", "[" * 10**5, b"\xff"])
def test_folder_with_damaged_settings_is_refused(tmp_path: Path, settings: str | bytes) -> None:
    (tmp_path / "settings.json").write_bytes(settings if isinstance(settings, bytes) else settings.encode())
    with pytest.raises(UsageError, match=r"cannot be used for a report: settings\.json"):
        claimed(tmp_path, {"top": 5})


@pytest.mark.parametrize("taken", ["", "settings.json", "predictions.jsonl", ".predictions.jsonl.lock"])
def test_folder_that_cannot_be_used_is_refused(tmp_path: Path, taken: str) -> None:
    out = tmp_path / "run"
    if taken:
        claimed(out, {"top": 5})
        (out / taken).unlink()
        (out / taken).mkdir()  # which nobody, not even root, can write to
    else:
        out.write_text("")
    with pytest.raises(UsageError, match="cannot be used for a report"):
        claimed(out, {"top": 5})


def claimed(folder: Path, settings: dict[str, Any], name: str = "predictions.jsonl") -> Path:
    with claim_folder(folder, settings, name) as path:
        return path
