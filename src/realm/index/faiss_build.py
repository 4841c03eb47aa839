"""Making a FAISS index: lists of product codes, from vectors that are read in batches.

    sample of rows ──k-means──> centroids ──residuals──> product quantiser (two numbers in four bits)
    all live rows ──batches──> nearest centroid, code of the rest ──> lists ──> one file, and a FaissEntry

Rows are put to the nearest centroid (Euclidean), whereas a question goes to the centroids of largest inner
product: the means of cells rank the cells by the mean score of their rows. Knows vectors and rows only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int64

from realm.errors import KnowledgeBaseError
from realm.index.faiss_entry import FaissEntry, FaissPoint
from realm.index.faiss_file import faiss_library, read_faiss, threads_of_torch, write_faiss
from realm.index.faiss_probe import Sample, measure, sample_queries
from realm.index.protocol import Index
from realm.index.vectors import VectorStore

DEFAULT_RAM_BYTES = 4 << 30
DEFAULT_TARGET = 0.95
MIN_VECTORS = 1000

_BATCH_ROWS = 1 << 16
# Four times the square root: fewer lists are learnt faster, but then many more rows are read to answer.
_LISTS_PER_ROOT = 4
_MIN_PER_LIST = 16
_ROUNDS = 8
_SAMPLE_PER_LIST = 50
_MIN_SAMPLE_PER_LIST = 20
_ID_BYTES = 8
# Lists grow in steps, so that some of what they hold is unused.
_SLACK = 1.25
_FIXED_BYTES = 128 << 20


def build_faiss(
    store: VectorStore,
    folder: Path,
    exact: Index,
    *,
    tombstones: Int64[np.ndarray, " row"] | None = None,
    questions: Float32[np.ndarray, "query dim"] | None = None,
    target: float = DEFAULT_TARGET,
    ram_bytes: int = DEFAULT_RAM_BYTES,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> FaissEntry:
    """Index all live rows of `store`, measure recall, and write one file.

    Args:
        store: The vectors.
        folder: Where the file goes.
        exact: Exact search over the same vectors and tombstones: what recall is measured against.
        tombstones: Rows to leave out.
        questions: Vectors of real questions to measure recall with; else some are made from rows.
        target: Wanted recall at 5, 100 and 5,000 rows. The search is widened until it is reached; where it
            cannot be, the entry says so.
        ram_bytes: What the build may hold in memory, beside what the process holds already.
        seed: Of the sample and the centroids. The same seed and number of threads give the same file.
        progress: Called with the number of rows done so far.

    Raises:
        KnowledgeBaseError: There are fewer than 1,000 live rows, the memory is too small, or the file cannot
            be written.
    """
    faiss = faiss_library()
    is_live = _live(store.rows, tombstones)
    live = np.flatnonzero(is_live)
    if len(live) < MIN_VECTORS:
        raise KnowledgeBaseError(
            f"{len(live):,} vectors are too few for FAISS, which needs {MIN_VECTORS:,}: exact search reads them all "
            "in less than a millisecond."
        )
    nlist = lists_for(len(live))
    sample_rows = _sample_rows(len(live), store.dim, nlist, ram_bytes)
    random = np.random.default_rng([seed, 0])
    with threads_of_torch():
        index = _trained(store.take(np.sort(random.choice(live, sample_rows, replace=False))), nlist, seed)
        _add(index, store, live, progress)
        _route(index, _flat(faiss.IndexFlatIP, index.quantizer.reconstruct_n(0, nlist)))
    sample = sample_queries(store, live, questions, seed)
    return _finish(index, store, folder, target, sample, measure(index, exact, sample, target, is_live))


def extend_faiss(
    store: VectorStore,
    folder: Path,
    entry: FaissEntry,
    exact: Index,
    *,
    tombstones: Int64[np.ndarray, " row"] | None = None,
    questions: Float32[np.ndarray, "query dim"] | None = None,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> FaissEntry:
    """Bring a file up to date: newer rows come in, tombstones go out, recall is measured again.

    The centroids stay as they are, so build anew once `lists_for` gives many more lists than `entry.nlist`.

    Args:
        store: The vectors, with the newer ones.
        folder: Where the file of `entry` is, and where the new one goes.
        entry: The file to begin with, which is left as it is.
        exact: As for `build_faiss`, and so are the other arguments.

    Raises:
        CorruptFileError: The file of `entry` is not what the manifest names.
        KnowledgeBaseError: No live rows are left, or the file cannot be written.
    """
    faiss = faiss_library()
    index = read_faiss(folder, entry)
    is_live = _live(store.rows, tombstones)
    live = np.flatnonzero(is_live)
    if not len(live):
        raise KnowledgeBaseError("no vectors are left to index with FAISS: search exactly.")
    with threads_of_torch():
        index.remove_ids(np.flatnonzero(~is_live[: entry.rows]))
        centroids = index.quantizer.reconstruct_n(0, index.nlist)
        _route(index, _flat(faiss.IndexFlatL2, centroids))
        _add(index, store, live[live >= entry.rows], progress)
        _route(index, _flat(faiss.IndexFlatIP, centroids))
    sample = sample_queries(store, live, questions, seed)
    points = measure(index, exact, sample, entry.target, is_live)
    return _finish(index, store, folder, entry.target, sample, points)


def lists_for(vectors: int) -> int:
    """How many lists a build lays out for so many vectors."""
    return max(1, min(math.ceil(_LISTS_PER_ROOT * math.sqrt(vectors)), vectors // _MIN_PER_LIST))


def _live(rows: int, tombstones: Int64[np.ndarray, " row"] | None) -> Bool[np.ndarray, " row"]:
    is_live = np.ones(rows, dtype=np.bool_)
    if tombstones is not None:
        is_live[tombstones[(tombstones >= 0) & (tombstones < rows)]] = False
    return is_live


def _sample_rows(vectors: int, dim: int, nlist: int, ram_bytes: int) -> int:
    """How many rows to learn from, so that they and the whole index fit into the memory."""
    index_bytes = int(_SLACK * vectors * (_subquantisers(dim) / 2 + _ID_BYTES))
    batch_bytes = 2 * _BATCH_ROWS * dim * 4
    row_bytes = 2 * dim * 4  # the sample, and the residuals or reordered rows of it
    needed = index_bytes + batch_bytes + _FIXED_BYTES
    least, most = (min(vectors, count * nlist) for count in (_MIN_SAMPLE_PER_LIST, _SAMPLE_PER_LIST))
    fitting = (ram_bytes - needed) // row_bytes
    if fitting < least:
        raise KnowledgeBaseError(
            f"FAISS over {vectors:,} vectors was given {ram_bytes / 2**20:,.0f} MiB of memory to build in; it needs "
            f"{(needed + least * row_bytes) / 2**20:,.0f}. Give it more (--max-ram), or take --search exact."
        )
    return min(most, fitting)


def _subquantisers(dim: int) -> int:
    """Two numbers share four bits; where they cannot be paired, each has its own."""
    return dim // 2 if dim % 2 == 0 else dim


def _trained(sample: Float32[np.ndarray, "row dim"], nlist: int, seed: int) -> Any:
    """An empty index with centroids and codes learnt from the sample."""
    faiss = faiss_library()
    dim = sample.shape[1]
    settings = faiss.ClusteringParameters()
    settings.niter, settings.seed = _ROUNDS, seed + 1
    settings.min_points_per_centroid, settings.max_points_per_centroid = 1, _SAMPLE_PER_LIST
    clustering = faiss.Clustering(dim, nlist, settings)
    clustering.train(sample, faiss.IndexFlatL2(dim))
    centroids = faiss.vector_to_array(clustering.centroids).reshape(nlist, dim)
    flat = _flat(faiss.IndexFlatL2, centroids)
    index = faiss.IndexIVFPQFastScan(flat, dim, nlist, _subquantisers(dim), 4, faiss.METRIC_INNER_PRODUCT)
    # Differs: FAISS leaves this off for fast scan. With it the codes hold the rest alone, which is smaller.
    index.by_residual = True
    index.pq.cp.seed = seed + 1
    index.pq.cp.min_points_per_centroid = 1
    index.train(sample)
    return index


def _flat(kind: Any, centroids: Float32[np.ndarray, "list dim"]) -> Any:
    flat = kind(centroids.shape[1])
    flat.add(centroids)
    return flat


def _route(index: Any, quantizer: Any) -> None:
    """Let `quantizer` choose the lists."""
    index.own_fields = False
    index.quantizer = quantizer
    # The index points to it: it must live as long. FAISS keeps such objects under this name itself.
    index.referenced_objects = [quantizer]


def _add(
    index: Any, store: VectorStore, rows: Int64[np.ndarray, " row"], progress: Callable[[int], None] | None
) -> None:
    for start in range(0, len(rows), _BATCH_ROWS):
        batch = rows[start : start + _BATCH_ROWS]
        index.add_with_ids(store.take(batch), batch)
        if progress is not None:
            progress(start + len(batch))


def _finish(
    index: Any, store: VectorStore, folder: Path, target: float, sample: Sample, points: tuple[FaissPoint, ...]
) -> FaissEntry:
    name, digest, size = write_faiss(folder, index)
    return FaissEntry(
        name=name,
        rows=store.rows,
        vectors=index.ntotal,
        dim=store.dim,
        nlist=index.nlist,
        points=points,
        probe=sample.kind,
        probe_queries=len(sample.queries),
        target=target,
        target_reached=all(point.recall >= target for point in points),
        sha256=digest,
        bytes=size,
    )
