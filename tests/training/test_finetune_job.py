"""The job `finetune`: its loss and figures by hand, what learns, and what it leaves behind."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from finetune_towns import gradients_of_step, ready, town_questions, town_recipe, write_towns
from tiny_trunk import tokenizer_of, write_lines
from torch import Tensor

from realm.openqa.model import RealmForOpenQA
from realm.openqa.model_folder import ModelFolder
from realm.training.distributed import Processes
from realm.training.finetune import FinetuneJob
from realm.training.finetune_questions import AskedQuestion
from realm.training.job_report import JobReport
from realm.training.loop import train


@pytest.fixture(scope="module")
def folder(trunk: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_towns(trunk, tmp_path_factory.mktemp("towns"))


def by_hand(job: FinetuneJob, one: AskedQuestion) -> dict[str, float]:
    """Losses and figures of one question: one input at a time, all spans in two loops."""
    recipe, builder, networks = job.recipe, job._builder, job.networks
    blocks = job._corpus.take(range(len(job._corpus)))

    def vector(tower: Any, ids: list[int], segments: list[int]) -> Tensor:
        return tower(torch.tensor([ids]), token_type_ids=torch.tensor([segments])).projected_score[0].double()

    cls, sep = builder.cls_id, builder.sep_id
    question = vector(networks.question_tower, [cls, *one.ids, sep], [0] * (len(one.ids) + 2))
    scores = []
    for block in blocks:
        first, second = [cls, *block.title_ids, sep], [*block.body_ids, sep]
        made = vector(networks.open_qa.embedder, first + second, [0] * len(first) + [1] * len(second))
        scores.append(float(question @ made.half().double()))
    ranked = sorted(range(len(blocks)), key=lambda row: -scores[row])[: recipe.retrieved]
    answers = one.question.answers
    if one.question.answer_type == "regex":
        answers = (answers[0].replace("[", "").replace("]", ""),)
    has = [any(answer in blocks[row].text for answer in answers) for row in ranked]
    found = {f"top_{k}_match": float(any(has[:k])) for k in (5, 10) if k <= len(has)}
    right = [scores[row] for row, right in zip(ranked, has, strict=True) if right]
    everything = [scores[row] for row in ranked]
    found["retriever_loss"] = logsumexp(everything) - logsumexp(right) if right else 0.0
    spans, correct = [], []
    pieces = [tokenizer_of(job._start.embedder).ids_of(answer) for answer in answers]
    for row in ranked[: recipe.reader_blocks]:
        body = blocks[row].body_ids[: recipe.reader_seq_len - 3 - len(one.ids)]
        ids = [cls, *one.ids, sep, *body, sep]
        segments = torch.tensor([[0] * (len(one.ids) + 2) + [1] * (len(body) + 1)])
        hidden = networks.open_qa.reader.realm(torch.tensor([ids]), token_type_ids=segments).last_hidden_state[0]
        head = networks.open_qa.reader.qa_outputs
        starts, ends = head.dense_intermediate(hidden).chunk(2, dim=-1)
        begin = len(one.ids) + 2
        for s in range(len(body)):
            for e in range(s, min(len(body), s + recipe.max_span_width)):
                both = torch.relu(starts[begin + s] + ends[begin + e])
                spans.append(float(head.dense_output(head.layer_normalization(both))) + scores[row])
                correct.append(body[s : e + 1] in pieces)
    chosen = [score for score, right in zip(spans, correct, strict=True) if right]
    found["reader_loss"] = logsumexp(spans) - logsumexp(chosen) if chosen else 0.0
    found["reader_oracle"] = float(bool(chosen))
    found["exact_match"] = float(correct[spans.index(max(spans))])
    return found


def logsumexp(values: list[float]) -> float:
    most = max(values)
    return most + math.log(sum(math.exp(value - most) for value in values))


@torch.no_grad()
def test_loss_and_figures_of_a_step_are_their_equations(folder: Path, tmp_path: Path) -> None:
    job = ready(folder, tmp_path)
    asked = job._questions.draw(1, 6, Processes())
    wanted = [by_hand(job, one) for one in asked]
    with torch.enable_grad():
        figures, _ = gradients_of_step(job, 1)
    for key in wanted[0]:
        assert figures.get(key, 0.0) == pytest.approx(sum(one[key] for one in wanted) / 6, rel=2e-3, abs=2e-4), key
    assert figures["loss"] == pytest.approx(figures["retriever_loss"] + figures["reader_loss"], rel=1e-5)
    assert figures["reader_oracle"] > 0
    assert figures["examples"] == 6
    missing = sum(one["top_10_match"] == 0 for one in wanted)
    assert figures["skipped_no_answering_block"] == missing
    assert figures["skipped_no_right_span"] == 6 - missing - round(6 * figures["reader_oracle"])
    assert 0 <= figures["padding_share"] < 0.11
    assert 0 < figures["retrieval_share"] < 1


def test_dev_figures_are_those_of_the_same_equations_and_of_texts(folder: Path, tmp_path: Path) -> None:
    job = ready(folder, tmp_path, dev="asked.jsonl", dev_questions=9)
    said: dict[str, str] = {}

    def is_right(text: str, question: Any) -> bool:
        said[question.text] = text
        return len(said) % 2 == 0

    figures = job.dev_figures(is_right)
    assert next(iter(figures)) == "exact_match"
    asked = [one for one in job._questions.dev if one.question.text in said]
    assert len(asked) == len(said) == 9
    with torch.no_grad():
        wanted = [by_hand(job, one) for one in asked]
    for key in ("exact_match", "reader_oracle", "top_5_match", "top_10_match"):
        assert figures[key] == pytest.approx(sum(one[key] for one in wanted) / 9), key
    assert figures["official_exact_match"] == pytest.approx(4 / 9)
    texts = [block.text for block in job._corpus.take(range(len(job._corpus)))]
    for text in said.values():
        assert any(text in whole for whole in texts)
        assert text.strip()
    assert "official_exact_match" not in job.dev_figures()


def test_questions_that_are_left_out_are_said_and_too_long_ones_count_as_wrong(folder: Path, tmp_path: Path) -> None:
    asked = town_questions()
    too_long = [{"question": "who? " * 60, "answers": ["1300"]}] * 6
    write_lines(tmp_path / "learn.jsonl", [*asked, *too_long[:2], {"question": "who?"}])
    write_lines(tmp_path / "dev.jsonl", [*asked[:4], *too_long, {"question": "who?"}])
    write_lines(tmp_path / "short.jsonl", asked[:4])
    said: list[str] = []
    figures = {}
    for dev in ("dev.jsonl", "short.jsonl"):
        recipe = town_recipe(folder, questions=(str(tmp_path / "learn.jsonl"),), dev=str(tmp_path / dev))
        job = FinetuneJob(recipe, tmp_path / "run", report=JobReport(say=said.append))
        job.begin_step(0)
        figures[dev] = job.dev_figures(lambda text, question: True)
    assert said == [
        "questions to learn from: skipped 3: question_too_long 2, no_answer 1",
        "questions to measure by: skipped 7: question_too_long 6, no_answer 1",
        "questions to learn from: skipped 3: question_too_long 2, no_answer 1",
    ]
    assert figures["short.jsonl"]["official_exact_match"] == 1
    assert figures["short.jsonl"]["top_10_match"] > 0
    assert figures["dev.jsonl"] == pytest.approx({key: 0.4 * value for key, value in figures["short.jsonl"].items()})


@pytest.mark.parametrize("changes", [{}, {"train_blocks": True}, {"freeze_retriever": True}])
def test_gradients_are_the_same_in_small_parts_as_in_one(folder: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    whole, whole_gradients = gradients_of_step(ready(folder, tmp_path / "a", micro_rows=100, **changes), 0)
    parts, parts_gradients = gradients_of_step(ready(folder, tmp_path / "b", micro_rows=1, **changes), 0)
    for key in whole.keys() - {"padding_share", "retrieval_share", "stale_seconds"}:
        assert parts[key] == pytest.approx(whole[key], rel=1e-4, abs=1e-5), key
    assert whole_gradients.keys() == parts_gradients.keys()
    for name, gradient in whole_gradients.items():
        torch.testing.assert_close(parts_gradients[name], gradient, atol=3e-5, rtol=1e-3)


def test_what_learns_is_what_the_recipe_says(folder: Path, tmp_path: Path) -> None:
    def trained(name: str, **changes: Any) -> set[str]:
        gradients = gradients_of_step(ready(folder, tmp_path / name, **changes), 0)[1]
        towers = ("query_embedder", "open_qa.embedder", "open_qa.reader")
        return {t for t in towers for n, gradient in gradients.items() if n.startswith(t) and gradient.abs().sum() > 0}

    assert trained("a") == {"query_embedder", "open_qa.reader"}
    assert trained("b", train_blocks=True) == {"open_qa.embedder", "open_qa.reader"}
    assert trained("c", freeze_retriever=True) == {"open_qa.reader"}


def test_gradient_of_a_question_is_that_of_one_graph(folder: Path, tmp_path: Path) -> None:
    """The tower's gradient goes through the vectors twice: by way of the parts, and by way of the sum at the end."""
    job = ready(folder, tmp_path, freeze_retriever=False)
    _, gradients = gradients_of_step(job, 0)
    name = "query_embedder.cls.dense.bias"
    parameter = dict(job.model.named_parameters())[name]
    place, step = int(gradients[name].abs().argmax()), 1e-3
    losses = []
    for change in (step, -2 * step):
        with torch.no_grad():
            parameter.view(-1)[place] += change
        losses.append(gradients_of_step(job, 0)[0]["loss"])
    assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(float(gradients[name].view(-1)[place]), rel=0.05)


