"""The manifest of a knowledge base: which versions of its parts belong together, written last and atomically.

kb/kb.json                 the published version: what readers see
kb/versions/000003.json    the same of every version that can still be opened
kb/pending.json            a version in the making: what a killed writer leaves, and the next one goes on from

Each carries a digest of itself. Knows what a version is made of, not how it is made.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shlex
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from realm.artifacts import write_json_atomically
from realm.errors import CorruptFileError, KnowledgeBaseError
from realm.index.code_segments import CodeSegment
from realm.index.faiss_entry import FaissEntry
from realm.index.segments import REBUILD, Segment, check_entry
from realm.index.sketches import SketchSegment
from realm.index.tombstones import TombstoneFile

FORMAT = 2
PUBLISHED = "kb.json"
PENDING = "pending.json"
VERSIONS = "versions"
DOCUMENTS = "documents.lance"
BLOCKS = "blocks.lance"
VECTORS = "vectors"
INDEX = "index"
SEARCHES = ("auto", "exact", "faiss")

_VERSION_NAME = re.compile(r"([0-9]{6,})\.json")
_VECTORS_FOLDER = re.compile(r"vectors(-[0-9]{6,})?")


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
class FileList:
    """A file of digests of those files that the manifest does not name one by one: see `file_digests`.

    Attributes:
        name: The file's name in `versions`.
        sha256: Digest of the file.
        bytes: Size of the file.
    """

    name: str
    sha256: str
    bytes: int


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
        vectors_folder: Where vectors and tombstones are; compaction begins a new one.
        segments: Vector files. They hold the first rows: all, unless `realm index --words-only` left some for later.
        codes: Files of the int8 copy of the same rows.
        sketches: Files of a coarser copy of the rows of full vector files.
        tombstones: Rows that are gone; None if none are.
        files: Digests of the files of both Lance datasets; None only while the version is in the making.
        model: What the vectors were made with.
        max_block_pieces: Longest block input in word pieces.
        search: How vectors are searched: `exact`, `faiss`, or `auto`, which is FAISS for very many rows.
        faiss: The FAISS file; None where search is exact.
        lexical: Whether the full-text index of the blocks is kept.
        hybrid_weight: Share of the full-text score in retrieval unless a question says otherwise; 0 is none.
    """

    version: int
    documents_version: int
    blocks_version: int
    documents: int
    blocks: int
    dim: int
    vectors_folder: str
    segments: tuple[Segment, ...]
    codes: tuple[CodeSegment, ...]
    tombstones: TombstoneFile | None
    files: FileList | None
    model: ModelReference
    max_block_pieces: int
    search: str = "auto"
    sketches: tuple[SketchSegment, ...] = ()
    faiss: FaissEntry | None = None
    lexical: bool = True
    hybrid_weight: float = 0.0

    @property
    def embedded(self) -> int:
        """How many rows have a vector: these are the first ones."""
        return sum(segment.rows for segment in self.segments)

    @property
    def is_embedded(self) -> bool:
        """Whether all rows have one, so that they can be searched by vectors."""
        return self.embedded == self.blocks


def require_model(folder: Path, manifest: Manifest, model: ModelReference, advice: str = "Use that model") -> None:
    """Refuse vectors of another model than the knowledge base was made with; `advice` is how to give the right one."""
    own = manifest.model
    if model.digest == own.digest:
        return
    made = f"{folder} was made with the model {own.name} ({own.digest[:12]}...)"
    anew = f"make a new knowledge base with: realm index SOURCE... --model {model.name} --kb NEW_FOLDER"
    if model.name == own.name:
        raise KnowledgeBaseError(
            f"{made}, which has changed since: it is {model.digest[:12]}... now. Put the old one back, or {anew}"
        )
    raise KnowledgeBaseError(f"{made}, not with {model.name} ({model.digest[:12]}...). {advice}, or {anew}")


def version_name(version: int) -> str:
    """Name of a version's manifest, in `versions`."""
    return f"{version:06d}.json"


def published_versions(folder: Path) -> list[int]:
    """Versions that can be opened, oldest first. A killed writer's, which is not published, is none of them."""
    published = read_manifest(folder, PUBLISHED)
    names = folder / VERSIONS
    if published is None or not names.is_dir():
        return []
    found = (_VERSION_NAME.fullmatch(path.name) for path in names.iterdir())
    return sorted(int(match[1]) for match in found if match and int(match[1]) <= published.version)


def write_manifest(folder: Path, manifest: Manifest, name: str) -> None:
    """Replace a manifest atomically."""
    write_sealed(folder / name, {"format": FORMAT, **dataclasses.asdict(manifest)})


