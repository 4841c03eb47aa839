"""What a killed writer leaves: the version in the making, and what it was being made for.

Only the same job goes on with it. Another one would publish documents that nobody asked it for, so it begins at the
last published version, and the work is lost: see `Pending.is_of`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from realm.errors import CorruptFileError, KnowledgeBaseError
from realm.openqa.file_digests import Digests, as_json, check_files, from_json
from realm.openqa.manifest import FORMAT, PENDING, Manifest, ModelReference, manifest_from, read_sealed, write_sealed


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
