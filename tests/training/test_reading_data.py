"""Reading examples as training data: spans, what is kept aside, what a step draws, blocks without the answer."""

from __future__ import annotations

import hashlib
import random
import unicodedata
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_trunk import example, tokenizer_of, town_examples, write_lines

from realm.corpus.skips import SkipReport
from realm.errors import RecipeError, SourceError
from realm.records import Question, ReadingExample
from realm.training.job_report import JobReport
from realm.training.reading_data import ReadingPool, is_kept_aside, split_paths, tokenize_examples

# Words whose pieces, accents, signs and scripts make offsets hard; each is whole pieces of the tiny vocabulary's kind.
HARD_WORDS = ["Zürich", "naïve", "東京", "1,250", "e\u0301te\u0301", "(old)", "İx", "“of”", "U.S.", "the", "a\u00a0b"]


def without_accents(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))


def reading(context: str, *answers: str) -> ReadingExample:
    starts = tuple(context.index(answer) for answer in answers)
    return ReadingExample(Question("q", "what is it?", answers), "Title", context, starts)


@given(st.lists(st.sampled_from(HARD_WORDS), min_size=1, max_size=9), st.data())
def test_span_of_pieces_stands_where_the_answer_stands(trunk: Path, words: list[str], draw: st.DataObject) -> None:
    first = draw.draw(st.integers(0, len(words) - 1))
    last = draw.draw(st.integers(first, len(words) - 1))
    answer, context = " ".join(words[first : last + 1]), " ".join(words)
    tokenizer = tokenizer_of(trunk)
    start = len(" ".join([*words[:first], ""]))
    record = ReadingExample(Question("q", "?", (answer,)), "", context, (start,))
    (found,) = tokenize_examples([record], tokenizer, {}, SkipReport())
    ((left, right),) = found.spans
    offsets = tokenizer.encode_batch([context])[0].offsets
    assert offsets[left][0] == start
    # An accent that is a character of its own belongs to no piece.
    assert without_accents(context[start : offsets[right][1]]) == without_accents(answer)


def test_answer_inside_a_word_is_widened_to_whole_pieces(trunk: Path) -> None:
    tokenizer = tokenizer_of(trunk)
    context = "the river bridge"
    (found,) = tokenize_examples([reading(context, "iver br")], tokenizer, {}, SkipReport())
    offsets = tokenizer.encode_batch([context])[0].offsets
    ((left, right),) = found.spans
    assert context[offsets[left][0] : offsets[right][1]] == "river bridge"


def test_same_answer_given_twice_is_one_span_and_unreadable_examples_are_left_out(trunk: Path) -> None:
    passages: dict[str, int] = {}
    examples = [reading("old  mill", "old", "mill", "old"), reading("new  bridge", "  "), reading("old  mill", "mill")]
    skipped = SkipReport()
    found = list(tokenize_examples(examples, tokenizer_of(trunk), passages, skipped))
    assert skipped.reasons == {"answer_without_piece": 1}
    assert [f.spans for f in found] == [((0, 0), (1, 1)), ((1, 1),)]
    assert [f.passage for f in found] == [0, 0]
    assert passages == {"old  mill": 0}


def test_one_title_in_n_is_kept_aside_by_its_digest() -> None:
    titles = [f"Title {number}" for number in range(3000)]
    for one_in in (2, 4, 10):
        kept = [title for title in titles if is_kept_aside(title, one_in)]
        assert abs(len(kept) - 3000 / one_in) < 4 * (3000 / one_in * (1 - 1 / one_in)) ** 0.5
        for title in titles[:50]:
            data = title.encode()
            digest = hashlib.sha256(len(data).to_bytes(8, "little") + data).hexdigest()
            assert (title in kept) == (int(digest[:8], 16) % one_in == 0)
    assert not any(is_kept_aside(title, 0) for title in titles)
    assert all(is_kept_aside(title, 1) for title in titles)


def test_no_title_kept_aside_is_in_the_pool(trunk: Path, tmp_path: Path) -> None:
    records = town_examples(30)
    write_lines(tmp_path / "r.jsonl", records)
    pool = ReadingPool(["r.jsonl;keep_aside=3"], tmp_path, tokenizer_of(trunk), 0)
    titles = {e.title for group in pool.groups for e in group}
    assert titles == {r["title"] for r in records if not is_kept_aside(r["title"], 3)}
    assert 0 < len(titles) < 30
    assert len(pool) == 6 * len(titles)
    assert len(pool.bodies) == 3 * len(titles)


