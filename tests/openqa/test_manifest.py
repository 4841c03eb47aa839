"""The manifest: written and read back, and what is said of one that is none."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from realm.errors import CorruptFileError, KnowledgeBaseError
from realm.index.segments import Segment
from realm.index.tombstones import TombstoneFile
from realm.openqa.manifest import PUBLISHED, Manifest, ModelReference, read_manifest, write_manifest

MANIFEST = Manifest(
    version=3,
    documents_version=7,
    blocks_version=5,
    documents=2,
    blocks=9,
    dim=4,
    segments=(Segment("000000.f16", 9, 4, "0" * 64, 72),),
    tombstones=TombstoneFile("tombstones-0123456789abcdef.i64", 1, "1" * 64, 8),
    model=ModelReference("models/né", "2" * 64),
    max_block_pieces=288,
)


@pytest.mark.parametrize("manifest", [MANIFEST, dataclasses.replace(MANIFEST, tombstones=None, segments=())])
def test_a_manifest_comes_back_as_it_was_written(tmp_path: Path, manifest: Manifest) -> None:
    write_manifest(tmp_path, manifest, PUBLISHED)
    assert read_manifest(tmp_path, PUBLISHED) == manifest
    assert [path.name for path in tmp_path.iterdir()] == [PUBLISHED]


def test_there_may_be_no_manifest(tmp_path: Path) -> None:
    assert read_manifest(tmp_path, PUBLISHED) is None
    assert read_manifest(tmp_path / "nowhere", PUBLISHED) is None


@pytest.mark.parametrize("text", ["", "{", '{"format": 1', "\ufffe", "[" * 100_000])
def test_what_is_not_json_is_called_damaged(tmp_path: Path, text: str) -> None:
    (tmp_path / PUBLISHED).write_text(text, encoding="utf-8")
    with pytest.raises(CorruptFileError, match=r"kb\.json is not readable as a manifest .*realm index"):
        read_manifest(tmp_path, PUBLISHED)


def test_a_manifest_cut_off_in_the_middle_of_a_letter_is_called_damaged(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST, PUBLISHED)
    data = (tmp_path / PUBLISHED).read_bytes()
    (tmp_path / PUBLISHED).write_bytes(data[: data.index("é".encode()) + 1])
    with pytest.raises(CorruptFileError, match="not readable"):
        read_manifest(tmp_path, PUBLISHED)


@pytest.mark.parametrize("text", ["[]", "{}", "null", '"kb"', '{"format": 2}', '{"format": "1"}'])
def test_json_that_is_no_manifest_of_this_format_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / PUBLISHED).write_text(text, encoding="utf-8")
    with pytest.raises(KnowledgeBaseError, match="this realm reads format 1"):
        read_manifest(tmp_path, PUBLISHED)


@pytest.mark.parametrize(
    "change",
    [
        {"version": None},
        {"version": "3"},
        {"blocks": -1},
        {"documents": True},
        {"segments": None},
        {"segments": ["000000.f16"]},
        {"segments": [{"name": "../../passwd", "rows": 9, "dim": 4, "sha256": "0" * 64, "bytes": 72}]},
        {"tombstones": "none"},
        {"tombstones": {}},
        {"model": "tiny"},
        {"model": {"name": "tiny"}},
        {"model": {"name": 1, "digest": "2" * 64}},
        {"color": "red"},
    ],
)
def test_a_manifest_with_a_wrong_field_is_called_damaged(tmp_path: Path, change: dict[str, Any]) -> None:
    values = {"format": 1, **dataclasses.asdict(MANIFEST), **change}
    (tmp_path / PUBLISHED).write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(CorruptFileError):
        read_manifest(tmp_path, PUBLISHED)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Manifest)])
def test_a_manifest_that_lacks_a_field_is_called_damaged(tmp_path: Path, field: str) -> None:
    values = {"format": 1, **dataclasses.asdict(MANIFEST)}
    del values[field]
    (tmp_path / PUBLISHED).write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(CorruptFileError, match=field):
        read_manifest(tmp_path, PUBLISHED)
