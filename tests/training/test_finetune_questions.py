"""Questions to learn from: what is read of files, what is kept aside, and how steps draw them."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from finetune_towns import reading_examples, town_questions
from tiny_trunk import tokenizer_of, write_lines

from realm.errors import RealmError, RecipeError, SourceError
from realm.training.distributed import Processes
from realm.training.finetune_questions import Mixture, Questions
from realm.training.reading_data import is_kept_aside


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("questions")
    write_lines(found / "asked.jsonl", town_questions())
    write_lines(found / "read.jsonl", reading_examples())
    return found


def questions_of(trunk: Path, folder: Path, *sources: str, dev: str = "", **changes: Any) -> Questions:
    values: dict[str, Any] = {"answer_type": "string", "max_pieces": 40, "use_passages": True, "seed": 3}
    return Questions(sources, folder, folder / dev if dev else None, tokenizer_of(trunk), **{**values, **changes})


def test_epoch_draws_every_question_once_and_processes_share_a_step(trunk: Path, folder: Path) -> None:
    questions = questions_of(trunk, folder, "asked.jsonl")
    assert len(questions) == 24
    drawn = [one.number for step in range(4) for one in questions.draw(step, 6, Processes())]
    assert sorted(drawn) == list(range(24))
    assert drawn != sorted(drawn)
    parts = [[one.number for one in questions.draw(1, 6, Processes(rank, 2))] for rank in range(2)]
    assert [parts[place % 2][place // 2] for place in range(6)] == drawn[6:12]


@pytest.mark.parametrize("shares", [[1.0], [0.5, 0.5], [3.0, 1.0, 0.2]])
def test_mixture_has_every_source_by_its_share_and_counts_its_turns(shares: list[float]) -> None:
    mixture = Mixture(shares, seed=1)
    seen: Counter[int] = Counter()
    for place in range(2500):
        source, turn = mixture.at(place)
        assert turn == seen[source]
        seen[source] += 1
    for source, share in enumerate(shares):
        assert seen[source] / 2500 == pytest.approx(share / sum(shares), abs=0.02)


def test_share_that_never_comes_is_refused() -> None:
    with pytest.raises(RecipeError, match="below 1 in 1,000"):
        Mixture([1.0, 1e-5], seed=0)


def test_answers_are_pieces_of_strings_and_none_of_expressions(trunk: Path, folder: Path) -> None:
    tokenizer = tokenizer_of(trunk)
    drawn = questions_of(trunk, folder, "asked.jsonl").draw(0, 24, Processes())
    kinds = Counter(one.question.answer_type for one in drawn)
    assert kinds == {"regex": 4, "string": 20}
    for one in drawn:
        assert one.ids == tokenizer.ids_of(one.question.text)
        strings = [] if one.question.answer_type == "regex" else one.question.answers
        assert one.answers == [tokenizer.ids_of(answer) for answer in strings]
        assert not one.marked


def test_answer_type_of_a_file_that_does_not_say_is_the_recipes(trunk: Path, tmp_path: Path) -> None:
    write_lines(tmp_path / "plain.jsonl", [{"question": "when?", "answers": ["1[0-9]"]}])
    (one,) = questions_of(trunk, tmp_path, "plain.jsonl", answer_type="regex").draw(0, 1, Processes())
    assert (one.question.answer_type, one.answers) == ("regex", [])


def test_reading_example_marks_the_answer_in_its_own_sentence(trunk: Path, folder: Path) -> None:
    tokenizer = tokenizer_of(trunk)
    for one in questions_of(trunk, folder, "read.jsonl").draw(0, 12, Processes()):
        (sentence,) = one.marked
        (answer,) = one.question.answers
        assert sentence.ids[sentence.first : sentence.last + 1] == tokenizer.ids_of(answer)
        record = next(r for r in reading_examples() if r["question"] == one.question.text)
        first = record["context"].split(". ")[0] + "."
        assert sentence.ids == tokenizer.ids_of(first)
    assert not any(
        one.marked for one in questions_of(trunk, folder, "read.jsonl", use_passages=False).draw(0, 12, Processes())
    )


def test_answer_over_a_border_of_sentences_takes_both(trunk: Path, tmp_path: Path) -> None:
    context = "It was here. The mill was old. The tower stands near. The end is not told."
    answers = [{"text": "old. The tower", "answer_start": context.index("old.")}]
    write_lines(tmp_path / "read.jsonl", [{"question": "what?", "context": context, "answers": answers}])
    (one,) = questions_of(trunk, tmp_path, "read.jsonl").draw(0, 1, Processes())
    assert one.marked[0].ids == tokenizer_of(trunk).ids_of("The mill was old. The tower stands near.")


def test_kept_aside_questions_are_the_dev_set_and_never_drawn(trunk: Path, folder: Path) -> None:
    questions = questions_of(trunk, folder, "asked.jsonl;keep_aside=3")
    aside = {one.question.text for one in questions.dev}
    assert 0 < len(aside) < 24
    drawn = {one.question.text for one in questions.draw(0, 96, Processes())}
    assert not aside & drawn
    assert len(aside) + len(drawn) == 24
    assert len(questions_of(trunk, folder, "asked.jsonl;keep_aside=3", dev="read.jsonl").dev) == 12


def test_digest_is_that_of_what_is_learned_from_and_measured_by(trunk: Path, folder: Path) -> None:
    whole = questions_of(trunk, folder, "asked.jsonl").digest
    assert whole == questions_of(trunk, folder, "asked.jsonl", seed=9).digest
    assert whole != questions_of(trunk, folder, "asked.jsonl", dev="read.jsonl").digest
    assert whole != questions_of(trunk, folder, "asked.jsonl;keep_aside=3").digest
    assert whole != questions_of(trunk, folder, "read.jsonl").digest


def test_digest_knows_how_often_each_file_is_drawn_from(trunk: Path, folder: Path) -> None:
    sources = [("asked.jsonl;share=0.5", "read.jsonl;share=0.5"), ("asked.jsonl;share=0.2", "read.jsonl;share=0.5")]
    digests = {questions_of(trunk, folder, *given).digest for given in sources}
    assert len(digests) == 2


def test_questions_that_teach_nothing_are_counted_by_reason(trunk: Path, tmp_path: Path) -> None:
    records = [
        {"question": "who built it?", "answers": ["people"]},
        {"question": "who?"},
        {"question": "who?", "answers": [""]},
        {"question": "who? " * 30, "answers": ["people"]},
    ]
    write_lines(tmp_path / "some.jsonl", records)
    questions = questions_of(trunk, tmp_path, "some.jsonl")
    assert len(questions) == 1
    assert questions.skipped.reasons == {"no_answer": 2, "question_too_long": 1}
    assert not questions.skipped_dev.total
    write_lines(tmp_path / "none.jsonl", records[1:])
    with pytest.raises(RecipeError, match=r"no question with an answer to learn from \(skipped 3: no_answer 2"):
        questions_of(trunk, tmp_path, "none.jsonl")
    with pytest.raises(RecipeError, match=r"no question with an answer to measure by \(skipped 3: no_answer 2"):
        questions_of(trunk, tmp_path, "some.jsonl", dev="none.jsonl")


LONG = [{"question": f"who {number}? " * 30, "answers": ["people"]} for number in range(6)]


@pytest.mark.parametrize("way", ["dev", "keep_aside"])
def test_questions_to_measure_by_that_are_too_long_stay_in_their_number(trunk: Path, tmp_path: Path, way: str) -> None:
    write_lines(tmp_path / "learn.jsonl", town_questions()[:3])
    write_lines(tmp_path / "dev.jsonl", [*town_questions(), *LONG, {"question": "who?"}])
    if way == "dev":
        questions = questions_of(trunk, tmp_path, "learn.jsonl", dev="dev.jsonl")
        asked, too_long = 24, 6
        assert not questions.skipped.total
        assert questions.skipped_dev.reasons == {"question_too_long": 6, "no_answer": 1}
    else:
        questions = questions_of(trunk, tmp_path, "dev.jsonl;keep_aside=3")
        asked, too_long = len(questions.dev), sum(is_kept_aside(one["question"], 3) for one in LONG)
        assert 0 < too_long < 6
        assert questions.skipped_dev.reasons["question_too_long"] == too_long
        assert questions.skipped.reasons["question_too_long"] == 6 - too_long
    sample, count = questions.sample_of_dev(1000)
    assert (len(sample), count) == (asked, asked + too_long)
    assert {one.number for one in sample} == {one.number for one in questions.dev}
    assert questions.sample_of_dev(1000) == (sample, count)
    # A part of all is drawn evenly: those that are too long are in it as often as among all.
    parts = [questions.sample_of_dev(most) for most in range(1, count + 1)]
    assert [count for _, count in parts] == list(range(1, count + 1))
    assert all(len(after[0]) - len(before[0]) in (0, 1) for before, after in pairwise(parts))


def test_no_questions_to_measure_by_are_none(trunk: Path, folder: Path) -> None:
    assert questions_of(trunk, folder, "asked.jsonl").sample_of_dev(9) == ([], 0)


@pytest.mark.parametrize(
    ("sources", "error", "said"),
    [
        ((), RecipeError, "questions is empty"),
        (("nowhere.jsonl",), SourceError, "there is no such file"),
        (("asked.jsonl;share=no",), RecipeError, "share a number"),
    ],
)
def test_missing_questions_are_refused(
    trunk: Path, folder: Path, sources: tuple[str, ...], error: type[RealmError], said: str
) -> None:
    with pytest.raises(error, match=said):
        questions_of(trunk, folder, *sources)
