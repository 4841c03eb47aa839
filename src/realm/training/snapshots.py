"""Snapshots: an embedder and the vectors it made of all blocks, published together by one rename.

    run/snapshots/step-00000500/    embedder/       the export
                                    vectors/        see `corpus_vectors`
                                    snapshot.json   step, time of export, digest of the embedder

So a snapshot is there whole or not at all, and its vectors are those of its embedder. Knows neither who trains nor
who embeds; how one is made is in `snapshot_making`.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch

from realm.errors import CorruptFileError, KnowledgeBaseError, ModelError
from realm.models.configuration import RealmConfig
from realm.training.block_source import BlockSource
from realm.training.corpus_vectors import CorpusVectors, config_digest
from realm.training.exports import Export
from realm.training.snapshot_search import SnapshotIndex
from realm.training.whole_folders import remove_folder, step_folders, step_name, sweep_temporaries

SNAPSHOTS = "snapshots"
EMBEDDER = "embedder"
VECTORS = "vectors"
SNAPSHOT_FILE = "snapshot.json"


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
        export = Export.read(folder / EMBEDDER)
        try:
            said = json.loads((folder / SNAPSHOT_FILE).read_text(encoding="utf-8"))["embedder"]
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise CorruptFileError(f"{folder}: there is no whole snapshot ({exc}).") from exc
        vectors = CorpusVectors.open(folder / VECTORS)
        if export is None or not said == export.embedder == vectors.parents.embedder:
            raise CorruptFileError(f"{folder}: vectors and embedder do not belong together.")
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
        if not self.export.is_sound():
            raise CorruptFileError(f"{self.export.folder}: the weights are not those that were exported.")

    def _require_fits(self, blocks: BlockSource, config: RealmConfig) -> None:
        if not self.vectors.are_of(blocks):
            raise KnowledgeBaseError(
                f"{self.folder} is a snapshot of another corpus ({self.vectors.vectors.rows:,} blocks, digest "
                f"{self.vectors.parents.corpus[:12]}; the blocks here are {len(blocks):,}, digest "
                f"{blocks.digest[:12]}). Use the same blocks everywhere, or a new run folder."
            )
        if config_digest(self.export.config()) != config_digest(config):
            raise ModelError(
                f"{self.folder} is a snapshot of another model (vectors of {self.vectors.vectors.dim} numbers; the "
                f"model here makes {config.retriever_proj_size}, or has other sizes). Use a new run folder."
            )


def snapshot_folders(run: Path) -> dict[int, Path]:
    """Folders of published snapshots by step, in ascending order."""
    return step_folders(run / SNAPSHOTS)


def snapshot_of(run: Path, export: Export, blocks: BlockSource) -> Path | None:
    """Folder of the published snapshot of just this export and these blocks, if there is one."""
    folder = run / SNAPSHOTS / step_name(export.step)
    there = Export.read(folder / EMBEDDER)
    if there is None or there.embedder != export.embedder:
        return None
    vectors = _vectors_in(folder)
    return folder if vectors is not None and vectors.are_of(blocks) else None


def drop_snapshots_unless_cut_at(run: Path, max_pieces: int) -> None:
    """Delete what a run that is begun anew had made before of blocks cut to another length."""
    for folder in snapshot_folders(run).values():
        vectors = _vectors_in(folder)
        if vectors is None or vectors.parents.max_pieces != max_pieces:
            remove_folder(folder)


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


def _vectors_in(folder: Path) -> CorpusVectors | None:
    try:
        return CorpusVectors.open(folder / VECTORS)
    except (CorruptFileError, OSError):
        return None  # damaged, or just being deleted
