"""Interrupted runs: wherever one stops, it goes on as if it had not."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from toy_job import SETTINGS, IndexedJob, ToyJob, ToyModel

from realm.errors import RecipeError, UsageError
from realm.training import checkpoint
from realm.training.loop import train
from realm.training.recipe import LoopSettings

pytest.importorskip("accelerate", reason="training needs the extra `train`")


class Stopped(BaseException):
    """What a kill is in these tests: nothing handles it."""


def result(run: Path) -> tuple[bytes, list[dict[str, Any]]]:
    """Weights and optimiser state of the last checkpoint, bit by bit, and the log without times."""
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    for line in log:
        for key in ("seconds_per_step", "seconds_left"):
            line.pop(key, None)
    return (run / "checkpoint" / "state.safetensors").read_bytes(), log


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[dict[str, Any]]]:
    """Result of a run that was never interrupted."""
    run = tmp_path_factory.mktemp("whole")
    train(ToyJob(), SETTINGS, run)
    return result(run)


def stop_at(step_to_stop: int) -> Callable[[int], None]:
    def check(step: int) -> None:
        if step == step_to_stop:
            raise Stopped

    return check


def test_checkpoint_holds_weights_and_both_moments(whole: tuple[bytes, list[dict[str, Any]]], tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(whole[0])
    trained = [name for name, p in ToyModel().named_parameters() if p.requires_grad]
    kinds = ("weight", "exp_avg", "exp_avg_sq", "step")
    assert load_file(tmp_path / "state").keys() == {f"{kind}.{name}" for kind in kinds for name in trained}
    assert [line["step"] for line in whole[1]] == [3, 6, 9, 11]


@pytest.mark.parametrize("step", range(SETTINGS.steps))
def test_run_stopped_at_any_step_resumes_to_the_same_bits_and_log(
    step: int, whole: tuple[bytes, list[dict[str, Any]]], tmp_path: Path
) -> None:
    with pytest.raises(Stopped):
        train(ToyJob(before_step=stop_at(step)), SETTINGS, tmp_path)
    steps_again: list[int] = []
    train(ToyJob(before_step=steps_again.append), SETTINGS, tmp_path)
    assert steps_again == list(range(step // 4 * 4, SETTINGS.steps))
    assert result(tmp_path) == whole


def test_run_stopped_before_every_step_gets_through(whole: tuple[bytes, list[dict[str, Any]]], tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, save_every_steps=1)
    for step in range(SETTINGS.steps):
        with pytest.raises(Stopped):
            train(ToyJob(before_step=stop_at(step)), settings, tmp_path)
    train(ToyJob(), settings, tmp_path)
    assert result(tmp_path) == whole


class Watch:
    """Counts what a checkpoint does to the disk, and stops the process before the n-th deed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stop_before: int | None) -> None:
        self.deeds: list[str] = []
        self._stop_before = stop_before
        for owner, name in (
            (checkpoint, "save_file"),
            (checkpoint, "write_json_atomically"),
            (checkpoint.shutil, "rmtree"),
            (checkpoint.os, "replace"),
        ):
            monkeypatch.setattr(owner, name, self._watched(name, getattr(owner, name)))

    def _watched(self, name: str, deed: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **options: Any) -> Any:
            if len(self.deeds) == self._stop_before:
                raise Stopped
            self.deeds.append(name)
            return deed(*arguments, **options)

        return watched


def test_run_stopped_at_any_moment_of_a_checkpoint_loses_at_most_one_interval(tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, steps=3, warmup_steps=2, save_every_steps=1, log_every_steps=2)
    with pytest.MonkeyPatch.context() as patch:
        watch = Watch(patch, None)
        train(ToyJob(), settings, tmp_path / "whole")
    assert watch.deeds.count("save_file") == 3
    for moment in range(len(watch.deeds)):
        run = tmp_path / str(moment)
        assert is_stopped(moment, settings, run)
        had = resumed_from(run)
        assert had >= watch.deeds[:moment].count("save_file") - 1
        # A second stop, in the next checkpoint, must not lose the only one there is.
        is_stopped(5, settings, run)
        assert resumed_from(run) >= had
        train(ToyJob(), settings, run)
        assert result(run) == result(tmp_path / "whole")
        assert sorted(p.name for p in run.iterdir()) == ["checkpoint", "finished.json", "log.jsonl", "model"]


def is_stopped(moment: int, settings: LoopSettings, run: Path) -> bool:
    """Train until just before a deed of a checkpoint, or to the end; whether it was stopped."""
    with pytest.MonkeyPatch.context() as patch:
        Watch(patch, moment)
        try:
            train(ToyJob(), settings, run)
        except Stopped:
            return True
    return False


