"""All blocks of a corpus to vectors: in shards that survive a kill, shared among processes, published as one folder.

    blocks ─► rows of a shard ─► BatchEmbedder ─► shards-KEY/000000.npy ─┐   each process every count-th shard
                                                  shards-KEY/000001.npy ─┴─► the first: *.f16, (*.i8), vectors.json

KEY is a digest of all that the vectors depend on, so a shard that is there need not be made again, and shards of other
weights are never mistaken for it. `vectors.json` is written last and names the parents. Read `embed_corpus` first.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from realm.artifacts import sha256_of_text
from realm.corpus.chunking import MAX_PIECES
from realm.errors import CorruptFileError, ModelError, UsageError
from realm.features.inputs import InputBuilder
from realm.index.code_segments import CodeSegment
from realm.index.codes import CodeWriter
from realm.index.segments import NUMBER
from realm.index.vectors import VectorWriter
from realm.models.embedder import RealmEmbedder
from realm.openqa.batch_embedding import BatchEmbedder
from realm.training.array_files import holds_array, write_array
from realm.training.block_source import BlockSource
from realm.training.corpus_vectors import FORMAT, MANIFEST, CorpusVectors, Parents, weights_digest, write_manifest
from realm.training.distributed import Processes
from realm.training.embedding_progress import EmbeddingProgress, Watch

ROWS_PER_SHARD = 4096
_POLL_SECONDS = 0.2
_PATIENCE_SECONDS = 3600.0


def embed_corpus(
    blocks: BlockSource,
    embedder: RealmEmbedder,
    builder: InputBuilder,
    folder: Path,
    *,
    embedder_digest: str | None = None,
    max_pieces: int = MAX_PIECES,
    rows_per_shard: int = ROWS_PER_SHARD,
    processes: Processes = Processes(),  # noqa: B008 - frozen
    resume: bool = True,
    progress: Callable[[EmbeddingProgress], None] | None = None,
    patience_seconds: float = _PATIENCE_SECONDS,
) -> CorpusVectors:
    """Embed all blocks; every process makes its share of shards, the first one puts them together.

    Args:
        blocks: The corpus.
        embedder: In evaluation mode, on its device and in the number format to compute in.
        builder: Of the model's tokenizer.
        folder: Where shards and vectors go; the same one for all processes.
        embedder_digest: `weights_digest` of the weights as they were exported, if they have been cast since.
        max_pieces: Longest input; never more than the embedder takes.
        rows_per_shard: What is lost by a kill, at most. Vectors may depend on it in their last bits.
        processes: This process among those that share the work.
        resume: Use shards and vectors that are there already.
        progress: Called now and then, from several threads in turn. An error it raises stops the work.
        patience_seconds: How long to wait for another process without a new shard of anyone.

    Raises:
        ModelError: A vector is not finite.
        UsageError: Another process has stopped, or writes to another folder.
    """
    config = embedder.config
    parents = Parents(
        embedder_digest or weights_digest(embedder.state_dict(), config),
        blocks.digest, blocks.tokenizer_digest, min(max_pieces, config.max_position_embeddings),
    )  # fmt: skip
    if resume and (there := _published(folder, parents)) is not None:
        return there
    dtype = str(embedder.dtype).removeprefix("torch.")
    key = sha256_of_text(json.dumps([FORMAT, dataclasses.astuple(parents), rows_per_shard, dtype]))[:16]
    work = _Work(blocks, BatchEmbedder(embedder, builder), builder, folder / f"shards-{key}", parents, rows_per_shard)
    if not resume and processes.is_first:
        shutil.rmtree(work.folder, ignore_errors=True)
        (folder / MANIFEST).unlink(missing_ok=True)
    if not resume:
        processes.barrier()
    work.folder.mkdir(parents=True, exist_ok=True)
    work.make(processes.share(work.shards), progress)
    if processes.is_first:
        work.wait_for_all(patience_seconds)
        _publish(folder, work, with_codes=embedder.device.type == "cpu")
    else:

        def is_published() -> bool:
            return _published(folder, parents) is not None

        work.wait_for_all(patience_seconds, is_published)
        wait_until(is_published, patience_seconds, f"{folder / MANIFEST} by process 0")
    return CorpusVectors.open(folder)


class _Work:
    """The shards of one corpus and embedder."""

    def __init__(
        self,
        blocks: BlockSource,
        embed: BatchEmbedder,
        builder: InputBuilder,
        folder: Path,
        parents: Parents,
        rows: int,
    ) -> None:
        self.folder, self.parents, self.dim = folder, parents, embed.dim
        self.shards = range(math.ceil(len(blocks) / rows))
        self._blocks, self._embed, self._builder, self._rows = blocks, embed, builder, rows

    def make(self, shards: Sequence[int], progress: Callable[[EmbeddingProgress], None] | None) -> None:
        """Make those that are not there yet."""
        missing = [shard for shard in shards if not self._is_there(shard)]
        total, left = (sum(len(self._rows_of(shard)) for shard in part) for part in (shards, missing))
        watch = Watch(total, total - left, progress)
        for shard in missing:
            write_array(self._path(shard), self._vectors_of(shard, watch.add))
        watch.say()

    def wait_for_all(self, patience_seconds: float, is_published: Callable[[], bool] = lambda: False) -> None:
        """Until the other processes have made theirs, or all have been put together and taken away."""

        def is_made(shard: int) -> bool:
            return self._is_there(shard) or is_published()

        for shard in self.shards:
            # Anew for every shard: somebody is at work as long as new ones come.
            wait_until(partial(is_made, shard), patience_seconds, f"{self._path(shard)}")

    def vectors(self) -> Iterator[NDArray[np.float16]]:
        """All shards in order."""
        for shard in self.shards:
            yield np.load(self._path(shard), allow_pickle=False)

    def _vectors_of(self, shard: int, report: Callable[[int], None]) -> NDArray[np.float16]:
        rows = self._rows_of(shard)
        max_pieces = self.parents.max_pieces
        inputs = [self._builder.block(b.title_ids, b.body_ids, max_pieces) for b in self._blocks.take(rows)]
        with np.errstate(over="ignore"):
            vectors = self._embed(inputs, report).astype(NUMBER)
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(bad):
            raise ModelError(
                f"the vector of block {rows[bad[0]]:,} has a number that is NaN, infinite or over 65,504 (so have "
                f"{len(bad):,} of {len(rows):,} blocks): the embedder is broken. Go back to an earlier checkpoint."
            )
        return vectors

    def _is_there(self, shard: int) -> bool:
        return holds_array(self._path(shard), (len(self._rows_of(shard)), self.dim), NUMBER)

    def _rows_of(self, shard: int) -> range:
        return range(shard * self._rows, min((shard + 1) * self._rows, len(self._blocks)))

    def _path(self, shard: int) -> Path:
        return self.folder / f"{shard:06d}.npy"


def wait_until(is_there: Callable[[], bool], patience_seconds: float, what: str) -> None:
    """Look now and then, with sleep in between.

    Raises:
        UsageError: It is still not there after so long.
    """
    deadline = time.monotonic() + patience_seconds
    while not is_there():
        if time.monotonic() > deadline:
            raise UsageError(
                f"waited {patience_seconds:,.0f} s for {what}: the process that makes it has stopped, or the folder is "
                "not shared between the machines. Look at its output, and start all processes again."
            )
        time.sleep(_POLL_SECONDS)


def _published(folder: Path, parents: Parents) -> CorpusVectors | None:
    """Vectors of these parents, if they are there."""
    try:
        found = CorpusVectors.open(folder)
    except CorruptFileError:
        return None
    return found if found.parents == parents else None


def _publish(folder: Path, work: _Work, *, with_codes: bool) -> None:
    """Put shards together, then write the manifest, then take the shards away."""
    (folder / MANIFEST).unlink(missing_ok=True)
    codes: tuple[CodeSegment, ...] = ()
    with VectorWriter(folder, work.dim) as vectors, CodeWriter(folder, work.dim) as coded:
        for part in work.vectors():
            vectors.append(part)
            if with_codes:
                coded.append(part)
        segments = vectors.publish()
        if with_codes:
            codes = coded.publish()
    write_manifest(folder, work.parents, work.dim, segments, codes)
    for shards in folder.glob("shards-*"):
        shutil.rmtree(shards, ignore_errors=True)
