"""The job `ict`: its loss and figures by hand, cached and direct, by one process and two, and what it leaves behind."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from memory_blocks import MemoryBlocks, ict_recipe, memory_blocks
from torch import Tensor

from realm.errors import ModelError, RecipeError
from realm.features.inputs import Row
from realm.models.embedder import RealmEmbedder
from realm.text.tokenization import RealmTokenizer
from realm.training.ict import IctJob
from realm.training.loop import train


@pytest.fixture(scope="module")
def source(trunk: Path) -> MemoryBlocks:
    return memory_blocks(trunk)


def job_of(folder: Path, source: MemoryBlocks, **changes: Any) -> IctJob:
    return IctJob(ict_recipe(folder, **changes), source)


def vector(embedder: RealmEmbedder, row: Row) -> list[float]:
    """Vector of one text by itself."""
    with torch.no_grad():
        found = embedder(torch.tensor([row.ids]), token_type_ids=torch.tensor([row.segments]), return_dict=True)
    return found.projected_score[0].tolist()


def table(embedder: RealmEmbedder, questions: list[Row], blocks: list[Row]) -> list[list[float]]:
    """Score of every question with every block."""
    right = [vector(embedder, row) for row in blocks]
    return [[sum(map(float.__mul__, vector(embedder, q), b)) for b in right] for q in questions]


def gradients_of_step(job: IctJob, step: int) -> tuple[Mapping[str, float], dict[str, Tensor]]:
    job.model.zero_grad()
    figures = job.gradients(step, lambda loss: loss.backward())
    return figures, {name: p.grad.clone() for name, p in job.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_loss_and_figures_of_a_step_are_their_equations(trunk: Path, source: MemoryBlocks, scale: float) -> None:
    job = job_of(trunk, source, score_scale=scale)
    (batch,) = job.micro_batches(1)
    scores = table(job.embedder, batch.questions, batch.blocks)
    losses, hits = [], []
    for n, row in enumerate(scores):
        losses.append(math.log(sum(math.exp(scale * (score - row[n])) for score in row)))
        hits.append(row[n] == max(row))
    figures, _ = gradients_of_step(job, 1)
    assert figures["loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-4)
    assert figures["accuracy"] == pytest.approx(sum(hits) / len(hits))
    for name, wanted in (("removed", True), ("kept", False)):
        chosen = [hit for hit, removed in zip(hits, batch.removed, strict=True) if removed == wanted]
        wanted_mean = sum(chosen) / len(chosen) if chosen else math.nan
        assert figures[f"accuracy_{name}"] == pytest.approx(wanted_mean, nan_ok=True)
    assert figures["removed_share"] == pytest.approx(sum(batch.removed) / len(batch.removed))
    assert figures["examples"] == len(batch.questions) == 12 - figures["skipped_only_sentence"]
    assert 0.0 <= figures["padding_share"] < 0.2


def test_gradients_are_the_same_in_many_chunks_as_at_once(trunk: Path, source: MemoryBlocks) -> None:
    whole, whole_gradients = gradients_of_step(job_of(trunk, source, pieces_at_once=10_000), 0)
    parts, parts_gradients = gradients_of_step(job_of(trunk, source, pieces_at_once=200), 0)
    for key in whole.keys() - {"padding_share"}:
        assert parts[key] == pytest.approx(whole[key], rel=1e-4, nan_ok=True)
    assert whole_gradients.keys() == parts_gradients.keys()
    for name, gradient in whole_gradients.items():
        torch.testing.assert_close(parts_gradients[name], gradient, atol=2e-5, rtol=1e-3)


def test_vectors_have_dropout_in_training_only(trunk: Path, source: MemoryBlocks) -> None:
    job = job_of(trunk, source, dropout=0.5)
    (batch,) = job.micro_batches(0)
    job.model.train()
    with torch.no_grad():
        dropped = job._embed(batch.blocks)
        job.model.eval()
        kept = job._embed(batch.blocks)
    assert (dropped == 0).float().mean().item() == pytest.approx(0.5, abs=0.15)
    assert (kept == 0).sum() == 0


def test_block_that_stands_in_the_batch_twice_is_no_negative_for_itself(trunk: Path, source: MemoryBlocks) -> None:
    # 24 blocks, 16 a step: the second step begins a new epoch in its middle.
    job = job_of(trunk, source, batch_blocks=16)
    batch = next(b for step in range(1, 30, 3) for b in job.micro_batches(step) if len(set(b.numbers)) < len(b.numbers))
    scores = table(job.embedder, batch.questions, batch.blocks)
    losses = []
    for n, row in enumerate(scores):
        rivals = [s for m, s in enumerate(row) if m == n or batch.numbers[m] != batch.numbers[n]]
        losses.append(math.log(sum(math.exp(score - row[n]) for score in rivals)))
    assert job.loss(batch)[0].item() == pytest.approx(sum(losses) / len(losses), rel=1e-4)


def test_held_out_figures_are_ranks_among_all_held_out_blocks(trunk: Path, source: MemoryBlocks) -> None:
    job = job_of(trunk, source, held_out_blocks=18)
    batch = job._batches.held_out()
    scores = table(job.embedder, batch.questions, batch.blocks)
    ranks = [sum(score > row[n] for score in row) for n, row in enumerate(scores)]
    loss = sum(math.log(sum(math.exp(s - row[n]) for s in row)) for n, row in enumerate(scores)) / len(scores)
    figures = job.held_out_figures()
    assert next(iter(figures)) == "held_out_accuracy"
    assert figures["held_out_accuracy"] == pytest.approx(sum(rank < 1 for rank in ranks) / len(ranks))
    assert figures["held_out_recall_5"] == pytest.approx(sum(rank < 5 for rank in ranks) / len(ranks))
    assert figures["held_out_loss"] == pytest.approx(loss, rel=1e-4)


def test_embedder_that_gives_every_text_the_same_vector_finds_nothing(trunk: Path, source: MemoryBlocks) -> None:
    job = job_of(trunk, source, held_out_blocks=18)
    with torch.no_grad():
        job.embedder.cls.LayerNorm.weight.zero_()
        job.embedder.cls.LayerNorm.bias.fill_(1.0)
    figures = job.held_out_figures()
    assert figures["held_out_accuracy"] == figures["held_out_recall_5"] == 0.0


def test_held_out_blocks_without_two_sentences_are_refused(trunk: Path, source: MemoryBlocks) -> None:
    with pytest.raises(RecipeError, match="held_out_blocks is 1, and none of them has two sentences"):
        job_of(trunk, source, held_out_blocks=1).held_out_figures()


def test_training_lowers_the_loss_and_leaves_a_folder_that_opens_by_itself(
    trunk: Path, source: MemoryBlocks, tmp_path: Path
) -> None:
    recipe = ict_recipe(trunk, steps=20, log_every_steps=5, evaluate_every_steps=20, learning_rate=3e-3)
    job = IctJob(recipe, source)
    train(job, recipe.loop(), tmp_path, evaluate=job.held_out_figures)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < losses[0] - 0.1
    assert [line for line in lines if "dev_held_out_accuracy" in line]
    folder = tmp_path / "model"
    embedder = RealmEmbedder.from_pretrained(folder).eval()
    tokenizer = RealmTokenizer.from_pretrained(folder)
    text = source.blocks[0].text
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == source.blocks[0].body_ids
    # And a next run starts where this one ended.
    again = job_of(trunk, source, trunk="", embedder=str(tmp_path))
    (batch,) = job.micro_batches(0)
    for row in batch.questions[:3]:
        assert vector(again.embedder, row) == pytest.approx(vector(embedder, row), abs=1e-5)


def test_mean_pooling_starts_as_the_mean_of_the_trunks_last_states(trunk: Path, source: MemoryBlocks) -> None:
    from transformers import BertModel

    job = job_of(trunk, source, pooling="mean", batch_blocks=24)
    (batch,) = job.micro_batches(0)
    bert = BertModel.from_pretrained(trunk).eval()
    means = []
    for row in batch.blocks:
        with torch.no_grad():
            states = bert(torch.tensor([row.ids]), token_type_ids=torch.tensor([row.segments])).last_hidden_state
        means.append(torch.nn.functional.normalize(states[0].mean(0), dim=0))
    ours = torch.tensor([vector(job.embedder, row) for row in batch.blocks])
    assert (ours * ours).sum(-1).tolist() == pytest.approx([20.0] * len(ours), rel=1e-2)
    pairs = torch.triu_indices(len(ours), len(ours), offset=1)
    scores, cosines = ((x @ x.T)[pairs[0], pairs[1]] for x in (ours, torch.stack(means)))
    assert torch.corrcoef(torch.stack([scores, cosines]))[0, 1] > 0.8


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_frozen_layers_and_unused_head_are_not_trained(trunk: Path, source: MemoryBlocks, pooling: str) -> None:
    job = job_of(trunk, source, first_trained_layer=1, pooling=pooling)
    trained = {name for name, p in job.model.named_parameters() if p.requires_grad}
    assert not [name for name in trained if "embeddings" in name or ".layer.0." in name or "predictions" in name]
    assert "cls.dense.weight" in trained
    assert any(".layer.1." in name for name in trained)
    assert (not any("pooler" in name for name in trained)) == (pooling == "mean")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"trunk": ""}, "Give either trunk .* or embedder .*; found neither"),
        ({"embedder": "x"}, "found both"),
        ({"pooling": "max"}, "pooling must be one of cls, mean; found 'max'"),
        ({"first_trained_layer": 3}, "first_trained_layer is 3; the network has 2 layers"),
        ({"pooling": "mean", "dimensions": 33}, "dimensions is 33; the trunk allows 1 to 32"),
        ({"keep_sentence_share": 1.5}, "keep_sentence_share must be between 0 and 1; found 1.5"),
    ],
)
def test_impossible_recipes_are_refused(trunk: Path, source: MemoryBlocks, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        job_of(trunk, source, **changes)


def test_start_without_weights_or_tokenizer_is_refused(trunk: Path, source: MemoryBlocks, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No trained model in"):
        job_of(trunk, source, trunk="", embedder=str(tmp_path))
    job_of(trunk, source).embedder.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"No tokenizer.json in .*: copy the one there"):
        job_of(trunk, source, trunk="", embedder=str(tmp_path))
