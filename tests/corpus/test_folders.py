"""Which files of a folder are read, in which order, and what cannot be read there."""

from __future__ import annotations

import inspect
import json
import os
import sys
from pathlib import Path

import pyarrow
import pytest
from formats import arrow_stream, save_dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from realm.corpus.folders import files_of
from realm.corpus.readers import read_documents
from realm.corpus.skips import Skipper, SkipReport
from realm.errors import SourceError

NAMES = st.text(st.sampled_from("aB.-_0é"), min_size=1, max_size=3).filter(lambda name: name.strip("."))


@settings(max_examples=40)
@given(st.lists(st.lists(NAMES, min_size=1, max_size=4).map("/".join), max_size=12))
def test_order_is_that_of_whole_relative_paths(tmp_path_factory: pytest.TempPathFactory, paths: list[str]) -> None:
    folder = tmp_path_factory.mktemp("tree")
    written = set()
    for path in paths:
        target = folder / f"{path}.txt"
        if not any(parent.is_file() for parent in target.parents) and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text("x")
            written.add(target.relative_to(folder).as_posix())
    expected = sorted(name for name in written if not any(part.startswith(".") for part in name.split("/")))
    found = list(files_of(folder, (".txt",), Skipper(False, None)))
    assert [name for _, name in found] == expected
    assert [path for path, _ in found] == [folder / name for name in expected]


def test_deep_folders_are_read_to_the_bottom(tmp_path: Path) -> None:
    deep = "a/" * 150
    (tmp_path / deep).mkdir(parents=True)
    (tmp_path / deep / "b.txt").write_text("Deep.")
    frames = len(inspect.stack())
    limit = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(frames + 100)
        assert [document.id for document in read_documents([tmp_path])] == [f"{deep}b.txt"]
    finally:
        sys.setrecursionlimit(limit)


def test_links_do_not_lead_in_circles(tmp_path: Path) -> None:
    (tmp_path / "docs/sub").mkdir(parents=True)
    (tmp_path / "docs/a.txt").write_text("Text.")
    (tmp_path / "docs/sub/up").symlink_to(tmp_path / "docs")
    (tmp_path / "docs/b.txt").symlink_to(tmp_path / "docs/a.txt")
    report = SkipReport()
    assert [document.id for document in read_documents([tmp_path / "docs"], report=report)] == ["a.txt", "b.txt"]
    assert report.reasons == {"link_to_folder": 1}
    assert report.examples["link_to_folder"].startswith(f"{tmp_path / 'docs/sub/up'}: a link to a folder")


@pytest.mark.parametrize(
    ("kind", "reason", "message"),
    [
        ("pipe", "no_file", "this is a pipe, a socket or a device; expected a file"),
        ("device", "no_file", "this is a pipe, a socket or a device; expected a file"),
        ("circle", "unreadable", "cannot be opened: Too many levels of symbolic links"),
        ("nowhere", "unreadable", "cannot be opened: No such file or directory"),
        ("bytes", "bad_name", "the name is not UTF-8; rename the file"),
    ],
)
def test_what_is_no_file_is_an_error_or_counted(tmp_path: Path, kind: str, reason: str, message: str) -> None:
    path = tmp_path / "bad.jsonl"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "bytes":
        path = tmp_path / os.fsdecode(b"bad\xff.jsonl")
        path.write_text('{"id": "1", "text": "Text."}')
    else:
        path.symlink_to({"device": "/dev/zero", "circle": path, "nowhere": tmp_path / "nowhere"}[kind])
    (tmp_path / "good.txt").write_text("Text.")
    with pytest.raises(SourceError) as caught:
        list(read_documents([tmp_path]))
    shown = str(path).replace("\udcff", r"\udcff")
    assert str(caught.value) == f"{shown}: {message}"
    report = SkipReport()
    assert [document.id for document in read_documents([tmp_path], skip_bad=True, report=report)] == ["good.txt"]
    assert report.reasons == {reason: 1}


def test_folder_that_cannot_be_opened_is_an_error_or_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locked").mkdir()
    (tmp_path / "good.txt").write_text("Text.")
    listed = os.scandir

    def refuse(folder: Path) -> os.ScandirIterator[str]:
        if Path(folder).name == "locked":
            raise PermissionError(13, "Permission denied", str(folder))
        return listed(str(folder))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(SourceError, match=r"locked/?: cannot be opened: Permission denied$"):
        list(read_documents([tmp_path]))
    report = SkipReport()
    assert len(list(read_documents([tmp_path], skip_bad=True, report=report))) == 1
    assert report.reasons == {"unreadable": 1}


@pytest.mark.parametrize("path", ["x" * 300 + ".txt", "loop.txt"])
def test_source_that_cannot_be_looked_at_is_an_error(tmp_path: Path, path: str) -> None:
    (tmp_path / "loop.txt").symlink_to(tmp_path / "loop.txt")
    with pytest.raises(SourceError, match=r"\.txt: (cannot be opened|there is no such file)"):
        read_documents([tmp_path / path])


def table(*texts: str) -> pyarrow.Table:
    return pyarrow.table({"text": list(texts)})


def test_dataset_on_disk_is_read_in_the_files_it_names(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    save_dataset(folder, [table("one", "two", "three"), table("four")])
    (folder / "cache-0123.arrow").write_bytes(arrow_stream(table("of an earlier step")))
    report = SkipReport()
    found = list(read_documents([folder], report=report))
    assert [document.text for document in found] == ["one", "two", "three", "four"]
    assert [document.id for document in found][2:] == [
        "data-00000-of-00002.arrow:3",
        "data-00001-of-00002.arrow:1",
    ]
    assert report.reasons == {}


def test_splits_of_a_dataset_on_disk_are_all_read(tmp_path: Path) -> None:
    save_dataset(tmp_path / "set/train", [table("one"), table("two")])
    save_dataset(tmp_path / "set/test", [table("three")])
    (tmp_path / "set/dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    report = SkipReport()
    found = [document.id for document in read_documents([tmp_path / "set"], report=report)]
    assert found == [
        "test/data-00000-of-00001.arrow:1",
        "train/data-00000-of-00002.arrow:1",
        "train/data-00001-of-00002.arrow:1",
    ]
    assert report.reasons == {}


@pytest.mark.parametrize(
    "state",
    [
        "[" * 100_000,
        "[]",
        "{}",
        '{"_data_files": 5}',
        '{"_data_files": [{"filename": "../good.arrow"}]}',
        '{"_data_files": [{"filename": 5}]}',
        '{"_data_files": [], "_indices_data_files": [{"filename": "indices.arrow"}]}',
    ],
)
def test_dataset_that_is_broken_is_an_error_or_counted(tmp_path: Path, state: str) -> None:
    save_dataset(tmp_path / "set", [table("one")])
    (tmp_path / "set/state.json").write_text(state)
    (tmp_path / "good.txt").write_text("Text.")
    with pytest.raises(SourceError, match=r"set/?: a (Hugging Face )?dataset"):
        list(read_documents([tmp_path]))
    report = SkipReport()
    assert [document.id for document in read_documents([tmp_path], skip_bad=True, report=report)] == ["good.txt"]
    assert report.reasons == {"broken_dataset": 1}


@pytest.mark.parametrize("name", ["missing.arrow", "nul\0.arrow"])
def test_dataset_without_a_file_it_names_is_an_error(tmp_path: Path, name: str) -> None:
    save_dataset(tmp_path / "set", [table("one")])
    (tmp_path / "set/state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    with pytest.raises(SourceError, match=r"\.arrow: cannot be opened: "):
        list(read_documents([tmp_path / "set"]))
