"""One Lance dataset on disk: opened at a version, appended to, taken from. The border where Lance's errors
become ours.

Knows Lance and Arrow tables, not what a row means: that is `store`'s. Lance is imported when a dataset is
touched, not before.

    version n ──append──> version n + 1        a reader that opened n keeps seeing n
    version n, and a newer one left by a killed writer ──append──> n is made the newest again first

Files are never changed, only added, and their names are never used again: a version is a set of files
(`LanceTable.files`), and whoever deletes those that no wanted version names takes nothing from anybody else.
Lance runs threads of its own and does not survive `fork`: start processes that use it with `spawn`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from realm.errors import CorruptFileError, KnowledgeBaseError, RealmError

if TYPE_CHECKING:
    import pyarrow

ROWS_PER_FILE = 1 << 20
"""A finished file holds about so many rows."""
ROWS_PER_MERGE = 1 << 15
"""Files of fewer rows are small: merged when there are many of them."""
SMALL_FILES = 64
"""So many small files are too many."""

_CACHE_BYTES = 128 << 20
_PANIC = "PanicException"
_LAST_VERSION = (1 << 64) - 1
_ROWS_AT_ONCE = 1024
_REBUILD = "Rebuild the knowledge base with: realm index SOURCE... --kb NEW_FOLDER"


class LanceTable:
    """A table whose schema the subclass gives. Every writing method leaves the object at the version it wrote.

    Attributes:
        path: The dataset's folder.
    """

    def __init__(self, path: Path, dataset: Any) -> None:
        self.path = path
        self._dataset = dataset

    @classmethod
    def schema(cls) -> pyarrow.Schema:
        """Columns and their types."""
        raise NotImplementedError

    @classmethod
    def create(cls, path: Path) -> Self:
        """Make an empty dataset at `path`.

        Raises:
            KnowledgeBaseError: There is something at `path` already, or it cannot be written.
        """
        import lance

        if path.exists():
            raise KnowledgeBaseError(f"{path}: there is something here already; choose another folder")
        with _errors(KnowledgeBaseError, f"{path}: cannot be made"):
            return cls(path, lance.write_dataset(cls.schema().empty_table(), str(path), mode="create"))

    @classmethod
    def open(cls, path: Path, version: int | None = None) -> Self:
        """Open the dataset at `path` as it was at `version`; the newest unless given.

        Raises:
            KnowledgeBaseError: There is no dataset, or not that version of it.
            CorruptFileError: Its columns are not those expected.
        """
        import lance

        if not path.is_dir():
            raise KnowledgeBaseError(f"{path}: missing; this is no complete knowledge base")
        wanted = "the newest version" if version is None else f"version {version}"
        with _errors(KnowledgeBaseError, f"{path}: {wanted} cannot be opened. {_REBUILD}"):
            dataset = lance.dataset(
                str(path), version, index_cache_size_bytes=_CACHE_BYTES, metadata_cache_size_bytes=_CACHE_BYTES
            )
        if dataset.schema.names != cls.schema().names:
            found = ", ".join(dataset.schema.names)
            raise CorruptFileError(f"{path}: columns are {found}; expected {', '.join(cls.schema().names)}")
        return cls(path, dataset)

    @property
    def version(self) -> int:
        """Number of the version this object reads, for the manifest."""
        return int(self._dataset.version)

    def __len__(self) -> int:
        """Rows of this version."""
        with self._reading():
            return int(self._dataset.count_rows())

    def files(self) -> list[str]:
        """Every file that this version, which must be the newest, is made of; relative to `path`."""
        self._make_newest()
        with self._reading():
            table = self._dataset.tracked_files(min_version=self.version).read_all()
        pairs = zip(table["version"].to_pylist(), table["path"].to_pylist(), strict=True)
        return sorted({path for version, path in pairs if version == self.version})

    def batches(
        self, columns: Sequence[str] | None = None, *, start: int = 0, batch_rows: int = 4096
    ) -> Iterator[pyarrow.RecordBatch]:
        """All rows in order, in batches of at most `batch_rows`.

        Args:
            columns: Which columns to read, in which order; all of them unless given.
            start: Row to begin with.
            batch_rows: Most rows in a batch.
        """
        names = None if columns is None else list(columns)
        with self._reading():
            yield from self._dataset.to_batches(
                columns=names, offset=start or None, batch_size=batch_rows, batch_readahead=2, fragment_readahead=1
            )

    def small_files(self) -> int:
        """How many small files there are."""
        return sum(fragment.physical_rows < ROWS_PER_MERGE for fragment in self._dataset.get_fragments())

    def merge_small_files(self, most: int = SMALL_FILES) -> bool:
        """Merge small files if there are more of them than `most`, as many appends leave them; says whether.

        What is merged grows until it is small no longer, so that in a run of n rows no row is written more than a few
        times.
        """
        is_due = self.small_files() > most and self._files_to_merge() > most
        if is_due:
            self.merge_files(rows_per_file=ROWS_PER_MERGE)
        return is_due

    def _files_to_merge(self) -> int:
        """How many small files `merge_files` can merge."""
        return self.small_files()

    def merge_files(self, *, rows_per_file: int = ROWS_PER_FILE) -> None:
        """Merge files of fewer rows, without the deleted ones. Rows keep their order; older versions stay readable."""
        self._make_newest()
        with self._writing():
            self._dataset.optimize.compact_files(
                target_rows_per_fragment=rows_per_file,
                materialize_deletions_threshold=0.0,
                batch_size=_ROWS_AT_ONCE,
                num_threads=1,
            )

    def _replace_rows(self, batches: Iterable[pyarrow.RecordBatch]) -> None:
        """Put other rows, one batch at a time, in the place of all there are, as a new version without indexes."""
        import lance
        import pyarrow as pa

        self._make_newest()
        reader = pa.RecordBatchReader.from_batches(self.schema(), batches)
        with self._writing():
            self._dataset = lance.write_dataset(
                reader, self._dataset, schema=self.schema(), mode="overwrite", max_rows_per_file=ROWS_PER_FILE
            )

    def _append(self, table: pyarrow.Table) -> None:
        import lance

        self._make_newest()
        with self._writing():
            self._dataset = lance.write_dataset(table, self._dataset, schema=self.schema(), mode="append")

    def _make_newest(self) -> None:
        """Drop newer versions: a writer was killed before its rows became part of a knowledge base."""
        with self._writing():
            if self._dataset.latest_version != self._dataset.version:
                self._dataset.restore()

    def _require_version(self) -> None:
        """Raise if this version has been deleted since it was opened: then its rows may be gone as well."""
        names = (f"{_LAST_VERSION - self.version:020d}.manifest", f"{self.version}.manifest")  # Lance has two ways
        if not any((self.path / "_versions" / name).exists() for name in names):
            raise KnowledgeBaseError(
                f"{self.path}: version {self.version} was dropped by realm compact after it had been opened. "
                "Open the knowledge base again."
            )

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            with _errors(CorruptFileError, f"{self.path}: version {self.version} cannot be read. {_REBUILD}"):
                yield
        except CorruptFileError:
            self._require_version()
            raise

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with _errors(KnowledgeBaseError, f"{self.path}: cannot be written"):
            yield


@contextmanager
def _errors(kind: type[KnowledgeBaseError], message: str) -> Iterator[None]:
    """Turn Lance's and Arrow's errors into `kind`, with the reason, without the place in Lance's source."""
    try:
        yield
    except RealmError:
        raise
    except BaseException as exc:
        # A panic in Lance's Rust is no Exception, so that it would pass all handlers.
        if not isinstance(exc, OSError | ValueError | RuntimeError | KeyError) and type(exc).__name__ != _PANIC:
            raise
        reason = str(exc).split(", /")[0].split("\n")[0]
        raise kind(f"{message} ({reason})") from exc
