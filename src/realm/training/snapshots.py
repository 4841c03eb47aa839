"""Snapshots: an embedder and the vectors it made of all blocks, published together by one rename.

    run/refreshing/step-00000500/   in the making: a copy of the export, and shards; survives a kill
    run/snapshots/step-00000500/    embedder/       the export
                                    vectors/        see `corpus_vectors`
                                    snapshot.json   step, time of export, digest of the embedder

So a snapshot is there whole or not at all, and its vectors are those of its embedder. Knows neither who trains nor
who embeds. Read `make_snapshot` first.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import torch

from realm.artifacts import write_json_atomically
from realm.errors import CorruptFileError, KnowledgeBaseError, ModelError
from realm.features.inputs import InputBuilder
from realm.models.checkpoints import Checkpoint
from realm.models.configuration import RealmConfig
from realm.training.block_source import BlockSource
from realm.training.corpus_embedding import embed_corpus
from realm.training.corpus_vectors import CorpusVectors, config_digest, weights_digest
from realm.training.distributed import Processes
from realm.training.embedding_progress import EmbeddingProgress
from realm.training.exports import (
    Export,
    fresh_folder,
    publish_folder,
    remove_folder,
    step_folders,
    step_name,
    sweep_temporaries,
)
from realm.training.snapshot_search import SnapshotIndex

SNAPSHOTS = "snapshots"
REFRESHING = "refreshing"
_SNAPSHOT = "snapshot.json"
_EMBEDDER = "embedder"
_VECTORS = "vectors"


@dataclass(frozen=True)
class Snapshot:
    """A published snapshot.

    Attributes:
        folder: Where it is.
        export: Its embedder, with step and time.
        vectors: The vectors of all blocks.
    """

    folder: Path
    export: Export
    vectors: CorpusVectors

    @property
    def name(self) -> str:
        """What a checkpoint calls it."""
        return self.folder.name

    @property
    def step(self) -> int:
        """Steps done when its embedder was exported."""
        return self.export.step

    @classmethod
    def open(cls, folder: Path, blocks: BlockSource, config: RealmConfig) -> Snapshot:
        """Open a snapshot for a corpus and a kind of embedder.

        Raises:
            CorruptFileError: It is not there, or not whole.
            KnowledgeBaseError: It is of another corpus.
            ModelError: Its embedder has other sizes.
        """
        export = Export.read(folder / _EMBEDDER)
        try:
            said = json.loads((folder / _SNAPSHOT).read_text(encoding="utf-8"))
        except (OSError, ValueError) as exc:
            raise CorruptFileError(
                f"{folder}: there is no whole snapshot ({exc}). Delete it; it is made anew."
            ) from exc
        vectors = CorpusVectors.open(folder / _VECTORS)
        if export is None or not said["embedder"] == export.embedder == vectors.parents.embedder:
            raise CorruptFileError(
                f"{folder}: vectors and embedder do not belong together. Delete it; it is made anew."
            )
        snapshot = cls(folder, export, vectors)
        snapshot._require_fits(blocks, config)
        return snapshot

    def index(self, device: torch.device) -> SnapshotIndex:
        """Search over its vectors."""
        return SnapshotIndex(self.vectors, device)

    def verify(self) -> None:
        """Read all bytes: of vectors and of the embedder.

        Raises:
            CorruptFileError: They are not those that were written.
        """
        self.vectors.verify()
        if weights_digest(Checkpoint(self.export.folder), self.export.config()) != self.export.embedder:
            raise CorruptFileError(f"{self.export.folder}: the weights are not those that were exported.")

    def _require_fits(self, blocks: BlockSource, config: RealmConfig) -> None:
        parents, rows = self.vectors.parents, self.vectors.vectors.rows
        if (parents.corpus, parents.tokenizer, rows) != (blocks.digest, blocks.tokenizer_digest, len(blocks)):
            raise KnowledgeBaseError(
                f"{self.folder} is a snapshot of another corpus ({rows:,} blocks, digest {parents.corpus[:12]}; the "
                f"blocks here are {len(blocks):,}, digest {blocks.digest[:12]}). Use a new run folder."
            )
        if config_digest(self.export.config()) != config_digest(config):
            raise ModelError(
                f"{self.folder} is a snapshot of another model (vectors of {self.vectors.vectors.dim} numbers; the "
                f"model here makes {config.retriever_proj_size}, or has other sizes). Use a new run folder."
            )


def snapshot_folders(run: Path) -> dict[int, Path]:
    """Folders of published snapshots by step, in ascending order."""
    return step_folders(run / SNAPSHOTS)


def snapshot_of(run: Path, export: Export) -> Path | None:
    """Folder of the published snapshot of just this export, if there is one."""
    folder = run / SNAPSHOTS / step_name(export.step)
    there = Export.read(folder / _EMBEDDER)
    return folder if there is not None and there.embedder == export.embedder else None


def started_export(run: Path, export: Export) -> Export:
    """A copy of an export to embed with, which stays when the trainer deletes the export.

    Raises:
        FileNotFoundError: The trainer has deleted it already.
    """
    folder = run / REFRESHING / step_name(export.step) / _EMBEDDER
    there = Export.read(folder)
    if there is None or there.embedder != export.embedder:
        sweep_temporaries(folder.parent)
        with fresh_folder(folder) as fresh:
            shutil.copytree(export.folder, fresh, dirs_exist_ok=True)
        there = Export.read(folder)
    if there is None:
        raise FileNotFoundError(f"{export.folder} is gone")
    return there


def unfinished_export(run: Path) -> Export | None:
    """The newest export that somebody has begun to embed and has not published."""
    for folder in reversed(step_folders(run / REFRESHING).values()):
        export = Export.read(folder / _EMBEDDER)
        if export is not None and snapshot_of(run, export) is None:
            return export
    return None


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
        FileNotFoundError: The trainer has deleted the export.
        ModelError: The embedder cannot be read, or makes vectors that are not finite.
        UsageError: Another process has stopped.
    """
    if processes.is_first:
        started_export(run, export)
    processes.barrier()
    making = run / REFRESHING / step_name(export.step)
    started = started_export(run, export)
    embed_corpus(
        blocks, started.open(device), builder, making / _VECTORS, embedder_digest=export.embedder,
        max_pieces=max_pieces, processes=processes, progress=progress,
    )  # fmt: skip
    # Order: all have seen the vectors before they are renamed.
    processes.barrier()
    place = run / SNAPSHOTS / step_name(export.step)
    if processes.is_first:
        before_publishing()
        write_json_atomically(making / _SNAPSHOT, {"step": export.step, "embedder": export.embedder})
        publish_folder(making, place)
        # Whatever else was begun is older, or of steps that a resumed training has yet to do again.
        for left in step_folders(run / REFRESHING).values():
            remove_folder(left)
        sweep_temporaries(run / REFRESHING)
    processes.barrier()
    return place


def drop_snapshots_after(run: Path, step: int) -> None:
    """Delete snapshots of steps that a killed run had done and the resumed one has not."""
    for number, folder in snapshot_folders(run).items():
        if number > step:
            remove_folder(folder)


def prune_snapshots(run: Path, keep: int, in_use: Collection[str]) -> list[str]:
    """Delete old snapshots but the newest `keep`, those in use, and those that a checkpoint names.

    Returns:
        Names of what was deleted.
    """
    sweep_temporaries(run / SNAPSHOTS)
    named = "\n".join(_texts_of_checkpoints(run))
    old = list(snapshot_folders(run).values())[:-keep]
    gone = [folder.name for folder in old if folder.name not in in_use and f'"{folder.name}"' not in named]
    for name in gone:
        remove_folder(run / SNAPSHOTS / name)
    return gone


def _texts_of_checkpoints(run: Path) -> list[str]:
    """All that the JSON files one folder below say: wherever the loop keeps checkpoints, and whatever it calls them."""
    found = []
    for path in run.glob("*/*.json"):
        try:
            found.append(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            continue
    return found
