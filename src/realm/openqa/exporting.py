"""A knowledge base in other people's formats: for transformers 4.37.2, and as flat files of blocks and vectors.

Every export leaves out the rows whose documents are gone, and keeps the others in their order: row i of one is
row i of the others, as long as no new version is made in between.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from realm.errors import CorruptFileError, UsageError
from realm.interop.block_table import COLUMNS, PIECE_COLUMNS, require_known_name, write_block_table
from realm.interop.huggingface_folder import BLOCK_EMB, BLOCK_RECORDS_FILE
from realm.interop.legacy_records import write_block_records
from realm.interop.npy_stream import write_npy
from realm.interop.release import TITLES_FILE, is_model_weight, tensor_stream, write_model_files
from realm.interop.safetensors_stream import TensorStream
from realm.interop.staging import staged_file, staged_folder
from realm.interop.tfrecord import write_tfrecord
from realm.models.checkpoints import Checkpoint, refusing
from realm.models.configuration import RealmConfig
from realm.openqa.ask import OpenQA
from realm.openqa.knowledge_base import KnowledgeBase
from realm.text.tokenization import RealmTokenizerFast

if TYPE_CHECKING:
    import pyarrow

_ROWS_AT_ONCE = 8192

Progress = Callable[[int, int, float], None]
"""Is told, after every step, what is done, of how much in all, and seconds so far."""


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export did.

    Attributes:
        rows: How many blocks were written.
        version: Version of the knowledge base.
        seconds: Time it took.
    """

    rows: int
    version: int
    seconds: float


