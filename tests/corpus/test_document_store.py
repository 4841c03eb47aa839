"""Documents on disk by id: added, replaced, removed, and seen as they were at every version."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from realm.corpus.document_store import DocumentStore, StoredDocument
from realm.records import Document

IDS = ["a", "b'c", 'd"e', "f\\", "g\nh", "%", "_", "東京/ü.txt", "' OR 1=1 --", "x" * 500]


def stored(id: str, version: int) -> StoredDocument:
    document = Document(id, f"Title {id}", f"Text {id}\n{version}", "docs/a.txt", {"year": "1905", "ü": "'"})
    return StoredDocument(document, f"hash-{id}-{version}", version, 10 * version, 3)


@pytest.fixture
def store(tmp_path: Path) -> DocumentStore:
    return DocumentStore.create(tmp_path / "documents.lance")


def test_documents_come_back_as_they_were_by_id(store: DocumentStore) -> None:
    store.put([stored(id, 1) for id in IDS])
    assert store.get([*IDS, "absent"]) == {id: stored(id, 1) for id in IDS}
    for id in IDS:
        assert store.get([id, id]) == {id: stored(id, 1)}
    assert store.get([]) == {}


def test_texts_can_be_left_on_disk(store: DocumentStore) -> None:
    store.put([stored("a", 1)])
    found = store.get(["a"], with_text=False)["a"]
    assert (found.document.text, found.content_hash, found.first_block) == ("", "hash-a-1", 10)


def test_random_puts_and_removals_leave_what_a_dictionary_would_hold(tmp_path: Path) -> None:
    dice = random.Random(7)
    store = DocumentStore.create(tmp_path / "documents.lance")
    expected: dict[str, StoredDocument] = {}
    versions: list[tuple[int, dict[str, StoredDocument]]] = []
    for version in range(12):
        chosen = dice.sample(IDS, dice.randrange(1, 5))
        if dice.random() < 0.6:
            store.put([stored(id, version) for id in chosen])
            expected |= {id: stored(id, version) for id in chosen}
        else:
            assert store.remove(chosen) == len(expected.keys() & set(chosen))
            expected = {id: found for id, found in expected.items() if id not in chosen}
        if version == 5:
            store.index_ids()
        if version == 8:
            store.index_ids()
            store.merge_files()
        assert len(store) == len(expected)
        assert store.get(IDS) == expected
        versions.append((store.version, dict(expected)))
    for number, held in versions:
        assert DocumentStore.open(store.path, number).get(IDS) == held


def test_more_ids_than_fit_one_question_are_found_and_removed(store: DocumentStore) -> None:
    ids = [f"id {number}" for number in range(2300)]
    store.put([stored(id, 1) for id in ids])
    assert store.get(ids).keys() == set(ids)
    assert store.remove([*ids[:1500], "absent"]) == 1500
    assert store.get(ids, with_text=False).keys() == set(ids[1500:])


def test_putting_after_a_killed_writer_starts_from_the_version_that_was_opened(store: DocumentStore) -> None:
    store.put([stored("a", 1), stored("b", 1)])
    version = store.version
    killed = DocumentStore.open(store.path)
    killed.remove(["a"])
    killed.put([stored("c", 2)])
    store = DocumentStore.open(store.path, version)
    store.put([stored("b", 2)])
    assert DocumentStore.open(store.path).get(["a", "b", "c"]) == {"a": stored("a", 1), "b": stored("b", 2)}


def test_same_id_twice_in_one_call_is_refused(store: DocumentStore) -> None:
    with pytest.raises(ValueError, match="have the same id"):
        store.put([stored("a", 1), stored("a", 2)])
    assert len(store) == 0


def test_putting_nothing_makes_no_version(store: DocumentStore) -> None:
    version = store.version
    store.put([])
    assert store.version == version
