"""How a version is searched: when it gets a FAISS file, when that is made anew, and where exact search runs.

Knows the policy, not how FAISS works.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from realm.index.codes import CodeStore
from realm.index.faiss_entry import FaissEntry
from realm.index.segments import NUMBER
from realm.index.sketches import SketchStore
from realm.index.tombstones import read_tombstones
from realm.index.vectors import VectorStore
from realm.openqa.manifest import INDEX, Manifest
from realm.openqa.memory import room

if TYPE_CHECKING:
    import torch

FAISS_ROWS = 2_000_000
"""From so many live rows on, `auto` means FAISS: below, exact search takes some tens of milliseconds."""

_NEW_SHARE = 0.1
_MORE_LISTS = 1.75
"""There should be this many times the lists: so it is at about three times the rows."""


def search_device(vectors: VectorStore) -> torch.device:
    """Where exact search multiplies: on the graphics card, if the vectors fit into half of its free memory."""
    import torch

    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        if vectors.rows * vectors.dim * NUMBER.itemsize <= free // 2:
            return torch.device("cuda")
    return torch.device("cpu")


def faiss_of(folder: Path, manifest: Manifest, *, max_ram_bytes: int | None = None) -> FaissEntry | None:
    """The FAISS file of a version that is about to be published: none, that of the last one, or a new one.

    Rows that are newer than the file are searched exactly, so it is brought up to date only when they are a tenth of
    all; and made from nothing when there are three times as many rows as when its lists were laid out. While blocks
    lack vectors it stays as it is, for till then search is by words.

    Args:
        folder: The knowledge base.
        manifest: Of that version.
        max_ram_bytes: The most memory the process may take.

    Raises:
        KnowledgeBaseError: That is too little.
    """
    from realm.index.faiss_build import DEFAULT_RAM_BYTES, MIN_VECTORS, build_faiss, extend_faiss, lists_for

    gone = manifest.tombstones
    live = manifest.blocks - (gone.rows if gone else 0)
    if not manifest.is_embedded:
        return manifest.faiss
    least = {"exact": manifest.blocks + 1, "faiss": MIN_VECTORS}.get(manifest.search, FAISS_ROWS)
    if live < least:
        return None
    entry = manifest.faiss
    if entry is not None and manifest.blocks - entry.rows <= _NEW_SHARE * entry.rows:
        return entry
    from realm.index.exact import ExactIndex

    vectors_folder = folder / manifest.vectors_folder
    store = VectorStore(vectors_folder, manifest.segments, manifest.dim)
    tombstones = read_tombstones(vectors_folder, gone) if gone else np.empty(0, dtype=np.int64)
    codes = CodeStore(vectors_folder, manifest.codes, manifest.dim)
    exact = ExactIndex(store, tombstones, codes, SketchStore(vectors_folder, manifest.sketches, manifest.dim))
    (folder / INDEX).mkdir(exist_ok=True)
    if entry is not None and lists_for(live) < _MORE_LISTS * entry.nlist:
        return extend_faiss(store, folder / INDEX, entry, exact, tombstones=tombstones)
    ram_bytes = room(max_ram_bytes, DEFAULT_RAM_BYTES)
    return build_faiss(store, folder / INDEX, exact, tombstones=tombstones, ram_bytes=ram_bytes)
