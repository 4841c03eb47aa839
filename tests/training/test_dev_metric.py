"""The dev metric: when it is measured, which weights are kept, when a run stops, and all that after a kill."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from toy_job import SETTINGS, ToyJob

from realm.training.loop import train

pytest.importorskip("accelerate", reason="training needs the extra `train`")

MEASURED = dataclasses.replace(SETTINGS, steps=12, evaluate_every_steps=2, save_every_steps=1)


class Judge:
    """Gives one value after another, the steps of which are known, and remembers the weights it saw."""

    def __init__(self, job: ToyJob, values: Mapping[int, float]) -> None:
        self._job, self._values = job, values
        self.step = 0
        self.weights: dict[int, torch.Tensor] = {}
        self.modes: list[bool] = []

    def __call__(self) -> dict[str, float]:
        self.modes.append(self._job.model.training or torch.is_grad_enabled())
        self.weights[self.step] = self._job.model.get_parameter("dense.weight").detach().clone()
        return {"em": self._values[self.step], "f1": 0.5}


def judged(run: Path, values: Mapping[int, float], patience: int = 0) -> Judge:
    """Train with a dev metric that has these values after these steps."""
    job = ToyJob(before_step=lambda step: setattr(judge, "step", step + 1))
    judge = Judge(job, values)
    train(job, dataclasses.replace(MEASURED, patience=patience), run, evaluate=judge)
    return judge


def dev_lines(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if "dev_em" in line]


def kept(run: Path, folder: str) -> torch.Tensor:
    weights: dict[str, torch.Tensor] = torch.load(run / folder / "weights", weights_only=True)
    return weights["dense.weight"]


RISE_AND_FALL = {0: 0.1, 2: 0.3, 4: 0.2, 6: 0.6, 8: 0.6, 10: 0.5, 12: 0.4}


def test_measured_at_the_start_at_every_interval_and_at_the_end(tmp_path: Path) -> None:
    judged(tmp_path, RISE_AND_FALL)
    found = dev_lines(tmp_path)
    assert {int(line["step"]): line["dev_em"] for line in found} == RISE_AND_FALL
    assert [line["dev_best_step"] for line in found] == [0, 2, 2, 6, 6, 6, 6]
    assert all(line["dev_f1"] == 0.5 for line in found)


def test_job_is_told_before_each_measurement(tmp_path: Path) -> None:
    told: list[int] = []

    class Told(ToyJob):
        def begin_evaluation(self, step: int) -> None:
            told.append(step)

    def measured() -> dict[str, float]:
        seen.append(told[-1])
        return {"em": 0.0}

    seen: list[int] = []
    train(Told(), MEASURED, tmp_path, evaluate=measured)
    assert seen == told == [0, 2, 4, 6, 8, 10, 12]


def test_result_is_the_model_that_was_best_first(tmp_path: Path) -> None:
    judge = judged(tmp_path, RISE_AND_FALL)
    for folder in ("best", "model"):
        assert torch.equal(kept(tmp_path, folder), judge.weights[6])
    assert not torch.equal(judge.weights[6], judge.weights[8])


@pytest.mark.parametrize(
    ("patience", "last_step"),
    [(0, 12), (1, 4), (2, 10), (3, 12), (9, 12)],
)
def test_run_stops_when_patience_is_at_its_end(tmp_path: Path, patience: int, last_step: int) -> None:
    judged(tmp_path, RISE_AND_FALL, patience)
    assert dev_lines(tmp_path)[-1]["step"] == last_step
    assert json.loads((tmp_path / "finished.json").read_text()) == {"step": last_step, "of_steps": 12}
    assert json.loads((tmp_path / "checkpoint" / "state.json").read_text())["step"] == last_step


def test_stopped_run_stays_stopped_until_it_is_given_more_patience(tmp_path: Path) -> None:
    judged(tmp_path, RISE_AND_FALL, 2)
    assert judged(tmp_path, RISE_AND_FALL, 2).weights == {}
    again = judged(tmp_path, RISE_AND_FALL, 3)
    assert list(again.weights) == [12]
    assert {int(line["step"]): line["dev_em"] for line in dev_lines(tmp_path)} == RISE_AND_FALL


def test_patience_and_best_weights_survive_a_stop_at_any_step(tmp_path: Path) -> None:
    class Stopped(BaseException):
        pass

    expected = judged(tmp_path / "whole", RISE_AND_FALL, 2)
    for stop in range(1, 10):
        run = tmp_path / str(stop)

        judges: list[Judge] = []

        def step_or_stop(step: int, stop: int = stop, judges: list[Judge] = judges) -> None:
            judges[0].step = step + 1
            if step == stop:
                raise Stopped

        job = ToyJob(before_step=step_or_stop)
        judges.append(judge := Judge(job, RISE_AND_FALL))
        with pytest.raises(Stopped):
            train(job, dataclasses.replace(MEASURED, patience=2), run, evaluate=judge)
        judged(run, RISE_AND_FALL, 2)
        assert dev_lines(run) == dev_lines(tmp_path / "whole")
        assert torch.equal(kept(run, "model"), expected.weights[6])


def test_measuring_sees_a_model_in_evaluation_mode_and_changes_no_step(tmp_path: Path) -> None:
    judge = judged(tmp_path / "measured", RISE_AND_FALL)
    assert judge.modes == [False] * 7
    train(ToyJob(), MEASURED, tmp_path / "unmeasured")
    measured, unmeasured = (
        (tmp_path / run / "checkpoint" / "state.safetensors").read_bytes() for run in ("measured", "unmeasured")
    )
    assert measured == unmeasured


def test_value_that_is_no_number_is_never_the_best(tmp_path: Path) -> None:
    judged(tmp_path, {**RISE_AND_FALL, 6: float("nan"), 8: 0.25})
    assert dev_lines(tmp_path)[-1]["dev_best_step"] == 10


def test_without_an_interval_nothing_is_measured(tmp_path: Path) -> None:
    job = ToyJob()
    train(job, SETTINGS, tmp_path, evaluate=job.measure)
    assert dev_lines(tmp_path) == []
    assert not (tmp_path / "best").exists()
