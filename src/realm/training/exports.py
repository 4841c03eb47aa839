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
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError

from realm.artifacts import write_json_atomically
from realm.corpus.chunking import MAX_PIECES
from realm.errors import ModelError, RecipeError, UsageError
from realm.models.checkpoints import Checkpoint
from realm.models.configuration import RealmConfig
from realm.models.embedder import RealmEmbedder
from realm.models.precision import fastest_dtype
from realm.training.block_source import BlockSource
from realm.training.corpus_vectors import weights_digest
from realm.training.whole_folders import fresh_folder, remove_folder, step_folders, step_name, sweep_temporaries

EXPORTS = "exports"
_EXPORT = "export.json"
_PLAN = "refresh"
_FINISHED = "finished.json"


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

    def is_sound(self) -> bool:
        """Whether the weights are those that were exported; reads all of them."""
        try:
            return weights_digest(Checkpoint(self.folder), self.config()) == self.embedder
        except (OSError, ValueError, KeyError, SafetensorError):
            return False


@dataclass(frozen=True, slots=True)
class RefreshPlan:
    """What another process must know to embed the corpus.

    Attributes:
        blocks: Source of the blocks, as the trainer names it.
        max_documents: Of it, only the first so many documents.
        max_pieces: Longest input.
        corpus: Digest of the trainer's blocks; empty if it did not say.
        tokenizer: Digest of its tokenizer.
        rows: How many blocks it has.
    """

    blocks: str
    max_documents: int | None = None
    max_pieces: int = MAX_PIECES
    corpus: str = ""
    tokenizer: str = ""
    rows: int = 0

    def of(self, blocks: BlockSource) -> RefreshPlan:
        """The same plan, naming the blocks that were opened by it."""
        return dataclasses.replace(self, corpus=blocks.digest, tokenizer=blocks.tokenizer_digest, rows=len(blocks))

    def require(self, blocks: BlockSource, source: Path) -> None:
        """Refuse blocks that are not those of the trainer.

        Raises:
            UsageError: They are others, or cut into other word pieces.
        """
        found = self.of(blocks)
        if self.corpus and (found.corpus, found.tokenizer, found.rows) != (self.corpus, self.tokenizer, self.rows):
            raise UsageError(
                f"{source} is not what is trained with: {found.rows:,} blocks, digest {found.corpus[:12]}; the trainer "
                f"has {self.rows:,}, digest {self.corpus[:12]}. Give --blocks the same source, in the same state."
            )


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


def is_wanted(begun: Export, offered: Sequence[Export]) -> bool:
    """Whether an export is of the training as it goes on now.

    A run that was killed and resumed has yet to come to the steps it had done, and may have other weights there.

    Args:
        begun: Copied from an export that the trainer may have deleted since.
        offered: The trainer's exports, the newest last.
    """
    of_its_step = [export.embedder for export in offered if export.step == begun.step]
    return bool(offered) and begun.step <= offered[-1].step and of_its_step in ([], [begun.embedder])


def drop_exports_after(run: Path, step: int) -> None:
    """Delete exports of steps that a killed run had done and the resumed one has not."""
    for number, folder in step_folders(run / EXPORTS).items():
        if number > step:
            remove_folder(folder)


def write_plan(run: Path, plan: RefreshPlan, tokenizer: Path) -> None:
    """Publish what another process needs to know, unless it is there already.

    Args:
        run: The run folder.
        plan: Of which blocks.
        tokenizer: The `tokenizer.json` of the model.
    """
    words = tokenizer.read_bytes()
    # Order: looked at first, because whoever reads a plan that is replaced may find none for a moment.
    if has_plan(run) and read_plan(run)[0] == plan and (run / _PLAN / "tokenizer.json").read_bytes() == words:
        return
    with fresh_folder(run / _PLAN) as fresh:
        (fresh / "tokenizer.json").write_bytes(words)
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
