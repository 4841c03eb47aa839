"""Numbers that are no numbers stop a run, which says where they come from and keeps what was good."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from toy_job import SETTINGS, ToyJob

from realm.errors import UsageError
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


class SilentJob(ToyJob):
    """A job whose gradients are right while the loss that it reports is not."""

    def gradients(self, step: int, backward: object) -> dict[str, float]:  # type: ignore[override]
        figures = super().gradients(step, backward)  # type: ignore[arg-type]
        return {**figures, "loss": float("nan") if step == 2 else figures["loss"]}


def test_reported_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^Step 3, the sum of its micro-batches"):
        train(SilentJob(), dataclasses.replace(SETTINGS, save_every_steps=1), tmp_path)
