"""The embedder job: its warm start against mean pooling by transformers, and its loss written out pair by pair."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from pathlib import Path

import pytest
import torch
from tiny_trunk import HIDDEN
from torch import Tensor
from transformers import BertModel

from realm.errors import RecipeError
from realm.features.inputs import Row
from realm.training.embedder import EmbedderBatch, EmbedderJob
from realm.training.embedder_recipe import EmbedderRecipe
from realm.training.loop import train


@pytest.fixture
def recipe(trunk: Path, data: Path) -> EmbedderRecipe:
    return EmbedderRecipe(
        str(trunk), ("towns.jsonl", "more.jsonl"), steps=12, data=str(data), documents=("documents.jsonl",),
        questions=("questions.jsonl",), batch_pairs=9, batch_sentences=3, batch_questions=4, dimensions=HIDDEN,
        max_block_pieces=60, max_question_pieces=24, learning_rate=1e-2, warmup_steps=2,
    )  # fmt: skip


@pytest.fixture(scope="module")
def bert(trunk: Path) -> BertModel:
    model: BertModel = BertModel.from_pretrained(trunk)
    return model.eval()


def mean_pooled(bert: BertModel, row: Row) -> Tensor:
    """Mean of transformers' last states over all pieces of one text, as a unit vector."""
    with torch.no_grad():
        states = bert(torch.tensor([row.ids]), token_type_ids=torch.tensor([row.segments])).last_hidden_state[0]
    mean = states.mean(0)
    return mean / mean.norm()


def vector(job: EmbedderJob, row: Row) -> Tensor:
    """Our vector of one text by itself."""
    with torch.no_grad():
        output = job.embedder(
            torch.tensor([row.ids]), token_type_ids=torch.tensor([row.segments]), return_dict=True
        ).projected_score
    assert output is not None
    return output[0]


def batch_of(job: EmbedderJob, step: int = 0) -> EmbedderBatch:
    (batch,) = job.micro_batches(step)
    return batch


def random_rows(count: int) -> list[Row]:
    choice = random.Random(3)
    rows = []
    for _ in range(count):
        ids = [choice.randrange(5, 120) for _ in range(choice.randrange(4, 30))]
        rows.append(Row(ids, [0] * len(ids), len(ids), len(ids)))
    return rows


def test_fresh_embedder_ranks_as_the_mean_pooled_trunk(recipe: EmbedderRecipe, bert: BertModel) -> None:
    job = EmbedderJob(recipe)
    rows = random_rows(40)
    ours = torch.stack([vector(job, row) for row in rows])
    means = torch.stack([mean_pooled(bert, row) for row in rows])
    torch.testing.assert_close((ours * ours).sum(-1), torch.full((40,), recipe.score_scale), rtol=1e-3, atol=0)
    pairs = torch.triu_indices(40, 40, offset=1)
    scores, cosines = ((x @ x.T)[pairs[0], pairs[1]] for x in (ours, means))
    assert torch.corrcoef(torch.stack([scores, cosines]))[0, 1] > 0.9


def test_vectors_of_a_text_do_not_depend_on_its_batch(recipe: EmbedderRecipe) -> None:
    job = EmbedderJob(recipe)
    batch = batch_of(job)
    with torch.no_grad():
        loss, _ = job.loss(batch)
        order = list(range(len(batch.blocks)))[::-1]
        rest = batch.questions[len(order) :]
        other = EmbedderBatch(
            [batch.questions[n] for n in order] + rest[::-1],
            [batch.blocks[n] for n in order],
            batch.targets,
            batch.same_passage[order][:, order],
        )
        torch.testing.assert_close(job.loss(other)[0], loss)


def softmax_logs(scores: list[float]) -> list[float]:
    total = math.log(sum(math.exp(score) for score in scores))
    return [score - total for score in scores]


def divergence(scores: list[list[float]], cosines: list[list[float]], scale: float) -> float:
    """Mean over rows of sum t log(t / s)."""
    total = 0.0
    for row, teacher_row in zip(scores, cosines, strict=True):
        teacher = softmax_logs([scale * cosine for cosine in teacher_row])
        total += sum(math.exp(t) * (t - s) for t, s in zip(teacher, softmax_logs(row), strict=True))
    return total / len(scores)


