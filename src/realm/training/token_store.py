"""Blocks with their word pieces in one memory-mapped file, made once and then taken by row.

    tokens-KEY/blocks.arrow    Arrow file: id, title, text, title_ids, body_ids; `ROWS_PER_BATCH` rows a batch
    tokens-KEY/store.json      how many rows, their digest, the tokenizer's, and the file's size

A folder appears whole, by one rename. Nothing but pyarrow is needed, and memory is that of a batch, however many
rows there are. Knows neither where blocks come from nor what they are for. Read `TokenStore` first.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from realm.artifacts import sha256_of_text, sync_directory, write_json_atomically
from realm.errors import CorruptFileError
from realm.text.pieces import PieceTokenizer

if TYPE_CHECKING:
    import pyarrow

T = TypeVar("T")

FORMAT = 1
ROWS_PER_BATCH = 4096
_BLOCKS = "blocks.arrow"
_STORE = "store.json"


class TrainingBlock(NamedTuple):
    """A block as training sees it.

    Attributes:
        id: Stable: digest of its document's id and content, and of its place there.
        title: Title of its document; may be empty.
        text: The passage, verbatim.
        title_ids: Word pieces of the title, cut to half of the room a block has.
        body_ids: Word pieces of the text.
    """

    id: str
    title: str
    text: str
    title_ids: list[int]
    body_ids: list[int]


@dataclass(frozen=True, slots=True)
class StoreEntry:
    """What `store.json` says.

    Attributes:
        format: Of the store.
        rows: How many blocks there are.
        digest: Of all rows in their order: ids, titles, texts and word pieces.
        tokenizer: `tokenizer_digest` of the tokenizer that made the pieces.
        bytes: Size of the file of blocks.
    """

    format: int
    rows: int
    digest: str
    tokenizer: str
    bytes: int


def tokenizer_digest(tokenizer: PieceTokenizer) -> str:
    """Digest of all that a tokenizer's pieces depend on: vocabulary, normaliser, borders of words."""
    return sha256_of_text(tokenizer._tokenizer.to_str())


