"""The manifest: written and read back, and what is said of one that is none."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from realm.errors import CorruptFileError, KnowledgeBaseError
from realm.index.code_segments import CodeSegment
from realm.index.faiss_entry import FaissEntry, FaissPoint
from realm.index.segments import Segment
from realm.index.sketches import SketchSegment
from realm.index.tombstones import TombstoneFile
from realm.openqa.manifest import (
    FORMAT,
    PUBLISHED,
    VERSIONS,
    FileList,
    Manifest,
    ModelReference,
    published_versions,
    read_manifest,
    version_name,
    write_manifest,
    write_sealed,
)

MANIFEST = Manifest(
    version=3,
    documents_version=7,
    blocks_version=5,
    documents=2,
    blocks=9,
    dim=4,
    vectors_folder="vectors-000002",
    segments=(Segment("000000.f16", 9, 4, "0" * 64, 72),),
    codes=(CodeSegment("000000.i8", 9, 4, "4" * 64, 9 * 32, "5" * 64, 1.5, 200.25),),
    sketches=(SketchSegment("000000.sketch", 9, 4, "7" * 64, 480, "8" * 64, 2.5),),
    tombstones=TombstoneFile("tombstones-0123456789abcdef.i64", 1, "1" * 64, 8),
    files=FileList("000003.files.json", "3" * 64, 99),
    model=ModelReference("models/né", "2" * 64),
    max_block_pieces=288,
    search="faiss",
    faiss=FaissEntry(
        name="faiss-0123456789abcdef.index",
        rows=9,
        vectors=8,
        dim=4,
        nlist=3,
        points=(FaissPoint(5, 2, 6, 0.975),),
        probe="blocks",
        probe_queries=100,
        target=0.95,
        target_reached=True,
        sha256="6" * 64,
        bytes=12,
    ),
    hybrid_weight=0.5,
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


@pytest.mark.parametrize("text", ["[]", "{}", "null", '"kb"', '{"format": 99}', '{"format": "2"}'])
def test_json_that_is_no_manifest_of_this_format_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / PUBLISHED).write_text(text, encoding="utf-8")
    with pytest.raises(KnowledgeBaseError, match=f"this realm reads format {FORMAT}"):
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
        {"vectors_folder": "../vectors"},
        {"files": {"name": "../kb.json", "sha256": "3" * 64, "bytes": 9}},
        {"files": {"name": "000003.files.json"}},
        {"lexical": 1},
        {"search": "quick"},
        {"faiss": {"name": "faiss-0123456789abcdef.index"}},
        {"codes": [{"name": "000000.i8"}]},
        {"hybrid_weight": 1},
    ],
)
def test_a_manifest_with_a_wrong_field_is_called_damaged(tmp_path: Path, change: dict[str, Any]) -> None:
    values = {"format": FORMAT, **dataclasses.asdict(MANIFEST), **change}
    write_sealed(tmp_path / PUBLISHED, values)
    with pytest.raises(CorruptFileError):
        read_manifest(tmp_path, PUBLISHED)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Manifest) if field.name != "sketches"])
def test_a_manifest_that_lacks_a_field_is_called_damaged(tmp_path: Path, field: str) -> None:
    values = {"format": FORMAT, **dataclasses.asdict(MANIFEST)}
    del values[field]
    write_sealed(tmp_path / PUBLISHED, values)
    with pytest.raises(CorruptFileError, match=field):
        read_manifest(tmp_path, PUBLISHED)


def test_every_changed_byte_of_a_manifest_is_noticed(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST, PUBLISHED)
    path = tmp_path / PUBLISHED
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :])
        with pytest.raises(KnowledgeBaseError, match=r"kb\.json"):
            read_manifest(tmp_path, PUBLISHED)


def test_the_newest_version_that_is_whole_is_offered_in_the_place_of_a_damaged_manifest(tmp_path: Path) -> None:
    (tmp_path / VERSIONS).mkdir()
    for version in (1, 2, 3):
        write_manifest(tmp_path / VERSIONS, dataclasses.replace(MANIFEST, version=version), version_name(version))
    (tmp_path / VERSIONS / version_name(3)).write_text("{")
    (tmp_path / VERSIONS / "000004.files.json").write_text("{}")
    (tmp_path / PUBLISHED).write_text("{")
    with pytest.raises(
        CorruptFileError, match=rf"whole in its place: cp {tmp_path}/versions/000002\.json {tmp_path}/kb"
    ):
        read_manifest(tmp_path, PUBLISHED)


def test_only_versions_up_to_the_published_one_are_published(tmp_path: Path) -> None:
    assert published_versions(tmp_path) == []
    (tmp_path / VERSIONS).mkdir()
    for version in (1, 3, 4):  # 4 is that of a writer who was killed before it was published
        write_manifest(tmp_path / VERSIONS, dataclasses.replace(MANIFEST, version=version), version_name(version))
    (tmp_path / VERSIONS / "000001.files.json").touch()
    assert published_versions(tmp_path) == []
    write_manifest(tmp_path, MANIFEST, PUBLISHED)
    assert published_versions(tmp_path) == [1, 3]
