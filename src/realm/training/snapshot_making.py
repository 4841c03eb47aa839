"""How a snapshot is made: an export is copied, all blocks are embedded with it, and both are published by one rename.

    run/refreshing/step-00000500/   in the making: a copy of the export, and shards; survives a kill

Knows neither who trains nor which export is the one to embed. Read `make_snapshot` first.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from realm.artifacts import write_json_atomically
from realm.features.inputs import InputBuilder
from realm.training.block_source import BlockSource
from realm.training.corpus_embedding import embed_corpus
from realm.training.distributed import Processes
from realm.training.embedding_progress import EmbeddingProgress
from realm.training.exports import EXPORTS, Export
from realm.training.snapshots import EMBEDDER, SNAPSHOT_FILE, SNAPSHOTS, VECTORS
from realm.training.whole_folders import (
    fresh_folder,
    publish_folder,
    remove_folder,
    step_folders,
    step_name,
    sweep_temporaries,
)

REFRESHING = "refreshing"


def make_snapshot(
    run: Path,
    export: Export,
    blocks: BlockSource,
    builder: InputBuilder,
    device: torch.device,
    *,
    max_pieces: int,
    processes: Processes = Processes(),  # noqa: B008 - frozen
    progress: Callable[[EmbeddingProgress], None] | None = None,
    before_publishing: Callable[[], None] = lambda: None,
) -> Path:
    """Embed all blocks with an exported embedder and publish both; goes on where a killed process stopped.

    Args:
        run: The run folder.
        export: The embedder.
        blocks: The corpus.
        builder: Of the model's tokenizer.
        device: Where to embed.
        max_pieces: Longest input.
        processes: Those that share the work; every one of them calls this.
        progress: See `embed_corpus`.
        before_publishing: Called by the first process; an error it raises leaves everything for later.

    Returns:
        Folder of the snapshot.

    Raises:
        FileNotFoundError: The trainer has deleted the export, or what was begun.
        ModelError: The embedder cannot be read, or makes vectors that are not finite.
        UsageError: Another process has stopped.
    """
    if processes.is_first:
        started_export(run, export)
    processes.barrier()
    making = run / REFRESHING / step_name(export.step)
    started = started_export(run, export)
    embed_corpus(
        blocks, started.open(device), builder, making / VECTORS, embedder_digest=export.embedder,
        max_pieces=max_pieces, processes=processes, progress=progress,
    )  # fmt: skip
    # Order: all have seen the vectors before they are renamed.
    processes.barrier()
    place = run / SNAPSHOTS / step_name(export.step)
    if processes.is_first:
        before_publishing()
        write_json_atomically(making / SNAPSHOT_FILE, {"step": export.step, "embedder": export.embedder})
        publish_folder(making, place)
        # Whatever else was begun is older, or of steps that a resumed training has yet to do again.
        for left in step_folders(run / REFRESHING).values():
            remove_folder(left)
        sweep_temporaries(run / REFRESHING)
    processes.barrier()
    return place


def started_export(run: Path, export: Export) -> Export:
    """A copy of an export to embed with, which stays when the trainer deletes the export.

    Raises:
        FileNotFoundError: The trainer has deleted it already, or put another one in its place.
    """
    there = begun_export(run, export.step)
    if there is None or there.embedder != export.embedder:
        folder = run / REFRESHING / step_name(export.step) / EMBEDDER
        sweep_temporaries(folder.parent)
        with fresh_folder(folder) as fresh:
            _copy(export, fresh)
        there = begun_export(run, export.step)
    if there is None:
        raise FileNotFoundError(f"{export.folder} is gone")
    return there


def begun_export(run: Path, step: int) -> Export | None:
    """The copy of the export of a step that somebody has begun to embed."""
    return Export.read(run / REFRESHING / step_name(step) / EMBEDDER)


def begun_exports(run: Path) -> list[Export]:
    """All that somebody has begun to embed and has not published, the newest last."""
    found = (begun_export(run, step) for step in step_folders(run / REFRESHING))
    return [export for export in found if export is not None]


def sound_export(run: Path, name: str, embedder: str) -> Export | None:
    """An embedder as it was exported, wherever a sound copy of it is left.

    Args:
        run: The run folder.
        name: Of the export and its snapshot.
        embedder: Its digest; empty if it is not known.
    """
    for folder in (run / EXPORTS / name, run / REFRESHING / name / EMBEDDER, run / SNAPSHOTS / name / EMBEDDER):
        found = Export.read(folder)
        if found is not None and embedder in ("", found.embedder) and found.is_sound():
            return found
    return None


def _copy(export: Export, folder: Path) -> None:
    """Copy an export; the trainer may delete or replace it at any moment."""
    try:
        shutil.copytree(export.folder, folder, dirs_exist_ok=True)
    except (FileNotFoundError, shutil.Error):
        if Export.read(export.folder) == export:
            raise
    # Order: looked at after copying, so that no file is of the one that took its place.
    if Export.read(export.folder) != export:
        raise FileNotFoundError(f"{export.folder} is gone")
