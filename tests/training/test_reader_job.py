"""The reader job: what its rows hold, and its loss against a loop over all spans."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_trunk import SYLLABLES, example, tokenizer_of, write_lines

from realm.training.distributed import Processes
from realm.training.loop import train
from realm.training.reader import ReaderJob, ReaderRecipe, ReadingRows


@pytest.fixture
def recipe(trunk: Path, data: Path) -> ReaderRecipe:
    return ReaderRecipe(
        str(trunk), ("towns.jsonl",), steps=3, data=str(data), first_trained_layer=1, batch_questions=6,
        micro_rows=4, negative_share=0.6, max_pieces=96, max_span_width=4, warmup_steps=1, learning_rate=1e-2,
    )  # fmt: skip


def rows_of(part: ReadingRows) -> list[tuple[int, int, list[int], list[int], list[int], set[tuple[int, int]]]]:
    """Question, place, ids, segments, body positions and answer spans of each row, without padding."""
    rows = []
    for number in range(len(part.inputs.input_ids)):
        pieces = int(part.inputs.attention_mask[number].sum())
        spans = {(int(s), int(e)) for s, e in zip(part.starts[number], part.ends[number], strict=True) if s >= 0}
        rows.append((
            int(part.question[number]),
            int(part.place[number]),
            part.inputs.input_ids[number, :pieces].tolist(),
            part.inputs.token_type_ids[number, :pieces].tolist(),
            part.inputs.body_mask[number].nonzero().flatten().tolist(),
            spans,
        ))  # fmt: skip
    return rows


def span_score(job: ReaderJob, hidden: torch.Tensor, start: int, end: int) -> float:
    """w . LN(relu(P_start + Q_end)) + b of one span, from the equation."""
    head, config = job.reader.qa_outputs, job.reader.config
    half = config.span_hidden_size
    weight, bias = head.dense_intermediate.weight, head.dense_intermediate.bias
    span = (weight[:half] @ hidden[start] + bias[:half] + weight[half:] @ hidden[end] + bias[half:]).relu()
    centred = span - span.mean()
    normal = centred / (centred.square().mean() + config.reader_layer_norm_eps).sqrt()
    normal = normal * head.layer_normalization.weight + head.layer_normalization.bias
    return float(head.dense_output.weight[0] @ normal + head.dense_output.bias[0])


def loss_by_loops(job: ReaderJob, parts: list[ReadingRows]) -> tuple[float, float]:
    """Mean over questions of log(sum of all) - log(sum of right), row by row and span by span; and exact match."""
    losses, matches = [], []
    for part in parts:
        spans_of: dict[int, list[tuple[float, bool]]] = {}
        for question, _, ids, segments, body, answers in rows_of(part):
            with torch.no_grad():
                hidden = job.reader.realm(
                    torch.tensor([ids]), token_type_ids=torch.tensor([segments]), return_dict=True
                ).last_hidden_state[0]
                for start in body:
                    for end in range(start, min(start + job.recipe.max_span_width, body[-1] + 1)):
                        spans_of.setdefault(question, []).append(
                            (span_score(job, hidden, start, end), (start, end) in answers)
                        )
        for spans in spans_of.values():
            right = [math.exp(score) for score, is_right in spans if is_right]
            losses.append(math.log(sum(math.exp(score) for score, _ in spans) / sum(right)) if right else 0.0)
            matches.append(max(spans)[1])
    assert len(losses) == job.recipe.batch_questions
    return sum(losses) / len(losses), sum(matches) / len(matches)


def test_loss_equals_a_loop_over_all_spans_of_all_blocks(recipe: ReaderRecipe) -> None:
    job = ReaderJob(recipe)
    job.model.eval()
    parts = list(job.micro_batches(0))
    assert len(parts) > 1
    assert any(place == 1 for part in parts for _, place, *_ in rows_of(part))
    with torch.no_grad():
        results = [job.loss(part) for part in parts]
    loss, match = loss_by_loops(job, parts)
    assert sum(float(loss) for loss, _ in results) == pytest.approx(loss, rel=1e-4)
    assert sum(figures["exact_match"] for _, figures in results) == pytest.approx(match)


def test_gradient_does_not_depend_on_micro_rows(recipe: ReaderRecipe) -> None:
    gradients = []
    for micro_rows in (2, 4, 100):
        job = ReaderJob(dataclasses.replace(recipe, micro_rows=micro_rows))
        job.model.eval()
        for part in job.micro_batches(1):
            assert len(part.question) <= micro_rows
            job.loss(part)[0].backward()
        gradients.append(job.reader.qa_outputs.dense_intermediate.weight.grad)
    assert gradients[0].abs().max() > 1e-3
    for gradient in gradients[1:]:
        torch.testing.assert_close(gradient, gradients[0], atol=1e-6, rtol=1e-4)


def test_data_of_a_step_is_the_same_whenever_it_is_asked_for(recipe: ReaderRecipe) -> None:
    one, other = ReaderJob(recipe), ReaderJob(recipe)
    backwards = [[rows_of(part) for part in one.micro_batches(step)] for step in (2, 1, 0)]
    assert [[rows_of(part) for part in other.micro_batches(step)] for step in (0, 1, 2)] == backwards[::-1]
    assert backwards[0] != backwards[1]


def test_rows_mark_the_answer_and_blocks_without_it_have_none(recipe: ReaderRecipe) -> None:
    job = ReaderJob(dataclasses.replace(recipe, negative_share=1.0))
    for part in job.micro_batches(0):
        for _, place, ids, _, body, spans in rows_of(part):
            assert body == list(range(body[0], len(ids) - 1))
            assert bool(spans) == (place == 0)
            assert all(body[0] <= start <= end <= body[-1] for start, end in spans)


def test_negative_share_is_how_often_a_second_block_is_read(recipe: ReaderRecipe) -> None:
    for share in (0.0, 0.4):
        job = ReaderJob(dataclasses.replace(recipe, negative_share=share, sources=("towns.jsonl", "more.jsonl")))
        places = [place for step in range(40) for part in job.micro_batches(step) for _, place, *_ in rows_of(part)]
        assert places.count(0) == 240
        # A few questions have no other passage without their answer.
        assert 0.75 * share * 240 - 1 < places.count(1) < 1.25 * share * 240 + 1


def long_examples(folder: Path, answer: str) -> tuple[str, ...]:
    """Passages far longer than the input, with the answer at every tenth."""
    records = []
    for number in range(10):
        words = [SYLLABLES[n % 20] for n in range(100)]
        words[number * 11] = answer
        records.append(example(number, "T", " ".join(words), "where is it?", answer))
    write_lines(folder / "long.jsonl", records)
    return ("long.jsonl",)


def test_window_of_a_long_passage_always_holds_the_answer_at_any_place(
    recipe: ReaderRecipe, trunk: Path, tmp_path: Path
) -> None:
    sources = long_examples(tmp_path, "tower bridge")
    job = ReaderJob(dataclasses.replace(recipe, data=str(tmp_path), sources=sources, max_pieces=32, batch_questions=10))
    answer = tokenizer_of(trunk).ids_of("tower bridge")
    places = set()
    for step in range(20):
        for part in job.micro_batches(step):
            for _, _, ids, _, body, spans in rows_of(part):
                assert len(ids) == 32
                ((start, end),) = spans
                assert ids[start : end + 1] == answer
                places.add(start - body[0])
    assert len(places) > 15


def test_answer_wider_than_the_window_and_question_longer_than_the_input_do_no_harm(
    recipe: ReaderRecipe, tmp_path: Path
) -> None:
    (source,) = long_examples(tmp_path, " ".join(SYLLABLES * 3))
    write_lines(tmp_path / "asks.jsonl", [example(0, "U", "the old mill", "who " * 200 + "?", "mill")])
    recipe = dataclasses.replace(recipe, data=str(tmp_path), sources=(source, "asks.jsonl"), max_pieces=32)
    job = ReaderJob(dataclasses.replace(recipe, batch_questions=20))
    for part in job.micro_batches(0):
        assert part.inputs.input_ids.size(1) <= 32
        assert torch.isfinite(job.loss(part)[0])
        asked = [row for row in rows_of(part) if len(row[4]) == 3]
        assert all(row[5] == {(row[4][2], row[4][2])} for row in asked)


def test_only_layers_from_the_first_trained_one_and_the_span_head_change(recipe: ReaderRecipe, tmp_path: Path) -> None:
    job = ReaderJob(recipe)
    before = {name: p.detach().clone() for name, p in job.model.named_parameters()}
    train(job, recipe.loop(), tmp_path)
    changed = {name for name, p in job.model.named_parameters() if not torch.equal(p, before[name])}
    fixed = ("realm.embeddings.", "realm.encoder.layer.0.", "realm.pooler.", "cls.")
    assert all(name.startswith(("realm.encoder.layer.1.", "realm.encoder.layer.2.", "qa_outputs.")) for name in changed)
    # Shifting all keys, or all spans, changes no probability: these have no gradient worth the name.
    flat = {name for name in before if name.endswith(("self.key.bias", "dense_output.bias"))}
    assert {name for name in before if not name.startswith(fixed)} - flat <= changed


def test_twenty_steps_learn_a_few_questions_by_heart(recipe: ReaderRecipe, tmp_path: Path) -> None:
    recipe = dataclasses.replace(recipe, steps=20, batch_questions=6, negative_share=0.0, warmup_steps=2)
    write_lines(tmp_path / "six.jsonl", [example(n, "T", f"the {n} mill of {s} is old", f"mill {n}?", s)
                                         for n, s in enumerate(SYLLABLES[:6])])  # fmt: skip
    recipe = dataclasses.replace(recipe, sources=("six.jsonl",), data=str(tmp_path))
    job = ReaderJob(recipe)
    reports: list[tuple[float, float]] = []
    settings = dataclasses.replace(recipe.loop(), log_every_steps=1)
    train(job, settings, tmp_path / "run", lambda _, f: reports.append((f["loss"], f["exact_match"])))
    assert reports[-1][0] < 0.2 * reports[0][0]
    assert reports[-1][1] == 1.0


@pytest.mark.parametrize("count", [2, 3])
def test_processes_share_the_questions_of_a_step(
    recipe: ReaderRecipe, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ReaderJob(recipe)
    job.model.eval()

    def step_of(processes: Processes) -> tuple[list[list[int]], float]:
        monkeypatch.setattr("realm.training.reader.Processes.current", lambda: processes)
        parts = job.micro_batches(4)
        with torch.no_grad():
            return [ids for part in parts for _, _, ids, *_ in rows_of(part)], sum(float(job.loss(p)[0]) for p in parts)

    whole, loss = step_of(Processes(0, 1))
    shares = [step_of(Processes(rank, count)) for rank in range(count)]
    assert sorted(ids for share, _ in shares for ids in share) == sorted(whole)
    assert math.isclose(sum(part for _, part in shares), loss, rel_tol=1e-5)


def test_computing_layers_twice_changes_no_weight(recipe: ReaderRecipe, tmp_path: Path) -> None:
    for twice in (False, True):
        job = ReaderJob(dataclasses.replace(recipe, gradient_checkpointing=twice, dropout=0.1))
        calls: list[int] = []
        job.reader.realm.encoder.layer[-1].attention.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        train(job, job.recipe.loop(), tmp_path / str(twice))
        parts = sum(len(job.micro_batches(step)) for step in range(recipe.steps))
        assert len(calls) == parts * (1 + twice)
    once, twice_ = (load_file(tmp_path / run / "checkpoint" / "state.safetensors") for run in ("False", "True"))
    for name, value in once.items():
        torch.testing.assert_close(twice_[name], value, msg=name)
