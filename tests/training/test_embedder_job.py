"""The embedder job: its warm start against mean pooling by transformers, and its loss written out pair by pair."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from pathlib import Path

import pytest
import torch
from tiny_trunk import HIDDEN, town_examples, write_lines
from torch import Tensor
from transformers import BertModel

from realm.corpus.questions import read_reading_examples
from realm.errors import RecipeError
from realm.features.inputs import InputBuilder, Row
from realm.text.pieces import PieceTokenizer
from realm.training.embedder import EmbedderJob
from realm.training.embedder_recipe import EmbedderRecipe
from realm.training.embedder_texts import EmbedderBatch
from realm.training.loop import train


@pytest.fixture
def recipe(trunk: Path, data: Path) -> EmbedderRecipe:
    return EmbedderRecipe(
        str(trunk), ("towns.jsonl", "more.jsonl"), steps=12, data=str(data), documents=("documents.jsonl",),
        questions=("questions.jsonl",), batch_pairs=9, batch_sentences=3, batch_questions=4, batch_blocks=5,
        dimensions=HIDDEN, max_block_pieces=60, max_question_pieces=24, learning_rate=1e-2, warmup_steps=2,
    )  # fmt: skip


def begun(recipe: EmbedderRecipe, run: Path) -> EmbedderJob:
    """A job that has computed the trunk's states."""
    job = EmbedderJob(recipe, run)
    job.begin_step(0)
    return job


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


def rows_of(job: EmbedderJob, batch: EmbedderBatch) -> tuple[list[Row], list[Row]]:
    """Questions and blocks of a step as inputs."""
    return [job.texts.questions[n] for n in batch.questions], [job.texts.blocks[n] for n in batch.blocks]


def random_rows(count: int) -> list[Row]:
    choice = random.Random(3)
    rows = []
    for _ in range(count):
        ids = [choice.randrange(5, 120) for _ in range(choice.randrange(4, 30))]
        rows.append(Row(ids, [0] * len(ids), len(ids), len(ids)))
    return rows


def test_fresh_embedder_ranks_as_the_mean_pooled_trunk(recipe: EmbedderRecipe, bert: BertModel, tmp_path: Path) -> None:
    job = EmbedderJob(recipe, tmp_path)
    rows = random_rows(40)
    ours = torch.stack([vector(job, row) for row in rows])
    means = torch.stack([mean_pooled(bert, row) for row in rows])
    torch.testing.assert_close((ours * ours).sum(-1), torch.full((40,), recipe.score_scale), rtol=1e-3, atol=0)
    pairs = torch.triu_indices(40, 40, offset=1)
    scores, cosines = ((x @ x.T)[pairs[0], pairs[1]] for x in (ours, means))
    assert torch.corrcoef(torch.stack([scores, cosines]))[0, 1] > 0.9


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


def test_loss_equals_its_equation_with_transformers_as_teacher(
    recipe: EmbedderRecipe, bert: BertModel, tmp_path: Path
) -> None:
    job = begun(recipe, tmp_path)
    batch = job.texts.draw(0)
    rows = rows_of(job, batch)
    questions, blocks = ([vector(job, row) for row in part] for part in rows)
    taught_questions, taught_blocks = ([mean_pooled(bert, row) for row in part] for part in rows)
    contrastive, first, teacher_first = [], 0, 0
    for place, target in enumerate(batch.targets.tolist()):
        rivals = [n for n in range(len(blocks)) if not batch.excluded[place, n]]
        scores = [float(questions[place] @ blocks[n]) for n in rivals]
        contrastive.append(-softmax_logs(scores)[rivals.index(target)])
        first += rivals[scores.index(max(scores))] == target
        cosines = [float(taught_questions[place] @ taught_blocks[n]) for n in rivals]
        teacher_first += rivals[cosines.index(max(cosines))] == target

    def table(left: list[Tensor], right: list[Tensor]) -> list[list[float]]:
        return [[float(a @ b) for b in right] for a in left]

    taught = table(taught_questions, taught_blocks)
    distillation = divergence(table(questions, blocks), taught, recipe.teacher_scale)
    mean = sum(contrastive) / len(contrastive)
    loss, figures = job.loss(batch)
    assert figures["contrastive"] == pytest.approx(mean, rel=1e-3)
    assert figures["distillation"] == pytest.approx(distillation, rel=1e-3)
    assert float(loss.detach()) == pytest.approx(0.7 * mean + 0.3 * distillation, rel=1e-3)
    assert figures["top1"] == pytest.approx(first / len(contrastive))
    assert figures["teacher_top1"] == pytest.approx(teacher_first / len(contrastive))


