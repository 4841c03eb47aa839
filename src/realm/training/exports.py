"""What the trainer puts into its run folder for those who embed the corpus, and nobody else writes.

    run/exports/step-00000500/    config.json, model.safetensors of the embedder; export.json: step, time, digest
    run/refresh/                  plan.json, tokenizer.json: of which blocks, with which word pieces
    run/finished.json             training is done; whoever waits for exports may end

Every folder appears whole, by one rename, so the run folder may be on a file system that several machines share.
Times are those of the trainer's clock alone. Knows no vectors.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from realm.artifacts import sync_directory, write_json_atomically
from realm.corpus.chunking import MAX_PIECES
from realm.errors import ModelError, RecipeError
from realm.models.configuration import RealmConfig
from realm.models.embedder import RealmEmbedder
from realm.models.precision import fastest_dtype
from realm.training.corpus_vectors import weights_digest

EXPORTS = "exports"
_EXPORT = "export.json"
_PLAN = "refresh"
_FINISHED = "finished.json"
_NAME = re.compile(r"step-([0-9]{8,})")


@dataclass(frozen=True, slots=True)
class Export:
    """An embedder as it was after some steps.

    Attributes:
        folder: Where it is.
        step: Steps done.
        exported_at: Seconds since 1970 by the trainer's clock.
        embedder: `weights_digest` of it.
    """

    folder: Path
    step: int
    exported_at: float
    embedder: str

    @classmethod
    def read(cls, folder: Path) -> Export | None:
        """None if there is none, as when it is just being deleted."""
        try:
            found = json.loads((folder / _EXPORT).read_text(encoding="utf-8"))
            return cls(folder, int(found["step"]), float(found["exported_at"]), str(found["embedder"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def open(self, device: torch.device) -> RealmEmbedder:
        """The embedder, ready to embed: in evaluation mode, in the number format the device is fastest in.

        Raises:
            ModelError: Its files cannot be read.
        """
        try:
            # Weights that are absent, those of its unused head, are drawn at random: not from the trainer's sequence.
            with torch.random.fork_rng(devices=[]):
                embedder = RealmEmbedder.from_pretrained(self.folder, dtype=torch.float32)
        except (OSError, ValueError, KeyError, RuntimeError) as exc:
            raise ModelError(f"{self.folder} cannot be read as an embedder ({exc}).") from exc
        opened: RealmEmbedder = embedder.eval()
        torch.nn.Module.to(opened, device, fastest_dtype(device))
        return opened

    def config(self) -> RealmConfig:
        """Its sizes."""
        config: RealmConfig = RealmConfig.from_pretrained(self.folder)
        return config


@dataclass(frozen=True, slots=True)
class RefreshPlan:
    """What another process must know to embed the corpus.

    Attributes:
        blocks: Source of the blocks, as the trainer names it.
        max_documents: Of it, only the first so many documents.
        max_pieces: Longest input.
    """

    blocks: str
    max_documents: int | None = None
    max_pieces: int = MAX_PIECES


def step_name(step: int) -> str:
    """Name of the folder of an export or a snapshot."""
    return f"step-{step:08d}"


def step_folders(folder: Path) -> dict[int, Path]:
    """Folders of exports or snapshots by step, in ascending order."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return {}
    found = {int(match[1]): folder / name for name in names if (match := _NAME.fullmatch(name))}
    return dict(sorted(found.items()))


def export_embedder(run: Path, step: int, embedder: RealmEmbedder, keep: int = 2) -> Export:
    """Publish the embedder's weights; the same weights of the same step are not written twice.

    Args:
        run: The run folder.
        step: Steps done.
        embedder: In the format it is trained in.
        keep: Older exports beyond so many are deleted. Whoever embeds one has copied it.
    """
    digest = weights_digest(embedder.state_dict(), embedder.config)
    place = run / EXPORTS / step_name(step)
    there = Export.read(place)
    if there is not None and there.embedder == digest:
        return there
    sweep_temporaries(place.parent)
    with fresh_folder(place) as fresh:
        embedder.save_pretrained(fresh)
        values = {"step": step, "exported_at": time.time(), "embedder": digest}
        write_json_atomically(fresh / _EXPORT, values)
    for old in list(step_folders(place.parent).values())[:-keep]:
        remove_folder(old)
    written = Export.read(place)
    if written is None:
        raise RecipeError(f"{place} was deleted while it was written. Leave the folder of a run alone.")
    return written


def exports(run: Path) -> list[Export]:
    """All exports, the newest last."""
    found = (Export.read(folder) for folder in step_folders(run / EXPORTS).values())
    return [export for export in found if export is not None]


def drop_exports_after(run: Path, step: int) -> None:
    """Delete exports of steps that a killed run had done and the resumed one has not."""
    for number, folder in step_folders(run / EXPORTS).items():
        if number > step:
            remove_folder(folder)


def write_plan(run: Path, plan: RefreshPlan, tokenizer: Path) -> None:
    """Publish what another process needs to know.

    Args:
        run: The run folder.
        plan: Of which blocks.
        tokenizer: The `tokenizer.json` of the model.
    """
    with fresh_folder(run / _PLAN) as fresh:
        shutil.copyfile(tokenizer, fresh / "tokenizer.json")
        write_json_atomically(fresh / "plan.json", dataclasses.asdict(plan))


def has_plan(run: Path) -> bool:
    """Whether the trainer has published what another process needs to know."""
    return (run / _PLAN / "plan.json").exists()


def read_plan(run: Path) -> tuple[RefreshPlan, Path]:
    """The plan, and the folder of the tokenizer.

    Raises:
        RecipeError: There is none.
    """
    folder = run / _PLAN
    try:
        return RefreshPlan(**json.loads((folder / "plan.json").read_text(encoding="utf-8"))), folder
    except (OSError, ValueError, TypeError) as exc:
        raise RecipeError(
            f"{run} is no run whose index another process refreshes ({folder / 'plan.json'} cannot be read). Start the "
            'training first, with refresh = "other_process" in its recipe.'
        ) from exc


def is_finished(run: Path) -> bool:
    """Whether training is done: the loop says so."""
    return (run / _FINISHED).exists()


@contextmanager
def fresh_folder(place: Path) -> Iterator[Path]:
    """Give an empty folder to write to, which takes the place of whatever is at `place`; not after an error."""
    fresh = _hidden(place)
    fresh.mkdir(parents=True)
    try:
        yield fresh
        publish_folder(fresh, place)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def publish_folder(fresh: Path, place: Path) -> None:
    """Bring a folder to the disk and rename it to its place; an older one there is renamed away, then deleted."""
    for path in fresh.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_directory(fresh)
    place.parent.mkdir(parents=True, exist_ok=True)
    remove_folder(place)
    os.rename(fresh, place)
    sync_directory(place.parent)


def remove_folder(folder: Path) -> None:
    """Delete a folder so that nobody finds half of it: it is renamed first."""
    gone = _hidden(folder)
    try:
        os.rename(folder, gone)
    except FileNotFoundError:
        return
    shutil.rmtree(gone, ignore_errors=True)


def sweep_temporaries(folder: Path) -> None:
    """Delete what a killed process left half written or half deleted. For the only one who writes there."""
    for left in folder.glob(".*.tmp"):
        shutil.rmtree(left, ignore_errors=True)


def _hidden(place: Path) -> Path:
    return place.with_name(f".{place.name}.{uuid.uuid4().hex}.tmp")
