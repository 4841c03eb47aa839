"""One Lance dataset on disk: opened at a version, appended to, taken from. The border where Lance's errors
become ours.

Knows Lance and Arrow tables, not what a row means: that is `store`'s. Lance is imported when a dataset is
touched, not before.

    version n ──append──> version n + 1        a reader that opened n keeps seeing n
    version n, and a newer one left by a killed writer ──append──> n is made the newest again first

Lance runs threads of its own and does not survive `fork`: start processes that use it with `spawn`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from realm.errors import CorruptFileError, KnowledgeBaseError, RealmError

if TYPE_CHECKING:
    import pyarrow

_REBUILD = "Rebuild the knowledge base with: realm index SOURCE... --kb NEW_FOLDER"


class LanceTable:
    """Base of the stores. Every writing method leaves the object at the version it wrote.

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
        with _errors(KnowledgeBaseError, f"{path}: {wanted} cannot be opened"):
            dataset = lance.dataset(str(path), version=version)
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
            yield from self._dataset.to_batches(columns=names, offset=start or None, batch_size=batch_rows)

    def merge_files(self) -> None:
        """Merge the small files that appends leave. Rows keep their order; older versions stay readable."""
        self._make_newest()
        with self._writing():
            self._dataset.optimize.compact_files()

    def drop_old_versions(self) -> None:
        """Delete every version but this one, and the files only they need. Nobody may be using them."""
        self._make_newest()
        with self._writing():
            self._dataset.cleanup_old_versions(retain_versions=1, delete_unverified=True)

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

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with _errors(CorruptFileError, f"{self.path}: version {self.version} cannot be read. {_REBUILD}"):
            yield

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
    except (OSError, ValueError, RuntimeError, KeyError) as exc:
        reason = str(exc).split(", /")[0].split("\n")[0]
        raise kind(f"{message} ({reason})") from exc
