"""Files into judgements: which references count, and what happens to questions and predictions without counterpart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from predicted import block, prediction, write_predictions

from realm.corpus.expressions import ExpressionMatcher
from realm.errors import SourceError
from realm.evaluation.judging import is_right
from realm.evaluation.scoring import judge_file, same_questions
from realm.records import Question


def write_questions(path: Path, **answers: list[str]) -> Path:
    lines = (json.dumps({"id": key, "question": "Who?", "answers": value}) for key, value in answers.items())
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_predictions_are_judged_by_the_references_they_bring(tmp_path: Path) -> None:
    path = write_predictions(
        tmp_path / "p.jsonl",
        prediction("right", "the Eliot", ["Eliot"]),
        prediction("half", "George Eliot", ["Eliot"]),
        prediction("none", None, ["Eliot"]),
        prediction("nothing to say", None, [""]),
        prediction("unknown", "Eliot", []),
        prediction("start", "1492 or so", ["14\\d\\d"], answer_type="regex"),
        prediction("middle", "in 1492", ["14\\d\\d"], answer_type="regex"),
    )
    judged = judge_file(path)
    found = {j.id: (j.official, j.squad_exact, round(j.f1, 3), j.regex_anywhere) for j in judged.judgements}
    assert found == {
        "right": (True, True, 1.0, False),
        "half": (False, False, 0.667, False),
        "none": (False, False, 0.0, False),
        "nothing to say": (True, True, 1.0, False),
        "start": (True, False, 0.0, True),
        "middle": (False, False, 0.0, True),
    }
    assert judged.remarks() == ["1 questions have no reference and are left out"]


def test_no_answer_is_wrong_by_every_metric_where_there_is_one_whatever_the_reference_normalises_to(
    tmp_path: Path,
) -> None:
    path = write_predictions(
        tmp_path / "p.jsonl",
        prediction("article", None, ["A"]),
        prediction("sign", "", ["%"]),
        prediction("expression", None, ["x?"], answer_type="regex"),
        prediction("given", "the", ["A"]),
    )
    found = {j.id: (j.official, j.squad_exact, j.f1, j.regex_anywhere) for j in judge_file(path).judgements}
    wrong = (False, False, 0.0, False)
    assert found == {"article": wrong, "sign": wrong, "expression": wrong, "given": (True, True, 1.0, False)}
    questions = [Question("q", "Who?", ("A",)), Question("q", "Who?", ("x?",), "regex")]
    assert not any(is_right(said, asked, ExpressionMatcher()) for said in (None, "") for asked in questions)
    assert is_right(None, Question("q", "Who?", ("",)), ExpressionMatcher())


def test_questions_that_were_not_answered_at_all_are_wrong_also_where_no_answer_is_right(tmp_path: Path) -> None:
    questions = write_questions(tmp_path / "q.jsonl", a=[""], b=["A"], c=[""], d=[""])
    refused = prediction("c", None, [""], problem="too long")
    path = write_predictions(tmp_path / "p.jsonl", prediction("d", None, [""]), refused)
    judged = judge_file(path, questions)
    found = {j.id: (j.official, j.squad_exact, j.f1) for j in judged.judgements}
    wrong = (False, False, 0.0)
    assert found == {"a": wrong, "b": wrong, "c": wrong, "d": (True, True, 1.0)}
    assert (judged.missing, judged.problems) == (2, 1)


def test_ranks_come_from_notes_and_else_from_texts(tmp_path: Path) -> None:
    texts = (block(0, text="of George"), block(1, text="by eliot, then"), block(2, text="Eliot"))
    notes = (block(0, has_answer=False), block(1, has_answer=False, is_gold=True), block(2, has_answer=True))
    path = write_predictions(
        tmp_path / "p.jsonl",
        prediction("texts", evidence=texts, read=2),
        prediction("notes", evidence=notes, read=2),
        prediction("neither", evidence=(block(0, text="x"), block(1), block(2, text="Eliot")), read=1),
        prediction("expression", answers=["el.ot"], answer_type="regex", evidence=texts),
    )
    found = {j.id: (j.answer_rank, j.known, j.gold_rank, j.gold_known) for j in judge_file(path).judgements}
    assert found == {
        "texts": (2, 3, None, False),
        "notes": (3, 3, 2, True),
        "neither": (None, 1, None, False),
        "expression": (2, 3, None, False),
    }


def test_other_references_replace_those_of_the_predictions_and_what_was_noted_for_them(tmp_path: Path) -> None:
    evidence = (block(0, text="by Evans", has_answer=False), block(1, has_answer=True))
    path = write_predictions(tmp_path / "p.jsonl", prediction("a", "Evans", ["Eliot"], evidence=evidence))
    (own,) = judge_file(path).judgements
    assert (own.official, own.answer_rank) == (False, 2)
    (other,) = judge_file(path, write_questions(tmp_path / "q.jsonl", a=["Evans"])).judgements
    assert (other.official, other.answer_rank) == (True, 1)
    (same,) = judge_file(path, write_questions(tmp_path / "q.jsonl", a=["Eliot"])).judgements
    assert same == own


def test_missing_predictions_are_wrong_and_foreign_ones_do_not_count(tmp_path: Path) -> None:
    questions = write_questions(tmp_path / "q.jsonl", a=["x"], b=["y"], c=["z"])
    path = write_predictions(tmp_path / "p.jsonl", prediction("b", "y"), prediction("d", "y"))
    answers = tmp_path / "answers.json"
    answers.write_text('{"b": "y", "d": "y"}')
    for file in (path, answers):
        judged = judge_file(file, questions)
        assert {j.id: j.official for j in judged.judgements} == {"a": False, "b": True, "c": False}
        assert (judged.missing, judged.unknown) == (2, 1)
        assert len(judged.remarks()) == 2


def test_files_that_cannot_be_scored_are_errors(tmp_path: Path) -> None:
    questions = write_questions(tmp_path / "q.jsonl", a=["x"])
    foreign = write_predictions(tmp_path / "p.jsonl", prediction("d", "y", []))
    answers = tmp_path / "answers.json"
    answers.write_text('{"a": "x"}')
    with pytest.raises(SourceError, match="none of its 1 predictions is to a question"):
        judge_file(foreign, questions)
    with pytest.raises(SourceError, match="holds answers alone"):
        judge_file(answers)
    with pytest.raises(SourceError, match="no prediction has a reference"):
        judge_file(foreign)


def test_expression_that_never_ends_is_counted(tmp_path: Path) -> None:
    asked = prediction("slow", "a" * 60 + "!", ["(a|aa)+$"], answer_type="regex")
    judged = judge_file(write_predictions(tmp_path / "p.jsonl", asked, replace(asked, id="again")))
    assert judged.given_up == ("(a|aa)+$",)
    assert judged.remarks() == ["1 regular expressions took too long and count as not found"]


def test_invalid_expressions_are_counted_also_where_nothing_is_compared_with_them(tmp_path: Path) -> None:
    path = write_predictions(
        tmp_path / "p.jsonl",
        prediction("unanswered", None, ["19(4"], answer_type="regex"),
        prediction("found by the first", "1945", ["1945", "*"], answer_type="regex"),
        prediction("only decomposed", "1945", ["[é-ü]"], answer_type="regex"),
        prediction("a string", "1945", ["("]),
        prediction("fine", "1945", ["19(4)5"], answer_type="regex"),
    )
    judged = judge_file(path)
    assert judged.invalid == ("*", "19(4", "[é-ü]")
    assert judged.remarks() == ["3 regular expressions are invalid and count as not found, such as '*'"]


def test_only_the_same_questions_are_compared(tmp_path: Path) -> None:
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    first = judge_file(write_predictions(one, prediction("a"), prediction("b")))
    second = judge_file(write_predictions(two, prediction("b", "no"), prediction("a")))
    pairs = same_questions(first, second, (one, two))
    assert [(x.id, y.id, y.official) for x, y in pairs] == [("a", "a", True), ("b", "b", False)]
    less = judge_file(write_predictions(two, prediction("b")))
    for arguments in ((first, less, (one, two)), (less, first, (two, one))):
        with pytest.raises(SourceError, match=r'two\.jsonl: 1 questions of the other file are missing, such as "a"'):
            same_questions(*arguments)
