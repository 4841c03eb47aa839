"""What a run says: its log, TensorBoard's copy of it, and the estimate of what it will take."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toy_job import SETTINGS, ToyJob

from realm.training.job import Figures
from realm.training.log import Averages, Estimate, RunLog, estimate
from realm.training.loop import train
from realm.training.schedule import learning_rate_at

pytest.importorskip("accelerate", reason="training needs the extra `train`")

CPU = torch.device("cpu")


def test_a_step_without_a_figure_does_not_count_for_its_mean() -> None:
    averages = Averages()
    for kept in (0.5, float("nan"), 1.0):
        averages.add_step({"loss": 3.0, "kept": kept, "none": float("nan")}, 1.0)
        restored = Averages()
        restored.restore(averages.state())
        restored._seconds, restored._timed_steps = averages._seconds, averages._timed_steps
        averages = restored
    means = averages.take()
    assert (means["loss"], means["kept"]) == (3.0, 0.75)
    assert "none" not in means


def test_every_line_has_rates_and_what_is_left(tmp_path: Path) -> None:
    class Counting(ToyJob):
        def loss(self, micro_batch: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, Figures]:
            loss, _ = super().loss(micro_batch)
            return loss, {"examples": torch.tensor(len(micro_batch[0]))}

    train(Counting(), SETTINGS, tmp_path)
    for line in map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines()):
        assert line["examples"] == 8
        assert line["examples_per_second"] == pytest.approx(8 / line["seconds_per_step"])
        assert line["seconds_left"] == pytest.approx(line["seconds_per_step"] * (SETTINGS.steps - line["step"]))
        assert line["learning_rate"] == learning_rate_at(SETTINGS, line["step"] - 1)


def test_tensorboard_shows_the_log_also_after_a_kill(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

    class Stopped(BaseException):
        pass

    def stop(step: int) -> None:
        if step == 10:
            raise Stopped

    settings = dataclasses.replace(SETTINGS, tensorboard=True, evaluate_every_steps=4)
    for job in (ToyJob(before_step=stop), ToyJob()):
        try:
            train(job, settings, tmp_path, evaluate=job.measure)
        except Stopped:
            continue
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    for tag, key in (("train/loss", "loss"), ("dev/closeness", "dev_closeness")):
        shown = {event.step: event.value for event in events.Scalars(tag)}
        assert shown == pytest.approx({line["step"]: line[key] for line in lines if key in line})
        assert len(events.Scalars(tag)) == len(shown)


@given(st.integers(0, 9), st.integers(0, 30))
def test_log_is_cut_to_the_steps_that_are_not_lost(
    tmp_path_factory: pytest.TempPathFactory, step: int, cut: int
) -> None:
    run = tmp_path_factory.mktemp("log")
    lines = [json.dumps({"step": number, "loss": 0.5}) + "\n" for number in range(1, 8)]
    (run / "log.jsonl").write_text("".join(lines) + '{"step": 8, "loss": 0.123456789}'[:cut])
    RunLog(run, step, tensorboard=False)
    assert (run / "log.jsonl").read_text() == "".join(lines[:step])


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.floats(-1e3, 1e3)), min_size=1), st.integers(0, 20))
def test_averages_taken_up_again_are_those_of_all_steps(steps: list[dict[str, float]], border: int) -> None:
    whole, first, second = Averages(), Averages(), Averages()
    for figures in steps:
        whole.add_step(figures, 1.0)
    for figures in steps[:border]:
        first.add_step(figures, 1.0)
    second.restore(json.loads(json.dumps(first.state())))
    for figures in steps[border:]:
        second.add_step(figures, 1.0)
    if steps[border:]:
        assert second.take() == whole.take()


def test_estimate_comes_once_from_the_median_without_the_first_step() -> None:
    seconds = [60.0, 2.0, 9.0, 3.0, 5.0, 5.0]
    found = {count: estimate(seconds[:count], 1000 - count, CPU) for count in range(1, 7)}
    assert [count for count, value in found.items() if value is not None] == [4]
    told = found[4]
    assert told is not None
    assert told[:2] == (3.0, 3.0 * 996)
    assert 1e6 < told.peak_bytes < 1e12


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_estimate_of_a_short_run_comes_at_its_end(steps: int, tmp_path: Path) -> None:
    told: list[Estimate] = []
    settings = dataclasses.replace(SETTINGS, steps=steps, warmup_steps=0)
    train(ToyJob(), settings, tmp_path, announce=told.append)
    assert len(told) == 1
    assert told[0].seconds_left == 0


def test_estimate_is_told_once_and_again_after_a_kill(tmp_path: Path) -> None:
    class Stopped(BaseException):
        pass

    def stop(step: int) -> None:
        if step == 6:
            raise Stopped

    told: list[Estimate] = []
    with pytest.raises(Stopped):
        train(ToyJob(before_step=stop), SETTINGS, tmp_path, announce=told.append)
    assert len(told) == 1
    train(ToyJob(), SETTINGS, tmp_path, announce=told.append)
    assert len(told) == 2
    assert told[1].seconds_left == pytest.approx(3 * told[1].seconds_per_step)
