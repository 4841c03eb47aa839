"""The files of `salient_store`: written block by block, mapped into memory, checked against what was written.

Knows numbers and the layout of the files, no taggers. The layout is drawn in `salient_store`.
"""

from __future__ import annotations

import dataclasses
import json
import os
from array import array
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from realm.artifacts import write_json_atomically
from realm.errors import CorruptFileError, SourceError
from realm.text.salient import SalientSentence

FORMAT: Final = 1
_ENTRY: Final = "salient.json"
_BLOCKS_BETWEEN_REPORTS: Final = 512
# Type code of `array`, and numbers in a row.
FILES: Final[dict[str, tuple[str, int]]] = {
    "first_sentences": ("q", 1), "sentences": ("i", 2), "first_spans": ("q", 1), "spans": ("i", 3), "digests": ("Q", 1),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """What `salient.json` says."""

    format: int
    corpus: str
    tagger: str
    kinds: list[str]
    blocks: int
    sentences: int
    spans: int

    def rows(self, name: str) -> int:
        """How many rows a file has."""
        return {
            "first_sentences": self.blocks + 1, "sentences": self.sentences, "first_spans": self.sentences + 1,
            "spans": self.spans, "digests": self.blocks,
        }[name]  # fmt: skip


def write_files(
    folder: Path,
    found: Iterable[tuple[int, Sequence[SalientSentence]]],
    corpus: str,
    tagger: str,
    progress: Callable[[int], None] | None,
) -> None:
    """Write all files into an empty folder, `salient.json` last.

    Raises:
        SourceError: No block has a salient span.
    """
    kinds: dict[str, int] = {}
    blocks = sentences = spans = 0
    with ExitStack() as stack:
        files = {name: stack.enter_context((folder / f"{name}.bin").open("wb")) for name in FILES}
        for digest, group in found:
            rows: dict[str, list[int]] = {name: [] for name in FILES}
            rows["digests"].append(digest)
            rows["first_sentences"].append(sentences)
            for sentence in group:
                rows["sentences"] += (sentence.start, sentence.end)
                rows["first_spans"].append(spans)
                for span in sentence.spans:
                    rows["spans"] += (span.start, span.end, kinds.setdefault(span.kind, len(kinds)))
                spans += len(sentence.spans)
            for name, numbers in rows.items():
                files[name].write(array(FILES[name][0], numbers).tobytes())
            sentences += len(group)
            blocks += 1
            if progress is not None and blocks % _BLOCKS_BETWEEN_REPORTS == 0:
                progress(blocks)
        files["first_sentences"].write(array("q", [sentences]).tobytes())
        files["first_spans"].write(array("q", [spans]).tobytes())
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
    if not spans:
        raise _nothing_to_mask(blocks)
    entry = Entry(FORMAT, corpus, tagger, list(kinds), blocks, sentences, spans)
    write_json_atomically(folder / _ENTRY, dataclasses.asdict(entry))


def _nothing_to_mask(blocks: int) -> SourceError:
    return SourceError(
        f"None of {blocks:,} blocks has a name or a date to mask. Is the text English, with capital letters? "
        'Other taggers can be given, and masking = "random_span" needs none.'
    )


def mapped(folder: Path, name: str, entry: Entry) -> NDArray[Any]:
    """A file as an array that is read where it is used.

    Raises:
        CorruptFileError: It is missing, or has another size than was written.
    """
    code, columns = FILES[name]
    rows, path = entry.rows(name), folder / f"{name}.bin"
    expected = rows * columns * array(code).itemsize
    try:
        size = path.stat().st_size
        if size != expected:
            raise _damaged(path, f"{size:,} bytes, where {expected:,} were written")
        return np.memmap(path, dtype=np.dtype(code), mode="r", shape=(rows,) if columns == 1 else (rows, columns))
    except OSError as exc:
        raise _damaged(path, str(exc)) from exc


def read_entry(folder: Path) -> Entry:
    """What the folder holds.

    Raises:
        CorruptFileError: There is no such folder, or it is of another format.
    """
    path = folder / _ENTRY
    try:
        entry = Entry(**json.loads(path.read_text(encoding="utf-8")))
        is_sound = entry.format == FORMAT and min(entry.blocks, entry.sentences, entry.spans) > 0
    except (OSError, ValueError, TypeError) as exc:
        raise _damaged(path, str(exc)) from exc
    if not is_sound:
        raise _damaged(path, "of another format, or empty")
    return entry


def _damaged(path: Path, reason: str) -> CorruptFileError:
    return CorruptFileError(f"{path} cannot be used ({reason}). Delete the folder; it is made anew.")
