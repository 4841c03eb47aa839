"""Damaged snapshots, a full disk, and folders that go while they are read: what is lost is made anew, or said."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_embedder import change
from tiny_trainer import Trainer, begun, refreshed

from realm.errors import CorruptFileError, TrainingError
from realm.training import corpus_embedding, snapshot_making
from realm.training.embedding_progress import EmbeddingProgress
from realm.training.exports import EXPORTS, exports
from realm.training.refresh_process import RefreshReport, refresh_run
from realm.training.snapshots import snapshot_folders
from realm.training.whole_folders import remove_folder

Make = Callable[..., Trainer]


def without_folder(folder: Path) -> None:
    shutil.rmtree(folder)


def without_manifest(folder: Path) -> None:
    (folder / "vectors" / "vectors.json").unlink()


def without_sizes(folder: Path) -> None:
    (folder / "embedder" / "config.json").unlink()


def with_other_weights(folder: Path) -> None:
    weights = folder / "embedder" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)


DAMAGES = [without_folder, without_manifest, without_sizes, with_other_weights]


@pytest.mark.parametrize("refresh", ["in_step", "other_process"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_snapshot_of_a_checkpoint_is_made_anew_from_its_export(
    trainer: Make, damage: Callable[[Path], None], refresh: str
) -> None:
    work = begun(trainer(refresh=refresh))
    refreshed(work)
    before = work.go(2)
    saved = work.checkpoint()
    after = work.go(1)
    damage(snapshot_folders(work.run)[0])
    again = trainer(refresh=refresh).resume(saved)
    assert again.go(1) == after
    assert after[0] == before[0]
    assert ["is missing or damaged, and is made anew" in said for said in again.said] == [True]
    assert again.refresher.snapshot is not None
    again.refresher.snapshot.verify()


def test_what_is_damaged_is_made_anew_from_its_own_embedder_if_that_is_sound(trainer: Make) -> None:
    work = begun(trainer())
    refreshed(work)
    before = work.go(2)
    saved = work.checkpoint()
    shutil.rmtree(work.run / EXPORTS)
    without_manifest(snapshot_folders(work.run)[0])
    assert trainer().resume(saved).go(1) == before[:1]


@pytest.mark.parametrize("damage", [without_folder, with_other_weights])
def test_a_checkpoint_whose_snapshot_cannot_be_made_anew_says_what_it_needs(
    trainer: Make, damage: Callable[[Path], None]
) -> None:
    work = begun(trainer())
    refreshed(work)
    work.go(2)
    saved = work.checkpoint()
    shutil.rmtree(work.run / EXPORTS)
    damage(snapshot_folders(work.run)[0])
    with pytest.raises(CorruptFileError, match=r"checkpoint goes on with .*step-00000000, .* Put that folder back, or"):
        trainer().resume(saved)


def test_a_checkpoint_without_digests_is_taken_up(trainer: Make) -> None:
    work = begun(trainer())
    refreshed(work)
    before = work.go(2)
    saved = work.checkpoint()
    saved["state"] = {"snapshot": saved["state"]["snapshot"]}
    assert trainer().resume(saved).go(1) == before[:1]


def test_a_refresher_without_room_says_so_and_goes_on_when_there_is(
    trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = begun(trainer())

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(corpus_embedding, "write_array", full)
        with pytest.raises(TrainingError, match=r"No room to write to .*run: No space left on device\. What is"):
            refresh_run(work.run, once=True)

    def cannot_copy(*_: Any, **__: Any) -> None:
        raise shutil.Error([("a", "b", "[Errno 28] No space left on device: 'b'")])

    shutil.rmtree(work.run / "refreshing")
    with monkeypatch.context() as patch:
        patch.setattr(snapshot_making.shutil, "copytree", cannot_copy)
        with pytest.raises(TrainingError, match="No room to write to"):
            refresh_run(work.run, once=True)
    assert refresh_run(work.run, once=True) == 1


@pytest.mark.parametrize("is_replaced", [False, True])
def test_an_export_that_goes_while_it_is_copied_is_no_failure(
    trainer: Make, monkeypatch: pytest.MonkeyPatch, is_replaced: bool
) -> None:
    work = begun(trainer())
    copy, folders = shutil.copytree, []

    def copy_late(source: Path, *arguments: Any, **options: Any) -> None:
        folders.append(source)
        if len(folders) > 1:
            copy(source, *arguments, **options)
        elif is_replaced:
            copy(source, *arguments, **options)
            change(work.embedder, 1)
            work.refresher._export(0)
        else:
            remove_folder(source)
            work.refresher._export(3)
            raise shutil.Error([(str(source), "b", "[Errno 2] No such file or directory")])

    monkeypatch.setattr(snapshot_making.shutil, "copytree", copy_late)
    assert refresh_run(work.run, once=True) == 1
    assert len(folders) == 2
    newest = exports(work.run)[-1]
    said = json.loads((snapshot_folders(work.run)[newest.step] / "snapshot.json").read_text())
    assert said["embedder"] == newest.embedder


def test_what_was_begun_and_is_cleared_away_is_begun_again(trainer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realm.training.embedding_progress._REPORT_SECONDS", 0.0)
    work = begun(trainer())
    seen: list[int] = []

    def clear(step: int, progress: EmbeddingProgress) -> None:
        if not seen:
            remove_folder(work.run / "refreshing" / "step-00000000")
        seen.append(step)

    assert refresh_run(work.run, once=True, report=RefreshReport(embedding=clear)) == 1
    assert list(snapshot_folders(work.run)) == [0]
