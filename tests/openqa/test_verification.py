"""Damage anywhere in a knowledge base is found, named, and told with the way out."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from tiny_model import stories, write_jsonl

from realm.errors import KnowledgeBaseError
from realm.openqa import verification
from realm.openqa.compaction import compact
from realm.openqa.indexing import index_sources, remove_documents
from realm.openqa.knowledge_base import KnowledgeBase
from realm.openqa.model_folder import ModelFolder
from realm.openqa.verification import verify_folder

REMEDY = r"realm index|realm compact|whole in its place: cp "

FLIPS_PER_FILE = 6


@pytest.fixture(scope="module", params=["several versions", "compacted"])
def whole(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, shared_kb: Path, tiny: ModelFolder
) -> Path:
    """A knowledge base with tombstones, deleted documents and more than one file of everything."""
    folder = tmp_path_factory.mktemp("whole")
    kb = shutil.copytree(shared_kb, folder / "kb")
    index_sources(kb, [write_jsonl(folder / "new.jsonl", stories(5, seed=9))], tiny)
    remove_documents(kb, ["story/7"])
    if request.param == "compacted":
        compact(kb)
        remove_documents(kb, ["story/8"])
    return kb


def files_of(kb: Path) -> list[Path]:
    return sorted(path for path in kb.rglob("*") if path.is_file() and path.name != ".lock")


def test_a_flipped_bit_in_any_file_is_found_and_the_file_is_named(whole: Path) -> None:
    assert verify_folder(whole) == KnowledgeBase.versions(whole)
    chance = random.Random(4)
    kinds = set()
    for path in files_of(whole):
        kinds.add(path.relative_to(whole).parts[0])
        data = path.read_bytes()
        for place in {0, len(data) - 1, *(chance.randrange(len(data)) for _ in range(FLIPS_PER_FILE))}:
            path.write_bytes(data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :])
            with pytest.raises(KnowledgeBaseError, match=REMEDY) as caught:
                verify_folder(whole)
            assert path.name in str(caught.value), f"{path} at {place}: {caught.value}"
        path.write_bytes(data)
    verify_folder(whole)
    assert {"kb.json", "versions", "documents.lance", "blocks.lance"} < kinds


@pytest.mark.parametrize("damage", ["cut", "longer", "gone"])
def test_a_file_of_another_length_is_found_and_named(whole: Path, damage: str) -> None:
    for path in files_of(whole):
        if damage == "longer" and path.suffix in (".f16", ".i8", ".scale"):
            continue  # what stands behind the last row is a killed writer's, and never read
        data = path.read_bytes()
        path.write_bytes(data[:-1] if damage == "cut" else data + b" ")
        if damage == "gone":
            path.unlink()
        # Without the manifest of an old version, that version is one that was dropped.
        is_old = path.parent.name == "versions" and path.name.count(".") == 1
        if damage == "gone" and is_old and int(path.stem) < KnowledgeBase.versions(whole)[-1]:
            verify_folder(whole)
        elif not (damage == "gone" and path.name == "kb.json"):
            with pytest.raises(KnowledgeBaseError, match=REMEDY) as caught:
                verify_folder(whole)
            assert path.name in str(caught.value) or (damage == "gone" and is_old)
        path.write_bytes(data)
    verify_folder(whole)


def test_damage_that_only_old_versions_have_is_mended_by_compacting(shared_kb: Path, tmp_path: Path) -> None:
    kb = shutil.copytree(shared_kb, tmp_path / "kb")
    remove_documents(kb, ["story/7"])
    remove_documents(kb, ["story/8"])
    path = next((kb / "vectors").glob(KnowledgeBase.open(kb, 2).manifest.tombstones.name))  # type: ignore[union-attr]
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    with pytest.raises(KnowledgeBaseError, match=r"Only older versions need it: version 3 is whole.*realm compact"):
        verify_folder(kb)
    KnowledgeBase.open(kb).verify()
    compact(kb)
    assert verify_folder(kb) == [4]


@pytest.mark.parametrize("change", ["compact", "publish"])
def test_a_version_that_is_replaced_while_it_is_read_is_no_damage(
    tmp_path: Path, tiny: ModelFolder, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    kb, source = tmp_path / "kb", tmp_path / "stories.jsonl"
    for seed in (0, 1):
        index_sources(kb, [write_jsonl(source, stories(4, seed=seed))], tiny)
    listed = verification.published_versions
    changes = iter([change])

    def meanwhile(folder: Path) -> list[int]:
        if next(changes, None) == "compact":
            found = listed(folder)
            compact(folder)
            return found
        if change == "publish" and KnowledgeBase.open(kb).manifest.version == 2:
            index_sources(kb, [write_jsonl(source, stories(4, seed=2))], tiny)
        return listed(folder)

    monkeypatch.setattr(verification, "published_versions", meanwhile)
    assert verify_folder(kb) == ([3] if change == "compact" else [1, 2, 3])
