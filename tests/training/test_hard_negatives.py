"""Hard negatives: what a search over the whole knowledge base says, by brute force; and that jobs read them."""

from __future__ import annotations

import dataclasses
import json
import re
from itertools import chain
from pathlib import Path

import pytest
from told_stories import TOLD, told_stories

from realm.cli.main import main
from realm.corpus.questions import read_reading_examples, reading_record
from realm.errors import RecipeError, UsageError
from realm.features.inputs import InputBuilder
from realm.openqa.ask import OpenQA, Searching
from realm.records import Question, ReadingExample
from realm.text.pieces import PieceTokenizer
from realm.training.embedder import EmbedderJob
from realm.training.embedder_recipe import EmbedderRecipe
from realm.training.hard_negatives import mine_hard_negatives

DEPTH = 12


@pytest.fixture(scope="module")
def qa(tmp_path_factory: pytest.TempPathFactory) -> OpenQA:
    return told_stories(tmp_path_factory.mktemp("negatives"))


@pytest.fixture(scope="module")
def examples() -> list[ReadingExample]:
    """Of each story a question in its own words, whose answer stands in others, too."""
    made = []
    for number, told in enumerate(TOLD):
        answer = re.findall(r"\b[a-z]{4,}\b", told.text)[2]
        question = Question(f"q{number}", f"who {' '.join(told.text.split()[3:9])}?", (answer,))
        made.append(ReadingExample(question, told.title, told.text, (told.text.index(answer),)))
    return made


def wrong_blocks(qa: OpenQA, example: ReadingExample, weight: float) -> list[tuple[str, str]]:
    """What is found and does not have the answer among its words, best first."""
    [found] = qa.retrieve([example.question.text], DEPTH, Searching(weight=weight))
    [answer] = example.question.answers
    return [(one.title, one.text) for one in found if answer not in re.findall(r"\w+", one.text.lower())]


@pytest.mark.parametrize(("by", "weight"), [("words", 1.0), ("vectors", 0.0)])
@pytest.mark.parametrize("skip", [0, 2])
def test_negatives_of_one_search_are_its_best_blocks_without_the_answer(
    qa: OpenQA, examples: list[ReadingExample], by: str, weight: float, skip: int
) -> None:
    mined = list(mine_hard_negatives(qa, examples, by=by, count=3, skip=skip, depth=DEPTH))  # type: ignore[arg-type]
    passed_over = 0
    for before, after in zip(examples, mined, strict=True):
        expected = wrong_blocks(qa, before, weight)
        assert after.hard_negatives == tuple(expected[skip : skip + 3])
        assert dataclasses.replace(after, hard_negatives=()) == before
        passed_over += len(expected) < DEPTH
    assert passed_over > 5  # blocks with the answer were found, and left out


def test_searches_take_turns_and_a_block_that_both_find_is_taken_once(
    qa: OpenQA, examples: list[ReadingExample]
) -> None:
    shared = 0
    for before, after in zip(examples, mine_hard_negatives(qa, examples, count=6, depth=DEPTH), strict=True):
        words, vectors = (wrong_blocks(qa, before, weight)[:6] for weight in (1.0, 0.0))
        least = min(len(words), len(vectors))
        in_turn = [*chain.from_iterable(zip(words, vectors, strict=False)), *words[least:], *vectors[least:]]
        assert after.hard_negatives == tuple(dict.fromkeys(in_turn))[:6]
        shared += bool(set(words) & set(vectors))
    assert shared


def test_without_an_answer_nothing_is_known_to_be_wrong(qa: OpenQA) -> None:
    unanswered = ReadingExample(Question("q", "who built the tower?"), "", "Nobody.", (), (("old", "negative"),))
    [mined] = mine_hard_negatives(qa, [unanswered])
    assert mined.hard_negatives == ()


def test_a_question_that_cannot_be_asked_stops_no_others(qa: OpenQA, examples: list[ReadingExample]) -> None:
    long = dataclasses.replace(examples[3], question=Question("long", "river " * 200, ("alps",)))
    mined = list(mine_hard_negatives(qa, [*examples[:3], long, *examples[4:]]))
    assert mined[3] == dataclasses.replace(long, hard_negatives=())
    others = list(mine_hard_negatives(qa, examples))
    assert [*mined[:3], *mined[4:]] == [*others[:3], *others[4:]]
    assert all(example.hard_negatives for example in others[:3])


def test_more_to_skip_than_to_look_at_is_refused(qa: OpenQA, examples: list[ReadingExample]) -> None:
    with pytest.raises(UsageError, match="Of 5 blocks looked at, 5 are to be skipped"):
        list(mine_hard_negatives(qa, examples, skip=5, depth=5))


def test_the_command_writes_what_the_embedder_learns_from(
    qa: OpenQA,
    examples: list[ReadingExample],
    trunk: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = tmp_path / "asked.jsonl"
    write_records(asked, examples)
    out = tmp_path / "mined.jsonl"
    command = ["realm", "train", "negatives", str(asked), "--kb", str(qa.knowledge_base.folder), "--out", str(out)]
    monkeypatch.setattr("sys.argv", [*command, "--count", "2", "--by", "vectors"])
    assert main() == 0
    assert capsys.readouterr().out == f"{out}: 30 questions, 2.0 hard negatives each\n"
    mined = list(read_reading_examples(out))
    assert mined == list(mine_hard_negatives(qa, examples, by="vectors", count=2))
    assert main() == 2  # it is there already
    assert "--force" in capsys.readouterr().err
    assert list(read_reading_examples(out)) == mined

    recipe = EmbedderRecipe(
        str(trunk), ("mined.jsonl",), steps=1, data=str(tmp_path), batch_pairs=4, batch_blocks=0,
        hard_negatives=2, dimensions=16, max_block_pieces=60, max_question_pieces=24,
    )  # fmt: skip
    texts = EmbedderJob(recipe, tmp_path / "run").texts
    tokenizer = PieceTokenizer.from_folder(trunk)
    builder = InputBuilder(tokenizer)
    batch = texts.draw(0)
    blocks = [tuple(texts.blocks[n].ids) for n in batch.blocks]
    known = {
        tuple(builder.block(tokenizer.ids_of(title), tokenizer.ids_of(text), 60).ids)
        for one in mined
        for title, text in one.hard_negatives
    }
    # Four passages, and two negatives for each question, some of them of several questions.
    assert len(blocks) > 4
    assert {block for place, block in enumerate(blocks) if place not in batch.targets.tolist()} <= known


def test_negative_hard_negatives_are_refused(trunk: Path) -> None:
    with pytest.raises(RecipeError, match="hard_negatives"):
        EmbedderRecipe(str(trunk), ("x",), steps=1, hard_negatives=-1)


def write_records(path: Path, examples: list[ReadingExample]) -> None:
    path.write_text("".join(json.dumps(reading_record(one)) + "\n" for one in examples), encoding="utf-8")
