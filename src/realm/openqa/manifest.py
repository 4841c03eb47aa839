"""The manifest of a knowledge base: which versions of its parts belong together, written last and atomically.

kb/kb.json        the published version: what readers see
kb/pending.json   a version in the making: what a killed writer leaves, and the next one goes on from
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from realm.artifacts import write_json_atomically
from realm.errors import CorruptFileError, KnowledgeBaseError
from realm.index.segments import REBUILD, Segment, check_entry
from realm.index.tombstones import TombstoneFile

FORMAT = 1
PUBLISHED = "kb.json"
PENDING = "pending.json"


@dataclass(frozen=True)
class ModelReference:
    """The model a knowledge base was made with.

    Attributes:
        name: Name of a built-in model, or the path of its folder.
        digest: SHA-256 over all that its vectors depend on; with another digest they mean nothing.
    """

    name: str
    digest: str


@dataclass(frozen=True)
class Manifest:
    """One version of a knowledge base.

    Attributes:
        version: Counts published versions, from 1.
        documents_version: Lance version of `documents.lance`.
        blocks_version: Lance version of `blocks.lance`.
        documents: How many documents there are.
        blocks: Rows of blocks and vectors, tombstones included.
        dim: Dimensions of the vectors.
        segments: Vector files.
        tombstones: Rows that are gone; None if none are.
        model: What the vectors were made with.
        max_block_pieces: Longest block input in word pieces.
    """

    version: int
    documents_version: int
    blocks_version: int
    documents: int
    blocks: int
    dim: int
    segments: tuple[Segment, ...]
    tombstones: TombstoneFile | None
    model: ModelReference
    max_block_pieces: int


def write_manifest(folder: Path, manifest: Manifest, name: str) -> None:
    """Replace a manifest atomically."""
    write_json_atomically(folder / name, {"format": FORMAT, **dataclasses.asdict(manifest)})


def read_manifest(folder: Path, name: str) -> Manifest | None:
    """Read a manifest; None if there is none.

    Raises:
        CorruptFileError: It is not a manifest.
        KnowledgeBaseError: It has a format this version of realm does not know.
    """
    path = folder / name
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as exc:
        raise CorruptFileError(f"{path} is not readable as a manifest ({exc}). {REBUILD}") from exc
    found = values.pop("format", None) if isinstance(values, dict) else None
    if found != FORMAT:
        raise KnowledgeBaseError(f"{path} has format {found!r}; this realm reads format {FORMAT}.")
    try:
        check_entry(ModelReference, values["model"])
        numbers = [field.name for field in dataclasses.fields(Manifest) if field.type == "int"]
        if odd := [name for name in numbers if type(values[name]) is not int or values[name] < 0]:
            raise TypeError(f"{odd[0]} is {values[odd[0]]!r}")
        tombstones = values.pop("tombstones")
        return Manifest(
            **{
                **values,
                "segments": tuple(Segment.from_json(entry) for entry in values["segments"]),
                "tombstones": None if tombstones is None else TombstoneFile.from_json(tombstones),
                "model": ModelReference(**values["model"]),
            }
        )
    except (AttributeError, KeyError, TypeError) as exc:
        raise CorruptFileError(f"{path} lacks or does not know a field ({exc}). {REBUILD}") from exc
