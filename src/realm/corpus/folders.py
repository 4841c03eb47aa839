"""The files of a source: a file itself, or all of a folder that can be read, in a stable order.

Knows folders, links and the layout of Hugging Face datasets on disk, not what files hold. Read `files_of` first.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from realm.corpus.lines import read_whole
from realm.corpus.skips import BadRecord, Skipper

# `datasets.Dataset.save_to_disk` writes these beside its Arrow files, `DatasetDict` the last one above them.
_STATE = "state.json"
_INFO = "dataset_info.json"
_SPLITS = "dataset_dict.json"
# A knowledge base has it from its first moment on.
_DOCUMENTS = "documents.lance/"
_WEIGHTS = (".safetensors", ".bin")
_WORD_PIECES = {"vocab.txt", "tokenizer.json"}


def files_of(source: Path, suffixes: tuple[str, ...], skipper: Skipper) -> Iterator[tuple[Path, str]]:
    """Files of a source, each with the name that ids are made of.

    Memory is that of the names in one folder, and in those above it.

    Args:
        source: A file; or a folder, which is searched to the bottom in the order of relative paths. Hidden files and
            folders are passed over, and so are knowledge bases and models, which are counted as `knowledge_base`
            and `model_folder`. Of a Hugging Face dataset, the Arrow files that belong to it are taken and nothing
            else.
        suffixes: Endings, in lower case, of files to take from a folder. The others are counted as `other_kind`,
            and links to folders, which may lead in circles, as `link_to_folder`.
        skipper: What to do with folders that cannot be read, and files that are none: pipes, devices, broken links.

    Returns:
        Path and name: the path relative to the folder, or the file's own name.

    Raises:
        SourceError: Something cannot be read, unless bad records are skipped.
    """
    if not os.path.isdir(source):
        yield from _checked(source, source.name, skipper)
        return
    open_folders = [_contents(source, "", suffixes, skipper)]
    while open_folders:
        found = next(open_folders[-1], None)
        if found is None:
            open_folders.pop()
        elif found[1].endswith("/"):
            open_folders.append(_contents(*found, suffixes, skipper))
        else:
            yield from _checked(*found, skipper)


def _contents(folder: Path, prefix: str, suffixes: tuple[str, ...], skipper: Skipper) -> Iterator[tuple[Path, str]]:
    """What to read in a folder, by path and name; names of folders end with a slash."""
    try:
        names = _dataset_files(folder)
        # Order: as if whole relative paths were sorted, in which a folder's name is followed by a slash.
        names = sorted(_entries(folder) if names is None else names)
    except BadRecord as bad:
        skipper.handle(str(folder), bad)
        return
    if _DOCUMENTS in names:
        skipper.report.add("knowledge_base", f"{folder}: a knowledge base; its files are no documents")
        return
    if "config.json" in names and _WORD_PIECES & set(names) and any(name.endswith(_WEIGHTS) for name in names):
        skipper.report.add("model_folder", f"{folder}: a model; its files are no documents")
        return
    for name in names:
        path = folder / name
        if name.endswith("/") or name.lower().endswith(suffixes):
            yield path, prefix + name
        elif os.path.isdir(path):
            skipper.report.add("link_to_folder", f"{path}: a link to a folder; name the folder itself to read it")
        elif name not in (_STATE, _INFO, _SPLITS):
            skipper.report.add("other_kind", f"{path}: not a kind of file that documents are read from")


def _entries(folder: Path) -> list[str]:
    """Names in a folder that are not hidden; those of folders, but not of links to them, end with a slash."""
    try:
        with os.scandir(folder) as entries:
            return [
                entry.name + "/" * entry.is_dir(follow_symlinks=False)
                for entry in entries
                if not entry.name.startswith(".")
            ]
    except OSError as exc:
        raise _unreadable(exc) from exc


def _checked(path: Path, name: str, skipper: Skipper) -> Iterator[tuple[Path, str]]:
    """The file, if it is one: opening a pipe would wait for ever."""
    try:
        try:
            mode = path.stat().st_mode
        except (OSError, ValueError) as exc:
            raise _unreadable(exc) from exc
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
            raise BadRecord("no_file", f"this is {kind}; expected a file")
        # No store can hold such a name, and messages and sources of documents quote it.
        if not _is_unicode(str(path)):
            raise BadRecord("bad_name", "the name is not UTF-8; rename the file")
    except BadRecord as bad:
        skipper.handle(str(path), bad)
        return
    yield path, name


def _is_unicode(path: str) -> bool:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _unreadable(exc: OSError | ValueError) -> BadRecord:
    return BadRecord("unreadable", f"cannot be opened: {getattr(exc, 'strerror', None) or exc}")


def _dataset_files(folder: Path) -> list[str] | None:
    """The Arrow files of a dataset that was saved to `folder`; None if it is an ordinary folder.

    Raises:
        BadRecord: It is a dataset, but broken, or one whose rows were selected without writing them.
    """
    path = folder / _STATE
    if not (os.path.isfile(path) and os.path.isfile(folder / _INFO)):
        return None
    try:
        state = json.loads(read_whole(path))
        names = [entry["filename"] for entry in state["_data_files"]]
        selected = state.get("_indices_data_files") or []
    except (BadRecord, ValueError, RecursionError, LookupError, TypeError, AttributeError) as exc:
        raise BadRecord("broken_dataset", f"a Hugging Face dataset, but its {_STATE} cannot be read") from exc
    if selected:
        raise BadRecord("broken_dataset", "a dataset with an index of rows; save it again after flatten_indices()")
    if not all(isinstance(name, str) and name == Path(name).name and name.endswith(".arrow") for name in names):
        raise BadRecord("broken_dataset", f"a Hugging Face dataset, but its {_STATE} names more than its Arrow files")
    return names