class _Watch:
    """Counts rows on their way out, over several passes."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._begin = time.monotonic()
        self._total = total
        self._done = 0
        self._progress = progress

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begin

    def add(self, rows: int) -> None:
        self._done += rows
        if self._progress is not None:
            self._progress(self._done, self._total, self.seconds)


def export_huggingface(kb: Path, out: Path, *, force: bool = False, progress: Progress | None = None) -> ExportReport:
    """Write the folder that `RealmForOpenQA` and `RealmRetriever` of transformers 4.37.2 load.

    Weights stand in it as the model folder has them, block_emb in 32-bit floats. Where questions have an embedder of
    their own, that is the one written, as in the releases: 4.37.2 embeds questions alone. Titles are written beside, in
    `titles.tfr`, which 4.37.2 does not read and `realm import huggingface` does.

    Args:
        kb: The knowledge base.
        out: The folder to be made.
        force: Replace such a folder.
        progress: Called after every step.

    Raises:
        KnowledgeBaseError: There is no knowledge base, or its model has changed.
        UsageError: `out` is there already.
    """
    qa = OpenQA.load(kb)
    qa.knowledge_base.require_embedded()
    base, model = qa.knowledge_base, qa.model
    _require_outside(out, kb)
    _require_outside(out, model.folder)
    rows = base.live_blocks
    watch = _Watch(3 * rows, progress)
    with refusing(model.folder):
        config = RealmConfig.from_pretrained(model.folder)
        tokenizer = RealmTokenizerFast.from_pretrained(model.folder)
        checkpoint = Checkpoint(model.folder)
        weights = {
            name: tensor_stream(partial(checkpoint.__getitem__, stored))
            for name, stored in _known_to_transformers(checkpoint, config.separate_query_embedder).items()
        }
    config.num_block_records = rows
    config.separate_query_embedder = False
    weights[BLOCK_EMB] = TensorStream(torch.float32, (rows, base.manifest.dim), partial(_tensors, base, watch))
    with staged_folder(out, marker=BLOCK_RECORDS_FILE, force=force) as folder:
        write_model_files(folder, config, weights, tokenizer)
        write_block_records(folder / BLOCK_RECORDS_FILE, _column(base, "text", watch))
        write_tfrecord(folder / TITLES_FILE, _column(base, "title", watch))
    return ExportReport(rows, base.manifest.version, watch.seconds)


def _known_to_transformers(names: Iterable[str], has_question_embedder: bool) -> dict[str, str]:
    """Where the weights that 4.37.2 knows stand in a checkpoint with these names, by the names it has for them."""
    kept = sorted(filter(is_model_weight, names))
    if not has_question_embedder:
        return {name: name for name in kept}
    return {name.removeprefix("query_"): name for name in kept if not name.startswith("embedder.")}


def export_blocks(
    kb: Path, out: Path, *, token_ids: bool = False, force: bool = False, progress: Progress | None = None
) -> ExportReport:
    """Write the blocks as Parquet or JSON lines; `interop.block_table` says what the columns are.

    Args:
        kb: The knowledge base.
        out: The file; its ending says the format.
        token_ids: Write word pieces of text and title, too.
        force: Replace a file that is there.
        progress: Called after every step.

    Raises:
        KnowledgeBaseError: There is no knowledge base.
        UsageError: `out` is there already, or has an ending that is not known.
    """
    base = KnowledgeBase.open(kb)
    _require_outside(out, kb)
    ending = require_known_name(out)
    columns = (*COLUMNS, *(PIECE_COLUMNS if token_ids else ()))
    whole = base.blocks.schema()
    schema = whole.empty_table().select(list(columns)).schema
    watch = _Watch(base.live_blocks, progress)
    with staged_file(out, force=force) as path:
        write_block_table(path, ending, _live_blocks(base, columns, watch), schema)
    return ExportReport(base.live_blocks, base.manifest.version, watch.seconds)


def export_vectors(kb: Path, out: Path, *, force: bool = False, progress: Progress | None = None) -> ExportReport:
    """Write the vectors as a `.npy` matrix of 16-bit floats, which numpy maps into memory.

    Args:
        kb: The knowledge base.
        out: The file.
        force: Replace a file that is there.
        progress: Called after every step.

    Raises:
        KnowledgeBaseError: There is no knowledge base.
        UsageError: `out` is there already, or its name does not end in `.npy`.
    """
    base = KnowledgeBase.open(kb)
    base.require_embedded()
    _require_outside(out, kb)
    if out.suffix != ".npy":
        raise UsageError(f"{out}: vectors are written as .npy; give such a name.")
    watch = _Watch(base.live_blocks, progress)
    with staged_file(out, force=force) as path:
        write_npy(path, (base.live_blocks, base.manifest.dim), np.dtype("<f2"), _live_vectors(base, watch))
    return ExportReport(base.live_blocks, base.manifest.version, watch.seconds)


def _require_outside(out: Path, folder: Path) -> None:
    """Refuse to write into, or over, what is read."""
    out, folder = out.resolve(), folder.resolve()
    if out.is_relative_to(folder) or folder.is_relative_to(out):
        raise UsageError(f"{out} and {folder} are in one another; write to a place that is apart.")


def _live(base: KnowledgeBase, first: int, count: int) -> NDArray[np.bool_]:
    """Which of `count` rows from `first` on are not gone."""
    live = np.ones(count, dtype=np.bool_)
    start, end = np.searchsorted(base.tombstones, (first, first + count))
    live[base.tombstones[start:end] - first] = False
    return live


def _live_vectors(base: KnowledgeBase, watch: _Watch) -> Iterator[NDArray[np.float16]]:
    for first, vectors in base.vectors.chunks(_ROWS_AT_ONCE):
        kept = vectors[_live(base, first, len(vectors))]
        yield kept
        watch.add(len(kept))


def _tensors(base: KnowledgeBase, watch: _Watch) -> Iterator[Tensor]:
    for vectors in _live_vectors(base, watch):
        yield torch.from_numpy(vectors.astype(np.float32))


def _live_blocks(base: KnowledgeBase, columns: Sequence[str], watch: _Watch) -> Iterator[pyarrow.RecordBatch]:
    """Columns of the blocks that are not gone.

    Raises:
        CorruptFileError: Rows are not where they were written.
    """
    import pyarrow

    seen = 0
    for batch in base.blocks.batches(["row", *columns], batch_rows=_ROWS_AT_ONCE):
        rows = batch["row"].to_numpy(zero_copy_only=False)
        if not np.array_equal(rows, np.arange(seen, seen + len(rows))):
            raise CorruptFileError(f"{base.blocks.path}: rows are not where they were written, near row {seen:,}.")
        kept = batch.select(list(columns)).filter(pyarrow.array(_live(base, seen, len(rows))))
        seen += len(rows)
        yield kept
        watch.add(len(kept))


def _column(base: KnowledgeBase, name: str, watch: _Watch) -> Iterator[bytes]:
    for batch in _live_blocks(base, [name], watch):
        for value in batch[name].to_pylist():
            yield value.encode()