def test_blocks_embedded_anew_have_the_scores_of_the_embedder_as_it_is(folder: Path, tmp_path: Path) -> None:
    job = ready(folder, tmp_path, train_blocks=True, trained_blocks=2, reader_blocks=1, refresh_every_steps=100)
    with torch.no_grad():
        job.networks.open_qa.embedder.cls.LayerNorm.weight.mul_(2.0)
        parts = job.micro_batches(0)
        for part in parts:
            kept = job._retrieval.vectors(part.rows)
            now = job._with_fresh(kept, part)
            assert torch.equal(now[:, 2:], kept[:, 2:])
            torch.testing.assert_close(now[:, :2], 2 * kept[:, :2], atol=2e-2, rtol=2e-2)


@pytest.mark.slow
def test_index_is_refreshed_only_where_blocks_learn(folder: Path, tmp_path: Path) -> None:
    for name, trains in (("blocks", True), ("questions", False)):
        recipe = town_recipe(folder, train_blocks=trains, refresh_every_steps=2, keep_snapshots=9)
        train(FinetuneJob(recipe, tmp_path / name), recipe.loop(), tmp_path / name)
    steps = {
        name: sorted(p.name for p in (tmp_path / name / "snapshots").iterdir()) for name in ("blocks", "questions")
    }
    assert steps == {
        "blocks": ["step-00000000", "step-00000002", "step-00000004"], "questions": ["step-00000000"]
    }  # fmt: skip
    lines = [json.loads(line) for line in (tmp_path / "blocks" / "log.jsonl").read_text().splitlines()]
    assert [line["stale_steps"] for line in lines] == [0, 1, 0, 1, 0, 1]