def test_draw_is_a_function_of_seed_and_step(trunk: Path, data: Path) -> None:
    sources, tokenizer = ["towns.jsonl", "more.jsonl;share=0.5"], tokenizer_of(trunk)
    one, same, other = (ReadingPool(sources, data, tokenizer, seed) for seed in (3, 3, 4))
    in_order = [one.draw(step, 7) for step in range(12)]
    assert [same.draw(step, 7) for step in reversed(range(12))] == in_order[::-1]
    assert [one.draw(step, 7) for step in range(12)] == in_order
    assert [other.draw(step, 7) for step in range(12)] != in_order


@pytest.mark.parametrize("count", [1, 5, 36, 50])
def test_no_example_repeats_within_an_epoch_and_epochs_differ(trunk: Path, data: Path, count: int) -> None:
    pool = ReadingPool(["towns.jsonl"], data, tokenizer_of(trunk), 0)
    drawn = [id(e) for step in range(4 * len(pool) // count) for e in pool.draw(step, count)]
    epochs = [drawn[start : start + len(pool)] for start in range(0, len(drawn), len(pool))]
    assert all(len(set(epoch)) == len(epoch) for epoch in epochs)
    assert all(set(epoch) == {id(e) for e in pool.groups[0]} for epoch in epochs[:-1])
    assert all(one != next_one for one, next_one in pairwise(epochs))


@pytest.mark.parametrize(
    ("shares", "count", "expected"),
    [
        ((1, 1), 10, (5, 5)),
        ((3, 1), 8, (6, 2)),
        ((1, 0.25), 5, (4, 1)),
    ],
)
def test_sources_are_drawn_by_their_shares(
    trunk: Path, data: Path, shares: tuple[float, float], count: int, expected: tuple[int, int]
) -> None:
    sources = [f"{name}.jsonl;share={share}" for name, share in zip(("towns", "more"), shares, strict=True)]
    pool = ReadingPool(sources, data, tokenizer_of(trunk), 0)
    group_of = {id(e): number for number, group in enumerate(pool.groups) for e in group}
    for step in range(9):
        drawn = Counter(group_of[id(e)] for e in pool.draw(step, count))
        assert (drawn[0], drawn[1]) == expected


@given(
    st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=5),
    st.integers(1, 20),
    st.lists(st.integers(0, 10**6), max_size=4),
)
def test_sizes_add_up_in_every_step_and_follow_the_shares_over_all_steps(
    shares: list[float], count: int, steps: list[int]
) -> None:
    pool = ReadingPool.__new__(ReadingPool)
    pool._shares = shares
    for step in [*range(30), *steps]:
        before, behind = pool._drawn_among(step * count), pool._drawn_among((step + 1) * count)
        sizes = [end - first for first, end in zip(before, behind, strict=True)]
        assert sum(sizes) == count
        assert min(sizes) >= 0
        for drawn, share in zip(behind, shares, strict=True):
            # Each source's share of what is left is rounded once, and so are those that it is left by.
            assert abs(drawn - (step + 1) * count * share / sum(shares)) <= len(shares) / 2


@pytest.mark.parametrize("count", [1, 4, 8, 16])
def test_source_of_a_small_share_is_drawn_too(trunk: Path, data: Path, count: int) -> None:
    pool = ReadingPool(["towns.jsonl;share=0.9", "more.jsonl;share=0.1"], data, tokenizer_of(trunk), 0)
    seldom = {id(e) for e in pool.groups[1]}
    drawn = [id(e) for step in range(100) for e in pool.draw(step, count) if id(e) in seldom]
    assert len(drawn) == 10 * count
    assert set(Counter(drawn[: len(seldom)]).values()) == {1}


def test_examples_that_cannot_be_used_are_said(trunk: Path, tmp_path: Path) -> None:
    blank = {"title": "T", "context": "old  mill", "question": "?", "answers": [{"text": "  ", "answer_start": 3}]}
    write_lines(tmp_path / "some.jsonl", [example(0, "T", "old mill", "what?", "mill"), blank])
    write_lines(tmp_path / "none.jsonl", [blank])
    said: list[str] = []
    pool = ReadingPool(["some.jsonl"], tmp_path, tokenizer_of(trunk), 0, JobReport(say=said.append))
    assert len(pool) == 1
    assert said == ["reading examples: skipped 1: answer_without_piece 1"]
    with pytest.raises(RecipeError, match=r"no reading example to train on \(skipped 1: answer_without_piece 1\)"):
        ReadingPool(["none.jsonl"], tmp_path, tokenizer_of(trunk), 0)


def contains(body: list[int], part: list[int]) -> bool:
    return f" {' '.join(map(str, part))} " in f" {' '.join(map(str, body))} "


def test_other_passage_is_of_the_same_document_and_never_holds_an_answer(trunk: Path, data: Path) -> None:
    pool = ReadingPool(["towns.jsonl", "more.jsonl"], data, tokenizer_of(trunk), 0)
    examples = [e for group in pool.groups for e in group]
    found_none = 0
    for example_ in examples:
        answers = [example_.body_ids[first : last + 1] for first, last in example_.spans]
        siblings = {tuple(e.body_ids) for e in examples if e.title == example_.title and e.passage != example_.passage}
        usable = {body for body in siblings if not any(contains(list(body), answer) for answer in answers)}
        drawn = {
            None if body is None else tuple(body)
            for body in (pool.other_passage(example_, random.Random(seed)) for seed in range(40))
        }
        assert drawn == (usable or {None})
        found_none += len(usable) < len(siblings)
    assert found_none  # some passages of a town share a year


def test_other_passage_lacks_every_answer_not_only_one(trunk: Path, tmp_path: Path) -> None:
    asked = example(0, "T", "old mill of the river", "what?", "mill")
    asked["answers"].append({"text": "river", "answer_start": asked["context"].index("river")})
    others = [example(n, "T", text, "?", "new") for n, text in enumerate(("new mill", "new river", "new tower"), 1)]
    write_lines(tmp_path / "r.jsonl", [asked, *others])
    tokenizer = tokenizer_of(trunk)
    pool = ReadingPool(["r.jsonl"], tmp_path, tokenizer, 0)
    found = [pool.other_passage(pool.groups[0][0], random.Random(seed)) for seed in range(20)]
    assert found == [tokenizer.ids_of("new tower")] * 20


def test_hard_negatives_of_an_example_are_its_other_passages(trunk: Path, tmp_path: Path) -> None:
    negatives = [{"title": "U", "text": "new tower"}, {"title": "V", "text": "new bridge"}]
    asked = example(0, "T", "old mill", "what?", "mill") | {"hard_negatives": negatives}
    same = example(1, "V", "new bridge", "what?", "bridge") | {"hard_negatives": negatives[:1]}
    write_lines(tmp_path / "r.jsonl", [asked, same])
    tokenizer = tokenizer_of(trunk)
    pool = ReadingPool(["r.jsonl"], tmp_path, tokenizer, 0)
    first, second = pool.groups[0]
    drawn = [pool.other_passage(first, random.Random(seed)) for seed in range(20)]
    assert sorted(map(tuple, drawn))[::19] == sorted(tuple(tokenizer.ids_of(one["text"])) for one in negatives)
    # A block has one number, whether it answers a question or not.
    assert [one.passage for one in first.hard_negatives] == [second.hard_negatives[0].passage, second.passage]


def test_document_of_one_passage_has_no_other_passage(trunk: Path, tmp_path: Path) -> None:
    write_lines(
        tmp_path / "r.jsonl", [example(0, "T", "old mill", "what?", "mill"), example(1, "U", "new", "?", "new")]
    )
    pool = ReadingPool(["r.jsonl"], tmp_path, tokenizer_of(trunk), 0)
    assert [pool.other_passage(e, random.Random(0)) for e in pool.groups[0]] == [None, None]


def test_sources_of_a_recipe_are_parsed() -> None:
    items = ["a.jsonl", "b c.jsonl;share=0.4", "d.jsonl;keep_aside=4;share=2"]
    assert split_paths(items) == [
        (Path("a.jsonl"), 0, 1.0),
        (Path("b c.jsonl"), 0, 0.4),
        (Path("d.jsonl"), 4, 2.0),
    ]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("a;shard=1", "unknown option 'shard'"),
        ("a;", "unknown option ''"),
        ("a;share", "share a number"),
        ("a;share=half", "share a number"),
        ("a;keep_aside=2.5", "takes a whole number"),
        ("a;keep_aside=-1", "must not be negative"),
        ("a;share=0", "must be over 0"),
        ("a;share=nan", "must be over 0"),
        ("a;share=inf", "must be over 0"),
    ],
)
def test_bad_source_option_is_refused_by_name(item: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        split_paths([item])


def test_pool_without_examples_is_refused(trunk: Path, data: Path, tmp_path: Path) -> None:
    tokenizer = tokenizer_of(trunk)
    with pytest.raises(RecipeError, match="sources is empty"):
        ReadingPool([], data, tokenizer, 0)
    with pytest.raises(RecipeError, match=r"towns\.jsonl has no reading example to train on"):
        ReadingPool(["towns.jsonl;keep_aside=1"], data, tokenizer, 0)
    with pytest.raises(SourceError, match="no such file"):
        ReadingPool(["none.jsonl"], tmp_path, tokenizer, 0)