def read_manifest(folder: Path, name: str) -> Manifest | None:
    """Read a manifest; None if there is none.

    Raises:
        CorruptFileError: It is not a manifest, or not as it was written.
        KnowledgeBaseError: It has a format this version of realm does not know.
    """
    path = folder / name
    try:
        values = read_sealed(path)
        return None if values is None else manifest_from(values, path)
    except CorruptFileError as exc:
        sound = _newest_sound(folder) if name == PUBLISHED else None
        if sound is None:
            raise
        command = shlex.join(["cp", str(sound), str(path)])
        found = str(exc).removesuffix(REBUILD)
        raise CorruptFileError(f"{found}Put the newest version that is whole in its place: {command}") from exc


def _newest_sound(folder: Path) -> Path | None:
    """The newest manifest in `versions` that can be read."""
    for path in sorted((folder / VERSIONS).glob("*.json"), reverse=True):
        if _VERSION_NAME.fullmatch(path.name):
            with suppress(KnowledgeBaseError):
                read_manifest(path.parent, path.name)
                return path
    return None


def write_sealed(path: Path, values: dict[str, Any]) -> None:
    """Replace a JSON file atomically by `values` and their digest."""
    write_json_atomically(path, {**values, "sha256": _seal(values)})


def read_sealed(path: Path) -> dict[str, Any] | None:
    """Read what `write_sealed` wrote, without the digest and the format; None if there is none. Raises as above."""
    try:
        text = path.read_text(encoding="utf-8")
        values: dict[str, Any] = json.loads(text)
    except FileNotFoundError:
        return None
    except PermissionError as exc:
        raise KnowledgeBaseError(f"{path} may not be read ({exc.strerror}). Ask as a user who may.") from exc
    except (OSError, ValueError, RecursionError) as exc:
        raise CorruptFileError(f"{path} is not readable as a manifest ({exc}). {REBUILD}") from exc
    found = values.get("format") if isinstance(values, dict) else None
    if found != FORMAT:
        raise KnowledgeBaseError(f"{path} has format {found!r}; this realm reads format {FORMAT}. {REBUILD}")
    seal = values.pop("sha256", None)
    # The text, too: a flipped bit in white space changes no value, and still is damage.
    if seal != _seal(values) or text != _text({**values, "sha256": seal}):
        raise CorruptFileError(f"{path}: the bytes are not those that were written (SHA-256 differs). {REBUILD}")
    del values["format"]
    return values


def manifest_from(values: dict[str, Any], path: Path) -> Manifest:
    """The manifest in `values`, which were read from `path`. Raises as above."""
    try:
        check_entry(ModelReference, values["model"])
        numbers = [field.name for field in dataclasses.fields(Manifest) if field.type == "int"]
        if odd := [name for name in numbers if type(values[name]) is not int or values[name] < 0]:
            raise TypeError(f"{odd[0]} is {values[odd[0]]!r}")
        if not _VECTORS_FOLDER.fullmatch(values["vectors_folder"]):  # it is joined to a path
            raise TypeError(f"vectors_folder is {values['vectors_folder']!r}")
        if type(values["lexical"]) is not bool or type(values["hybrid_weight"]) is not float:
            raise TypeError(f"lexical is {values['lexical']!r}, hybrid_weight is {values['hybrid_weight']!r}")
        if values["search"] not in SEARCHES:
            raise TypeError(f"search is {values['search']!r}")
        tombstones, files, faiss = values["tombstones"], values["files"], values["faiss"]
        return Manifest(
            **{
                **values,
                "segments": tuple(Segment.from_json(entry) for entry in values["segments"]),
                "codes": tuple(CodeSegment.from_json(entry) for entry in values["codes"]),
                # What makes search faster may be missing.
                "sketches": tuple(SketchSegment.from_json(entry) for entry in values.get("sketches", ())),
                "faiss": None if faiss is None else FaissEntry.from_json(faiss),
                "tombstones": None if tombstones is None else TombstoneFile.from_json(tombstones),
                "files": None if files is None else _file_list(files),
                "model": ModelReference(**values["model"]),
            }
        )
    except (AttributeError, KeyError, TypeError) as exc:
        raise CorruptFileError(f"{path} lacks or does not know a field ({exc}). {REBUILD}") from exc


def _file_list(entry: dict[str, Any]) -> FileList:
    check_entry(FileList, entry)
    if "/" in entry["name"]:
        raise TypeError(f"the file list is {entry['name']!r}")
    return FileList(**entry)


def _text(values: dict[str, Any]) -> str:
    """As `write_json_atomically` writes it."""
    return json.dumps(values, ensure_ascii=False, indent=1) + "\n"


def _seal(values: dict[str, Any]) -> str:
    return hashlib.sha256(_text(values).encode("utf-8")).hexdigest()