@pytest.mark.slow
def test_dev_metric_is_measured_with_the_vectors_of_the_step_that_follows(folder: Path, tmp_path: Path) -> None:
    recipe = town_recipe(folder, steps=4, train_blocks=True, refresh_every_steps=2, evaluate_every_steps=2,
                         dev="asked.jsonl")  # fmt: skip
    job, used = FinetuneJob(recipe, tmp_path), []

    def measure() -> dict[str, float]:
        used.append(job.state()["snapshot"])
        return job.dev_figures()

    train(job, recipe.loop(), tmp_path, evaluate=measure)
    assert used == ["step-00000000", "step-00000002", "step-00000004"]


@pytest.mark.slow
def test_training_lowers_the_loss_and_leaves_a_model_that_opens_by_itself(folder: Path, tmp_path: Path) -> None:
    recipe = town_recipe(folder, steps=30, learning_rate=3e-3, log_every_steps=10, evaluate_every_steps=30,
                         dev="asked.jsonl")  # fmt: skip
    job = FinetuneJob(recipe, tmp_path)
    train(job, recipe.loop(), tmp_path, evaluate=job.dev_figures)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < losses[0] - 0.3
    dev = [line["dev_exact_match"] for line in lines if "dev_exact_match" in line]
    assert dev[-1] > dev[0]
    opened = ModelFolder.open(str(tmp_path / "model"))
    assert opened.reference.digest == ModelFolder.open(str(folder / "start")).reference.digest
    assert opened.networks.config.separate_query_embedder
    # A next run starts where this one ended, with its own tower of questions.
    again = FinetuneJob(town_recipe(folder, model=str(tmp_path)), tmp_path / "again")
    best = FinetuneJob(recipe, tmp_path / "unused").networks.state_dict().keys()
    assert again.networks.state_dict().keys() == best
    start = FinetuneJob(recipe, tmp_path / "unused").networks.state_dict()
    for name, value in again.networks.state_dict().items():
        if "predictions" in name:
            continue
        if name.startswith("open_qa.embedder."):
            assert torch.equal(value, start[name])
    changed = "query_embedder.cls.dense.weight"
    assert not torch.equal(again.networks.state_dict()[changed], start[changed])


@pytest.mark.parametrize("changes", [{"freeze_retriever": True}, {"train_blocks": True}])
def test_model_with_one_tower_is_an_ordinary_one(folder: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    recipe = town_recipe(folder, steps=2, **changes)
    job = FinetuneJob(recipe, tmp_path)
    train(job, recipe.loop(), tmp_path)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config.get("separate_query_embedder", False) is False
    assert (config["reader_beam_size"], config["max_span_width"], config["reader_seq_len"]) == (3, 6, 120)
    model = RealmForOpenQA.from_pretrained(tmp_path / "model")
    for name, value in job.networks.open_qa.state_dict().items():
        if "embedder.cls.predictions" not in name:
            assert torch.equal(model.state_dict()[name], value), name
    same = (
        ModelFolder.open(str(tmp_path / "model")).reference.digest
        == ModelFolder.open(str(folder / "start")).reference.digest
    )
    assert same == ("freeze_retriever" in changes)
