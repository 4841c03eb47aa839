"""What a killed writer leaves: the version in the making, and what it was being made for.

Only the same job goes on with it. Another one would publish documents that nobody asked it for, so it begins at the
last published version, and the work is lost: see `left_over`. Where that took long, it must have been told to.
"""

from __future__ import annotations

import dataclasses
import shlex
from dataclasses import dataclass
from pathlib import Path

from realm.errors import CorruptFileError, KnowledgeBaseError
from realm.openqa.file_digests import Digests, as_json, check_files, from_json
from realm.openqa.manifest import FORMAT, PENDING, Manifest, ModelReference, manifest_from, read_sealed, write_sealed

_LONG_WORK = ("index", "embed", "import dpr", "evaluate-beir")
"""What can take hours; others are as quickly done again."""


@dataclass(frozen=True)
class Job:
    """What a writer is doing.

    Attributes:
        command: A verb, such as `index`.
        sources: What with: resolved paths, in the order given.
    """

    command: str
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pending:
    """A version in the making.

    Attributes:
        job: What it is made for.
        manifest: As it would be published. Its tombstones are those of the version before: what is gone since can be
            told from the documents, and a list in every step would be long.
        files: Digests of those files of its Lance datasets that the version before does not have.
    """

    job: Job
    manifest: Manifest
    files: Digests

    @property
    def is_long(self) -> bool:
        """Whether it is a run that can take hours."""
        return self.job.command in _LONG_WORK

    def new_blocks(self, published: Manifest | None) -> int:
        """How many blocks it has written or embedded since the published version; none if that has been made since."""
        own = self.manifest
        if published is None:
            return own.blocks
        if own.version <= published.version:
            return 0
        return max(own.blocks - published.blocks, own.embedded - published.embedded, 0)

    def command_line(self, folder: Path) -> str:
        """What goes on with it."""
        return shlex.join(["realm", *self.job.command.split(), *self.job.sources, "--kb", str(folder)])

    def is_of(self, job: Job, model: ModelReference, version: int) -> bool:
        """Whether a writer with this job, making that version, would go on with it."""
        return (self.job, self.manifest.model.digest, self.manifest.version) == (job, model.digest, version)

    def is_whole(self, folder: Path) -> bool:
        """Whether all that it is made of reached the disk, which nobody waited for; every file is read and compared."""
        try:
            check_files(folder, self.files.values())
        except CorruptFileError:
            return False
        return True


def left_over(
    folder: Path, job: Job, model: ModelReference, published: Manifest | None, *, discard: bool
) -> tuple[Pending | None, int]:
    """What a writer can go on with, if anything; or else, how many blocks of a killed one it throws away.

    Args:
        folder: The knowledge base.
        job: What is to be done now.
        model: What vectors are to be made with.
        published: The last version.
        discard: Whether what took long may be thrown away.

    Raises:
        KnowledgeBaseError: It may not, and would be.
    """
    pending = read_pending(folder)
    if pending is None:
        return None, 0
    blocks = pending.new_blocks(published)
    if pending.is_of(job, model, 1 if published is None else published.version + 1):
        return (pending, 0) if pending.is_whole(folder) else (None, blocks)
    if pending.is_long and blocks and not discard:
        raise KnowledgeBaseError(
            f"{folder} holds an unfinished run of {blocks:,} blocks, which would be lost. Finish it with: "
            f"{pending.command_line(folder)} (and the options it had), or throw it away with --discard-pending."
        )
    return None, blocks


def write_pending(folder: Path, pending: Pending) -> None:
    """Replace it atomically."""
    values = {
        "format": FORMAT,
        "job": dataclasses.asdict(pending.job),
        "manifest": dataclasses.asdict(pending.manifest),
        "files": as_json(pending.files.values()),
    }
    write_sealed(folder / PENDING, values)


def read_pending(folder: Path) -> Pending | None:
    """The version in the making; None if there is none, or none that can be read: nothing published depends on it."""
    path = folder / PENDING
    try:
        values = read_sealed(path)
        if values is None:
            return None
        job = Job(values["job"]["command"], tuple(values["job"]["sources"]))
        return Pending(job, manifest_from(values["manifest"], path), from_json(values["files"]))
    except (KnowledgeBaseError, KeyError, TypeError):
        return None
