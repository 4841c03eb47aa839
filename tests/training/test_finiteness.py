"""Numbers that are no numbers stop a run, which says where they come from and keeps what was good."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from finetune_towns import town_recipe, write_towns
from memory_blocks import ict_recipe, memory_blocks
from torch import Tensor
from toy_job import SETTINGS, ToyJob

from realm.errors import UsageError
from realm.training.finetune import FinetuneJob
from realm.training.finetune_inputs import Part
from realm.training.ict import IctJob
from realm.training.ict_data import ClozeBatch
from realm.training.job import Figures
from realm.training.loop import train

pytest.importorskip("accelerate", reason="training needs the extra `train`")


class BadJob(ToyJob):
    """One part of one step is not finite: its loss, or only its gradient."""

    def __init__(self, step: int, part: int, kind: str) -> None:
        super().__init__(parts=4)
        self._bad = (step, part)
        self._kind = kind

    def micro_batches(self, step: int) -> list[tuple[tuple[int, int], tuple[Tensor, Tensor]]]:  # type: ignore[override]
        return [((step, part), batch) for part, batch in enumerate(super().micro_batches(step))]

    def loss(self, micro_batch: tuple[tuple[int, int], tuple[Tensor, Tensor]]) -> tuple[Tensor, Figures]:  # type: ignore[override]
        place, batch = micro_batch
        loss, figures = super().loss(batch)
        if place == self._bad:
            if self._kind == "gradient":
                # The root has an infinite slope at 0, and 0 there.
                loss = loss + (self.model.get_parameter("out.bias") * 0).sqrt().sum()
            else:
                loss = loss * float(self._kind)
        return loss, figures


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        ("nan", "the loss is nan"),
        ("inf", "the loss is inf"),
        ("gradient", r"the gradient of out\.bias is not finite"),
    ],
)
@pytest.mark.parametrize("part", [0, 2])
def test_step_and_micro_batch_are_named_and_the_last_checkpoint_is_kept(
    tmp_path: Path, kind: str, complaint: str, part: int
) -> None:
    with pytest.raises(UsageError, match=rf"^Step 7, micro-batch {part + 1} of 4: {complaint}\. The checkpoint of"):
        train(BadJob(6, part, kind), SETTINGS, tmp_path)
    assert json.loads((tmp_path / "checkpoint" / "state.json").read_text())["step"] == 4
    assert not (tmp_path / "model").exists()


def test_mended_run_goes_on_from_the_last_good_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        train(BadJob(6, 0, "nan"), SETTINGS, tmp_path / "bad")
    for run in ("bad", "good"):
        train(ToyJob(parts=4), SETTINGS, tmp_path / run)
    bad, good = ((tmp_path / run / "checkpoint" / "state.safetensors").read_bytes() for run in ("bad", "good"))
    assert bad == good


def test_run_that_fails_in_its_first_steps_says_that_nothing_is_kept(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^Step 1, .* There is no checkpoint yet"):
        train(BadJob(0, 0, "nan"), SETTINGS, tmp_path)


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    def break_weights(step: int) -> None:
        if step == 7:  # after the checkpoint of step 4; the step's own loss does not see this weight
            with torch.no_grad():
                job.model.get_parameter("spare")[0] = torch.inf

    job = ToyJob(before_step=break_weights)
    job.model.register_parameter("spare", torch.nn.Parameter(torch.zeros(2)))
    with pytest.raises(UsageError, match=r"After step 8 spare is not finite\. The checkpoint of step 4 is kept"):
        train(job, SETTINGS, tmp_path)
    assert json.loads((tmp_path / "checkpoint" / "state.json").read_text())["step"] == 4


@pytest.mark.parametrize("pieces_at_once", [200, 10_000])
def test_ict_names_side_and_chunk_of_a_vector_that_is_not_finite(
    trunk: Path, tmp_path: Path, pieces_at_once: int
) -> None:
    recipe = ict_recipe(trunk, pieces_at_once=pieces_at_once, dropout=0.1)
    job = IctJob(recipe, memory_blocks(trunk))
    (batch,) = job.micro_batches(1)
    chunks = job._chunks(batch.blocks)
    bad, embed = chunks[-1].inputs[0], job._embed
    job._embed = lambda rows: embed(rows) * (torch.nan if bad in rows else 1.0)  # type: ignore[method-assign]
    said = f"^Step 2, chunk {len(chunks)} of {len(chunks)} of the blocks: a vector is not finite"
    with pytest.raises(UsageError, match=said):
        train(job, recipe.loop(), tmp_path)


def test_ict_says_that_the_loss_of_the_whole_batch_is_not_finite(trunk: Path, tmp_path: Path) -> None:
    recipe = ict_recipe(trunk, pieces_at_once=200)
    job = IctJob(recipe, memory_blocks(trunk))
    scored = job._scored

    def broken(batch: ClozeBatch) -> Callable[[Tensor, Tensor], tuple[Tensor, dict[str, float]]]:
        def loss(questions: Tensor, blocks: Tensor) -> tuple[Tensor, dict[str, float]]:
            value, figures = scored(batch)(questions, blocks)
            return value * torch.nan, figures

        return loss

    job._scored = broken  # type: ignore[method-assign]
    with pytest.raises(UsageError, match=r"^Step 1, the loss of the whole batch is nan"):
        train(job, recipe.loop(), tmp_path)


@pytest.mark.parametrize(
    ("kind", "said"), [("vector", "a vector is not finite"), ("gradient", "the gradient of a vector is not finite")]
)
def test_finetune_names_its_question_tower(trunk: Path, tmp_path: Path, kind: str, said: str) -> None:
    class Bad(FinetuneJob):
        def loss(self, micro_batch: Part) -> tuple[Tensor, Figures]:
            loss, figures = super().loss(micro_batch)
            if kind == "gradient":
                loss = loss + (self._leaf * 0).sqrt().sum()
            return loss, figures

    recipe = town_recipe(write_towns(trunk, tmp_path), steps=2)
    job = Bad(recipe, tmp_path / "run")
    if kind == "vector":
        embed = job._embed
        job._embed = lambda asked: embed(asked) * torch.nan  # type: ignore[method-assign]
    with pytest.raises(UsageError, match=f"^Step 1, the question tower: {said}"):
        train(job, recipe.loop(), tmp_path / "run")


class SilentJob(ToyJob):
    """A job whose gradients are right while the loss that it reports is not."""

    def gradients(self, step: int, backward: object) -> dict[str, float]:  # type: ignore[override]
        figures = super().gradients(step, backward)  # type: ignore[arg-type]
        return {**figures, "loss": float("nan") if step == 2 else figures["loss"]}


def test_reported_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^Step 3, the sum of its micro-batches"):
        train(SilentJob(), dataclasses.replace(SETTINGS, save_every_steps=1), tmp_path)