class TokenStore:
    """Blocks by row, straight from the file.

    Attributes:
        folder: Where it is.
        digest: Names the corpus: of the content, so the same wherever and of whatever it was made.
        tokenizer_digest: Names the tokenizer.
    """

    def __init__(self, folder: Path) -> None:
        """Map the file into memory; nothing is read yet.

        Raises:
            CorruptFileError: There is no such store, or it is not what `store.json` says.
        """
        self.folder = folder
        self._entry = _read_entry(folder)
        self.digest, self.tokenizer_digest = self._entry.digest, self._entry.tokenizer
        self._reader = self._open()
        self._batches: dict[int, _Batch] = {}

    def __len__(self) -> int:
        return self._entry.rows

    def take(self, rows: Sequence[int]) -> list[TrainingBlock]:
        """The blocks at `rows`, in their order; a row may be asked for more than once.

        Raises:
            IndexError: There is no such row.
            CorruptFileError: The file is damaged.
        """
        return [self._at(row, _Batch.block) for row in rows]

    def utf8_texts(self, rows: Sequence[int]) -> list[bytes]:
        """The texts alone of the blocks at `rows`, at a tenth of the cost of `take`; errors are the same."""
        return [self._at(row, _Batch.utf8_text) for row in rows]

    def verify(self) -> None:
        """Read all rows and compare their digest.

        Raises:
            CorruptFileError: They are not those that were written.
        """
        digest = hashlib.sha256()
        for place in range(self._reader.num_record_batches):
            batch = self._load(place)
            batch.columns.validate(full=True)
            for inside in range(batch.columns.num_rows):
                _count(digest, batch.block(inside))
        if digest.hexdigest() != self.digest:
            raise self._damaged("rows are not those that were written")

    def _at(self, row: int, read: Callable[[_Batch, int], T]) -> T:
        row = int(row)
        if not 0 <= row < self._entry.rows:
            raise IndexError(f"row {row:,} was asked for; there are {self._entry.rows:,}")
        place, inside = divmod(row, ROWS_PER_BATCH)
        batch = self._batches.get(place) or self._load(place)
        try:
            return read(batch, inside)
        except (ValueError, IndexError) as exc:
            raise self._damaged(f"row {row:,}: {exc}") from exc

    def _open(self) -> Any:
        import pyarrow
        from pyarrow import ipc

        path = self.folder / _BLOCKS
        try:
            size = path.stat().st_size
            if size != self._entry.bytes:
                raise self._damaged(f"{size:,} bytes, where {self._entry.bytes:,} were written")
            reader = ipc.open_file(pyarrow.memory_map(str(path)))
        except (OSError, pyarrow.ArrowException) as exc:
            raise self._damaged(str(exc).partition("\n")[0]) from exc
        if reader.num_record_batches != -(-self._entry.rows // ROWS_PER_BATCH) or reader.schema != _schema():
            raise self._damaged("other columns or batches than were written")
        return reader

    def _load(self, place: int) -> _Batch:
        import pyarrow

        try:
            batch = self._batches[place] = _Batch(self._reader.get_batch(place))
        except (OSError, pyarrow.ArrowException) as exc:
            raise self._damaged(str(exc).partition("\n")[0]) from exc
        return batch

    def _damaged(self, reason: str) -> CorruptFileError:
        return CorruptFileError(f"{self.folder / _BLOCKS} is damaged ({reason}). Delete the folder; it is made anew.")


class _Batch:
    """Some rows, opened: nothing of it is copied before a row is asked for."""

    def __init__(self, columns: pyarrow.RecordBatch) -> None:
        self.columns = columns
        self._texts = [columns.column(place) for place in range(3)]
        self._pieces = [_opened(columns.column(place)) for place in (3, 4)]

    def block(self, row: int) -> TrainingBlock:
        id, title, text = (column[row].as_py() for column in self._texts)
        title_ids, body_ids = (values[ends[row] : ends[row + 1]].tolist() for ends, values in self._pieces)
        return TrainingBlock(id, title, text, title_ids, body_ids)

    def utf8_text(self, row: int) -> bytes:
        return bytes(self._texts[2][row].as_buffer())


def _opened(column: pyarrow.ListArray) -> tuple[NDArray[np.int32], NDArray[np.uint16]]:
    """Borders of the rows of a column of lists, and the numbers in them."""
    return column.offsets.to_numpy(), column.values.to_numpy()


def write_store(
    folder: Path,
    blocks: Iterable[TrainingBlock],
    tokenizer: str,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Write blocks as a store, a batch at a time.

    Args:
        folder: Is there and empty; renaming it to where it is looked for is the caller's affair.
        blocks: In the order of their rows.
        tokenizer: `tokenizer_digest` of the tokenizer that made their pieces.
        progress: Is told how many blocks are written, after every batch.

    Returns:
        How many blocks there are.
    """
    import pyarrow
    from pyarrow import ipc

    path, digest, rows = folder / _BLOCKS, hashlib.sha256(), 0
    left = iter(blocks)
    with pyarrow.OSFile(str(path), "wb") as file, ipc.new_file(file, _schema()) as writer:
        while batch := list(islice(left, ROWS_PER_BATCH)):
            for block in batch:
                _count(digest, block)
            writer.write_batch(_as_batch(batch))
            rows += len(batch)
            if progress is not None:
                progress(rows)
    with path.open("rb") as written:
        os.fsync(written.fileno())
    entry = StoreEntry(FORMAT, rows, digest.hexdigest(), tokenizer, path.stat().st_size)
    write_json_atomically(folder / _STORE, dataclasses.asdict(entry))
    sync_directory(folder)
    return rows


def _schema() -> pyarrow.Schema:
    import pyarrow as pa

    texts = [(name, pa.large_string()) for name in ("id", "title", "text")]
    return pa.schema([*texts, *((name, pa.list_(pa.uint16())) for name in ("title_ids", "body_ids"))])


def _as_batch(blocks: Sequence[TrainingBlock]) -> pyarrow.RecordBatch:
    import pyarrow as pa

    schema = _schema()
    columns: list[Any] = list(zip(*blocks, strict=True))
    arrays = [pa.array(columns[place], schema.field(place).type) for place in range(3)]
    for lists in columns[3:]:
        ends = np.cumsum([0, *map(len, lists)], dtype=np.int32)
        numbers = np.fromiter((number for part in lists for number in part), np.uint16, ends[-1])
        arrays.append(pa.ListArray.from_arrays(pa.array(ends), pa.array(numbers)))
    return pa.record_batch(arrays, schema=schema)


def _count(digest: Any, block: TrainingBlock) -> None:
    """Add a row to the digest; lengths stand before the parts, so that no two rows give the same bytes."""
    parts = [part.encode("utf-8", "surrogatepass") for part in block[:3]]
    parts += [np.asarray(ids, dtype="<u2").tobytes() for ids in block[3:]]
    digest.update(struct.pack("<5Q", *map(len, parts)))
    digest.update(b"".join(parts))


def _read_entry(folder: Path) -> StoreEntry:
    path = folder / _STORE
    try:
        entry = StoreEntry(**json.loads(path.read_text(encoding="utf-8")))
        is_sound = entry.format == FORMAT and entry.rows > 0 and entry.bytes > 0
    except (OSError, ValueError, TypeError) as exc:
        raise CorruptFileError(f"{path} cannot be read ({exc}). Delete the folder; it is made anew.") from exc
    if not is_sound:
        raise CorruptFileError(f"{path} is of another format. Delete the folder; it is made anew.")
    return entry