def test_step_pairs_each_question_with_its_block(recipe: EmbedderRecipe, trunk: Path, tmp_path: Path) -> None:
    texts = EmbedderJob(
        dataclasses.replace(recipe, batch_pairs=40, batch_sentences=5, keep_sentence_share=0.0), tmp_path
    ).texts
    tokenizer = PieceTokenizer.from_folder(trunk)
    builder = InputBuilder(tokenizer)
    allowed = {
        (
            tuple(builder.question(tokenizer.ids_of(e.question.text), 24).ids),
            tuple(builder.block(tokenizer.ids_of(e.title), tokenizer.ids_of(e.context), 60).ids),
        )
        for name in recipe.sources
        for e in read_reading_examples(Path(recipe.data, name))
    }
    seen = set()
    for step in range(3):
        batch = texts.draw(step)
        questions, blocks = ([tuple(rows[n].ids) for n in numbers] for rows, numbers in (
            (texts.questions, batch.questions), (texts.blocks, batch.blocks)
        ))  # fmt: skip
        assert (len(questions), len(batch.targets)) == (49, 45)
        assert len(set(blocks)) == len(blocks) >= 5
        pairs = [(question, blocks[target]) for question, target in zip(questions, batch.targets, strict=False)]
        assert set(pairs[:40]) <= allowed
        seen |= set(pairs[:40])
        # Five documents of one block: a sentence of each, and the block without it.
        assert len({block for _, block in pairs[40:]}) == 5
        for sentence, block in pairs[40:]:
            assert not contains(block, sentence[1:-1])
    assert seen == allowed


def contains(ids: tuple[int, ...], part: tuple[int, ...]) -> bool:
    return any(ids[start : start + len(part)] == part for start in range(len(ids)))


@pytest.fixture
def doubled(recipe: EmbedderRecipe, tmp_path: Path) -> EmbedderRecipe:
    """Two questions about two passages, each of which stands twice among the blocks, under different titles."""
    one, other = town_examples(2, passages=1)[::2]
    again = one | {"title": "Elsewhere", "id": "again", "hard_negatives": [{"title": "T", "text": other["context"]}]}
    write_lines(tmp_path / "same.jsonl", [one, other, again])
    return dataclasses.replace(
        recipe, data=str(tmp_path), sources=("same.jsonl",), documents=(), questions=(), batch_pairs=3, batch_blocks=9,
        hard_negatives=1, dimensions=4,
    )  # fmt: skip


def test_passage_under_another_title_does_not_count_against_a_question(doubled: EmbedderRecipe, tmp_path: Path) -> None:
    job = begun(doubled, tmp_path)
    texts = job.texts
    assert (len(texts.questions), len(texts.blocks)) == (2, 4)
    batch = texts.draw(0)
    assert len(batch.blocks) == 4
    # Every question has its own passage twice, of which one is its target; the two others are its rivals.
    assert batch.excluded.sum(1).tolist() == [1, 1, 1]
    for place, target in enumerate(batch.targets.tolist()):
        [copy] = batch.excluded[place].nonzero()[:, 0].tolist()
        body, copied = (texts.blocks[int(batch.blocks[n])] for n in (target, copy))
        assert body.ids != copied.ids
        assert body.ids[body.body_start : body.body_end] == copied.ids[copied.body_start : copied.body_end]
    loss, figures = job.loss(batch)
    assert torch.isfinite(loss)
    assert 0.0 <= figures["top1"] <= 1.0
    nothing = torch.zeros_like(batch.excluded)
    assert figures["contrastive"] < job.loss(dataclasses.replace(batch, excluded=nothing))[1]["contrastive"]


