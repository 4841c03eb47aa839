"""Examples of the inverse cloze task: which blocks a step has, what is asked of them, and what is left out."""

from __future__ import annotations

from pathlib import Path

import pytest
from memory_blocks import ONE_SENTENCE, MemoryBlocks, ict_recipe, memory_blocks
from tiny_trunk import tokenizer_of

from realm.errors import RecipeError
from realm.features.inputs import InputBuilder
from realm.text.sentences import sentence_spans
from realm.training.distributed import Processes
from realm.training.ict_data import ClozeBatch, ClozeBatches

ALONE = Processes(0, 1)


@pytest.fixture(scope="module")
def source(trunk: Path) -> MemoryBlocks:
    return memory_blocks(trunk)


def batches(trunk: Path, source: MemoryBlocks, **changes: object) -> ClozeBatches:
    return ClozeBatches(source, tokenizer_of(trunk), ict_recipe(trunk, **changes))


def examples(batch: ClozeBatch) -> list[tuple[object, ...]]:
    """Each example by itself, sorted."""
    rows = zip(batch.numbers, batch.questions, batch.blocks, batch.removed, strict=True)
    return sorted((number, tuple(q.ids), tuple(b.ids), removed) for number, q, b, removed in rows)


def test_question_is_a_sentence_of_its_block_which_mostly_loses_it_and_keeps_its_title(
    trunk: Path, source: MemoryBlocks
) -> None:
    tokenizer = tokenizer_of(trunk)
    builder = InputBuilder(tokenizer)
    drawn, removed, asked = batches(trunk, source), 0, set()
    seen = 0
    for step in range(60):
        batch = drawn.draw(step, ALONE)
        for number, question, block, is_removed in zip(
            batch.numbers, batch.questions, batch.blocks, batch.removed, strict=True
        ):
            text = source.blocks[number].text
            sentences = [text[first:last] for first, last in sentence_spans(text)]
            pieces = [tokenizer.ids_of(sentence) for sentence in sentences]
            which = [builder.question(ids, 48).ids for ids in pieces].index(question.ids)
            left = [ids for n, ids in enumerate(pieces) if n != which or not is_removed]
            assert block == builder.block(
                source.blocks[number].title_ids, [piece for ids in left for piece in ids], 150
            )
            asked.add((number, which))
            removed += is_removed
            seen += 1
    assert removed / seen == pytest.approx(0.9, abs=0.03)
    # All four sentences of every block that is learned from.
    assert {number for number, _ in asked} == set(range(24))
    assert len(asked) >= 22 * 4


def test_block_whose_only_sentence_would_go_is_skipped_and_counted(trunk: Path, source: MemoryBlocks) -> None:
    drawn = batches(trunk, source)
    kept = skipped = 0
    for step in range(100):
        batch = drawn.draw(step, ALONE)
        kept += sum(source.blocks[number].text == ONE_SENTENCE for number in batch.numbers)
        skipped += batch.skipped["only_sentence"]
        assert len(batch.questions) + sum(batch.skipped.values()) == 12
        assert all(
            not removed or source.blocks[number].text != ONE_SENTENCE
            for number, removed in zip(batch.numbers, batch.removed, strict=True)
        )
    # Two of the 24 blocks have one sentence: 100 examples in 1,200.
    assert kept + skipped == 100
    assert kept == pytest.approx(10, abs=8)


def test_block_without_text_is_skipped_and_counted(trunk: Path) -> None:
    source = MemoryBlocks(trunk, [("Empty", "  "), *((f"T {n}", "One is old. Two is new.") for n in range(3))])
    batch = batches(trunk, source, batch_blocks=4, held_out_blocks=0, evaluate_every_steps=0).draw(0, ALONE)
    assert batch.skipped == {"only_sentence": 0, "no_sentence": 1}
    assert sorted(batch.numbers) == [1, 2, 3]


def test_step_is_the_same_whenever_it_is_asked_for(trunk: Path, source: MemoryBlocks) -> None:
    one, other = batches(trunk, source), batches(trunk, source)
    steps = [one.draw(step, ALONE) for step in range(4)]
    assert [other.draw(step, ALONE) for step in (3, 1, 0, 2)] == [steps[step] for step in (3, 1, 0, 2)]
    assert steps[0] != steps[2]  # the same blocks in another epoch, with other sentences
    assert batches(trunk, source, seed=1).draw(0, ALONE) != steps[0]


@pytest.mark.parametrize("count", [2, 3, 5])
def test_processes_share_the_examples_of_one(trunk: Path, source: MemoryBlocks, count: int) -> None:
    drawn = batches(trunk, source)
    for step in range(3):
        whole = drawn.draw(step, ALONE)
        parts = [drawn.draw(step, Processes(rank, count)) for rank in range(count)]
        assert sorted(example for part in parts for example in examples(part)) == examples(whole)
        for reason, number in whole.skipped.items():
            assert sum(part.skipped[reason] for part in parts) == number


def test_held_out_blocks_are_the_last_ones_and_are_never_learned_from(trunk: Path, source: MemoryBlocks) -> None:
    drawn = batches(trunk, source)
    held_out = drawn.held_out()
    # The thirtieth block has one sentence.
    assert held_out.numbers == [24, 25, 26, 27, 28]
    assert all(held_out.removed)
    assert held_out == batches(trunk, source).held_out()
    learned = {number for step in range(20) for number in drawn.draw(step, ALONE).numbers}
    assert learned | {9, 19} == set(range(24))  # these two have one sentence, and are mostly skipped


def test_fewer_blocks_than_a_batch_has_are_refused(trunk: Path, source: MemoryBlocks) -> None:
    with pytest.raises(RecipeError, match=r"memory has 30 blocks; 6 held out leave 24, but batch_blocks is 25. Lower"):
        batches(trunk, source, batch_blocks=25)