def resumed_from(run: Path) -> int:
    """First step that a run in this folder would do."""
    checkpoint.recover_folder(run / "checkpoint")
    job = ToyJob()
    parameters = {name: p for name, p in job.model.named_parameters() if p.requires_grad}
    return checkpoint.restore_checkpoint(run, parameters, torch.optim.AdamW(parameters.values()))[0]


def test_state_left_under_the_old_name_gets_its_name_back(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        train(ToyJob(before_step=stop_at(5)), SETTINGS, tmp_path)
    os.replace(tmp_path / "checkpoint", tmp_path / ".checkpoint.old")
    assert resumed_from(tmp_path) == 4
    assert (tmp_path / "checkpoint").exists()
    assert not (tmp_path / ".checkpoint.old").exists()


def test_log_line_cut_short_by_a_kill_is_dropped(whole: tuple[bytes, list[dict[str, Any]]], tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        train(ToyJob(before_step=stop_at(7)), SETTINGS, tmp_path)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 9, "lo')
    train(ToyJob(), SETTINGS, tmp_path)
    assert result(tmp_path) == whole


def test_finished_run_is_not_trained_again(whole: tuple[bytes, list[dict[str, Any]]], tmp_path: Path) -> None:
    train(ToyJob(), SETTINGS, tmp_path)
    steps_again: list[int] = []
    train(ToyJob(before_step=steps_again.append), SETTINGS, tmp_path)
    assert steps_again == []
    assert result(tmp_path) == whole


@pytest.mark.parametrize("other", ["wider", "other_names"])
def test_checkpoint_of_another_model_is_refused_and_left_alone(tmp_path: Path, other: str) -> None:
    train(ToyJob(), SETTINGS, tmp_path)
    before = result(tmp_path)
    model = ToyModel(width=6)
    if other == "other_names":
        model = ToyModel()
        model.frozen.requires_grad_(True)
    with pytest.raises(RecipeError, match=r"is of another model: \d unknown and \d missing weights\. Use a new run"):
        train(ToyJob(model=model), SETTINGS, tmp_path)
    assert result(tmp_path) == before


NO_ROOM = {
    "the_system_says": OSError(errno.ENOSPC, "No space left on device"),
    "copying_says": shutil.Error([("a", "b", "[Errno 28] No space left on device: 'b'")]),
    "the_library_says": SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
}


@pytest.mark.parametrize("error", NO_ROOM.values(), ids=NO_ROOM)
@pytest.mark.parametrize("which", ["save_file", "write_json_atomically"])
def test_full_disk_leaves_the_last_checkpoint_and_gives_its_room_back(
    error: Exception, which: str, whole: tuple[bytes, list[dict[str, Any]]], tmp_path: Path
) -> None:
    write = getattr(checkpoint, which)
    calls: list[int] = []

    def full(*arguments: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            (tmp_path / ".checkpoint.new" / "half").write_bytes(b"half a file")
            raise error
        write(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, which, full)
        with pytest.raises(UsageError, match=r"No room to write .* No space left on device\. The checkpoint of step 4"):
            train(ToyJob(), SETTINGS, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "log.jsonl"]
    assert resumed_from(tmp_path) == 4
    train(ToyJob(), SETTINGS, tmp_path)
    assert result(tmp_path) == whole


def test_other_errors_of_the_system_are_no_mistake_of_the_caller(tmp_path: Path) -> None:
    def broken(step: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(OSError, match="Input/output error") as caught:
        train(ToyJob(before_step=broken), SETTINGS, tmp_path)
    assert not isinstance(caught.value, UsageError)


@pytest.mark.parametrize("file", ["state.json", "state.safetensors"])
def test_damaged_checkpoint_is_named(file: str, tmp_path: Path) -> None:
    train(ToyJob(), SETTINGS, tmp_path)
    path = tmp_path / "checkpoint" / file
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(RecipeError, match=r"checkpoint is damaged \(.*\)\. Delete it to begin this run anew"):
        train(ToyJob(), SETTINGS, tmp_path)


def test_checkpoint_remembers_recipe_parents_and_state_of_the_job(tmp_path: Path) -> None:
    job = IndexedJob()
    train(job, SETTINGS, tmp_path)
    state = json.loads((tmp_path / "checkpoint" / "state.json").read_text())
    assert state["step"] == SETTINGS.steps
    assert state["recipe"] == dataclasses.asdict(SETTINGS)
    assert state["job"] == {"version": job.version}
    assert len(state["recipe_sha256"]) == 64


def test_nothing_in_a_checkpoint_is_a_pickle(tmp_path: Path) -> None:
    train(ToyJob(), SETTINGS, tmp_path)
    assert sorted(path.name for path in (tmp_path / "checkpoint").iterdir()) == ["state.json", "state.safetensors"]
    json.loads((tmp_path / "checkpoint" / "state.json").read_text())
    load_file(tmp_path / "checkpoint" / "state.safetensors")