def test_order_of_a_step_does_not_change_its_loss(recipe: EmbedderRecipe, tmp_path: Path) -> None:
    job = begun(recipe, tmp_path)
    batch = job.texts.draw(0)
    pairs = len(batch.targets)
    order = torch.cat([torch.arange(pairs).flip(0), torch.arange(pairs, len(batch.questions)).flip(0)])
    back = torch.arange(len(batch.blocks)).flip(0)
    other = EmbedderBatch(
        batch.questions[order], batch.blocks[back], len(back) - 1 - batch.targets[order[:pairs]],
        batch.excluded[order[:pairs]][:, back],
    )  # fmt: skip
    with torch.no_grad():
        torch.testing.assert_close(job.loss(other)[0], job.loss(batch)[0])


def test_draw_is_the_same_whenever_it_is_asked_for(recipe: EmbedderRecipe, tmp_path: Path) -> None:
    one, other = EmbedderJob(recipe, tmp_path), EmbedderJob(recipe, tmp_path)
    for step in (4, 0, 7):
        first, second = one.texts.draw(step), other.texts.draw(step)
        for field in dataclasses.fields(first):
            assert torch.equal(getattr(first, field.name), getattr(second, field.name))
    assert one.texts.draw(0).questions.tolist() != one.texts.draw(1).questions.tolist()
    assert one.parents() == other.parents()
    assert one.parents().keys() == {"trunk", *recipe.sources, "documents", "questions"}


def test_further_questions_take_turns(recipe: EmbedderRecipe, tmp_path: Path) -> None:
    texts = EmbedderJob(recipe, tmp_path).texts
    asked = [number for step in range(7) for number in texts.draw(step).questions[12:].tolist()]
    assert len(asked) == 28
    assert len(set(asked[:7])) == 7
    assert asked[:7] * 4 == asked


def test_only_the_added_layer_and_the_projection_change_and_the_loss_falls(
    recipe: EmbedderRecipe, tmp_path: Path
) -> None:
    job = EmbedderJob(recipe, tmp_path)
    before = {name: p.detach().clone() for name, p in job.model.named_parameters()}
    train(job, dataclasses.replace(recipe.loop(), log_every_steps=4), tmp_path)
    changed = {name for name, p in job.model.named_parameters() if not torch.equal(p, before[name])}
    learns = {name for name in before if name.startswith(("realm.encoder.layer.2.", "cls.dense.", "cls.LayerNorm."))}
    assert changed <= learns
    assert "cls.dense.weight" in changed
    assert not any(".self.query." in name or ".self.key." in name for name in changed)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert all(map(math.isfinite, losses))
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("dimensions", [0, HIDDEN + 1])
def test_more_dimensions_than_the_trunk_has_are_refused(
    recipe: EmbedderRecipe, dimensions: int, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=rf"dimensions is {dimensions}; the trunk allows 1 to {HIDDEN}"):
        EmbedderJob(dataclasses.replace(recipe, dimensions=dimensions), tmp_path)


def test_too_few_texts_for_the_dimensions_are_refused(recipe: EmbedderRecipe, tmp_path: Path) -> None:
    write_lines(tmp_path / "few.jsonl", town_examples(2))
    few = dataclasses.replace(recipe, data=str(tmp_path), sources=("few.jsonl",), documents=(), questions=())
    with pytest.raises(RecipeError, match="15 texts are too few for 32 principal components"):
        EmbedderJob(few, tmp_path)