def test_loss_equals_its_equation_with_transformers_as_teacher(recipe: EmbedderRecipe, bert: BertModel) -> None:
    job = EmbedderJob(dataclasses.replace(recipe, distillation_weight=0.3))
    batch = batch_of(job)
    questions, blocks = ([vector(job, row) for row in rows] for rows in (batch.questions, batch.blocks))
    taught_questions, taught_blocks = ([mean_pooled(bert, r) for r in rows] for rows in (batch.questions, batch.blocks))
    contrastive, first, teacher_first = [], 0, 0
    for place, target in enumerate(batch.targets.tolist()):
        rivals = [n for n in range(len(blocks)) if not batch.same_passage[place, n]]
        scores = [float(questions[place] @ blocks[n]) for n in rivals]
        contrastive.append(-softmax_logs(scores)[rivals.index(target)])
        first += rivals[scores.index(max(scores))] == target
        cosines = [float(taught_questions[place] @ taught_blocks[n]) for n in rivals]
        teacher_first += rivals[cosines.index(max(cosines))] == target

    def table(left: list[Tensor], right: list[Tensor]) -> list[list[float]]:
        return [[float(a @ b) for b in right] for a in left]

    distillation = (
        divergence(table(questions, blocks), table(taught_questions, taught_blocks), recipe.teacher_scale)
        + divergence(table(blocks, blocks), table(taught_blocks, taught_blocks), recipe.teacher_scale)
    ) / 2
    mean = sum(contrastive) / len(contrastive)
    loss, figures = job.loss(batch)
    assert figures["contrastive"] == pytest.approx(mean, rel=1e-3)
    assert figures["distillation"] == pytest.approx(distillation, rel=1e-3)
    assert float(loss.detach()) == pytest.approx(0.7 * mean + 0.3 * distillation, rel=1e-3)
    assert figures["top1"] == pytest.approx(first / len(contrastive))
    assert figures["teacher_top1"] == pytest.approx(teacher_first / len(contrastive))


def test_batch_pairs_each_question_with_its_block_and_excludes_copies_of_it(recipe: EmbedderRecipe) -> None:
    job = EmbedderJob(dataclasses.replace(recipe, batch_pairs=40, batch_sentences=12))
    copies = 0
    for step in range(3):
        batch = batch_of(job, step)
        assert batch.targets.tolist() == list(range(52))
        assert (len(batch.questions), len(batch.blocks)) == (56, 52)
        for one in range(52):
            for other in range(52):
                if max(one, other) < 40:
                    same = one != other and batch.blocks[one].ids == batch.blocks[other].ids
                    assert bool(batch.same_passage[one, other]) == same
                    copies += same
        # Twelve sentences of five documents of one block each: copies again, with different sentences missing.
        for one in range(12):
            for other in range(12):
                same = one != other and (12 * step + one) % 5 == (12 * step + other) % 5
                assert bool(batch.same_passage[40 + one, 40 + other]) == same
        assert not batch.same_passage[:40, 40:].any()
    assert copies


def test_copy_of_a_questions_block_does_not_count_against_it(recipe: EmbedderRecipe) -> None:
    job = EmbedderJob(dataclasses.replace(recipe, batch_sentences=0, batch_questions=0))
    batch = batch_of(job)
    single = torch.zeros(9, 9, dtype=torch.bool)
    plain = job.loss(batch._replace(same_passage=single))[1]["contrastive"]
    # The first block stands a second time, in the place of the second one.
    doubled = batch._replace(blocks=[batch.blocks[0], batch.blocks[0], *batch.blocks[2:]], same_passage=single)
    counted = job.loss(doubled)[1]["contrastive"]
    excluded = single.clone()
    excluded[0, 1] = True
    assert job.loss(doubled._replace(same_passage=excluded))[1]["contrastive"] < counted
    assert plain != counted


def test_data_of_a_step_is_the_same_whenever_it_is_asked_for(recipe: EmbedderRecipe) -> None:
    one, other = EmbedderJob(recipe), EmbedderJob(recipe)
    for step in (4, 0, 7):
        first, second = batch_of(one, step), batch_of(other, step)
        assert (first.questions, first.blocks) == (second.questions, second.blocks)
        assert torch.equal(first.same_passage, second.same_passage)
    assert batch_of(one, 0).questions != batch_of(one, 1).questions
    assert one.parents() == other.parents()
    assert one.parents().keys() == {"trunk", *recipe.sources, "documents", "questions"}


def test_further_questions_take_turns(recipe: EmbedderRecipe) -> None:
    job = EmbedderJob(recipe)
    asked = [tuple(row.ids) for step in range(7) for row in batch_of(job, step).questions[12:]]
    assert len(asked) == 28
    assert len(set(asked[:7])) == 7
    assert asked[:7] * 4 == asked


def test_only_the_added_layer_and_the_projection_change_and_the_loss_falls(
    recipe: EmbedderRecipe, tmp_path: Path
) -> None:
    job = EmbedderJob(recipe)
    before = {name: p.detach().clone() for name, p in job.model.named_parameters()}
    train(job, dataclasses.replace(recipe.loop(), log_every_steps=4), tmp_path)
    changed = {name for name, p in job.model.named_parameters() if not torch.equal(p, before[name])}
    learns = {name for name in before if name.startswith(("realm.encoder.layer.2.", "cls.dense.", "cls.LayerNorm."))}
    assert changed <= learns
    assert "cls.dense.weight" in changed
    losses = [json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert all(map(math.isfinite, losses))
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("dimensions", [0, HIDDEN + 1])
def test_more_dimensions_than_the_trunk_has_are_refused(recipe: EmbedderRecipe, dimensions: int) -> None:
    with pytest.raises(RecipeError, match=rf"dimensions is {dimensions}; the trunk allows 1 to {HIDDEN}"):
        EmbedderJob(dataclasses.replace(recipe, dimensions=dimensions))
