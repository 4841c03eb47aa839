"""Blocks on disk: they come back as they were, at every version, whatever happens beside them."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow
import pytest

from realm.corpus import lance_table
from realm.corpus.block_store import BlockStore, StoredBlock
from realm.corpus.chunking import ChunkedDocument
from realm.errors import CorruptFileError, KnowledgeBaseError
from realm.records import Block, Document


def chunked(number: int, blocks: int) -> ChunkedDocument:
    """A document of several blocks in which everything has a value of its own."""
    id = f"d'{number}"
    parts = tuple(
        Block(f"{number}-{at}", id, "Tïtle", at, at + 9, f"Text {at} 東", (number, at, 65_535)) for at in range(blocks)
    )
    return ChunkedDocument(Document(id, "Tïtle", "..."), "hash", (7, number), parts)


def stored(documents: list[ChunkedDocument]) -> list[StoredBlock]:
    pairs = [(document.title_ids, block) for document in documents for block in document.blocks]
    return [StoredBlock(row, block, title_ids) for row, (title_ids, block) in enumerate(pairs)]


@pytest.fixture
def store(tmp_path: Path) -> BlockStore:
    return BlockStore.create(tmp_path / "blocks.lance")


def test_blocks_come_back_as_they_were_by_row(store: BlockStore) -> None:
    documents = [chunked(number, number % 4) for number in range(9)]
    assert store.append(documents[:5]) == [range(0), range(1), range(1, 3), range(3, 6), range(6, 6)]
    assert store.append(documents[5:]) == [range(6, 7), range(7, 9), range(9, 12), range(12, 12)]
    expected = stored(documents)
    assert len(store) == len(expected) == 12
    for taken in (store, BlockStore.open(store.path)):
        assert taken.take(range(12)) == expected
        assert taken.take([9, 2, 9, 0]) == [expected[row] for row in (9, 2, 9, 0)]
        assert taken.take([]) == []


def test_columns_can_be_taken_alone(store: BlockStore) -> None:
    store.append([chunked(1, 3)])
    table = store.take_columns([2, 0], ["token_ids", "id"])
    assert table.to_pydict() == {"token_ids": [[1, 2, 65_535], [1, 0, 65_535]], "id": ["1-2", "1-0"]}


def test_batches_give_all_rows_in_order_from_any_row_on(store: BlockStore) -> None:
    for number in range(4):
        store.append([chunked(number, 5)])
    for start in (0, 3, 5, 19, 20):
        batches = list(store.batches(["row"], start=start, batch_rows=3))
        assert [row for batch in batches for row in batch["row"].to_pylist()] == list(range(start, 20))
        assert all(batch.num_rows <= 3 for batch in batches)
    assert next(store.batches()).schema.names == BlockStore.schema().names


def test_reader_of_an_older_version_keeps_seeing_it(store: BlockStore) -> None:
    store.append([chunked(1, 2)])
    old = BlockStore.open(store.path, store.version)
    store.append([chunked(2, 2)])
    assert (len(old), len(store)) == (2, 4)
    with pytest.raises(KnowledgeBaseError, match=r"row 2 was asked for, version \d+ has 2"):
        old.take([0, 2])
    assert len(BlockStore.open(store.path, old.version)) == 2


def test_appending_to_an_older_version_drops_what_a_killed_writer_left(store: BlockStore) -> None:
    store.append([chunked(1, 2)])
    version = store.version
    BlockStore.open(store.path).append([chunked(2, 5)])
    store = BlockStore.open(store.path, version)
    assert store.append([chunked(3, 1)]) == [range(2, 3)]
    expected = stored([chunked(1, 2), chunked(3, 1)])
    assert BlockStore.open(store.path).take(range(3)) == expected
    assert len(BlockStore.open(store.path)) == 3


def test_appending_no_blocks_makes_no_version(store: BlockStore) -> None:
    version = store.version
    assert store.append([chunked(1, 0)]) == [range(0)]
    assert store.append([]) == []
    assert store.version == version


def test_merged_files_hold_the_same_rows_and_older_versions_stay(store: BlockStore) -> None:
    documents = [chunked(number, 2) for number in range(8)]
    for document in documents:
        store.append([document])
    old = store.version
    store.merge_files()
    assert store.take(range(16)) == stored(documents)
    assert BlockStore.open(store.path, old).take(range(16)) == stored(documents)
    assert len([name for name in store.files() if name.startswith("data/")]) == 1


def test_files_stay_few_in_a_long_run(store: BlockStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lance_table, "ROWS_PER_MERGE", 16)
    documents = [chunked(number, 1 + number % 3) for number in range(60)]
    for document in documents:
        store.append([document])
        store.merge_small_files(5)
        files = [name for name in store.files() if name.startswith("data/")]
        assert store.small_files() <= 5
        assert len(files) <= 5 + len(store) // 16 + 1
    assert store.take(range(len(store))) == stored(documents)


def test_a_version_is_exactly_its_files(store: BlockStore) -> None:
    store.append([chunked(1, 3)])
    store.append([chunked(2, 2)])
    version, expected = store.version, store.take(range(5))
    needed = set(store.files())
    BlockStore.open(store.path, version).append([chunked(3, 3)])
    for path in store.path.rglob("*"):
        if path.is_file() and path.relative_to(store.path).as_posix() not in needed:
            path.unlink()
    again = BlockStore.open(store.path, version)
    assert again.take(range(5)) == expected
    again.append([chunked(3, 1)])
    assert BlockStore.open(store.path).take(range(6)) == [*expected, StoredBlock(5, chunked(3, 1).blocks[0], (7, 3))]
    assert BlockStore.open(store.path, version).take(range(5)) == expected


@pytest.mark.parametrize("gone", [[], [0], [11], [0, 1, 2, 5, 9], list(range(12))])
def test_dropped_rows_are_gone_and_the_others_move_up(store: BlockStore, gone: list[int]) -> None:
    documents = [chunked(number, 3) for number in range(4)]
    for document in documents:
        store.append([document])
    old = store.version
    store.drop(np.array(gone, dtype=np.int64))
    left = [each for each in stored(documents) if each.row not in gone]
    expected = [dataclasses.replace(each, row=row) for row, each in enumerate(left)]
    assert store.take(range(len(store))) == expected
    assert len(store) == 12 - len(gone)
    assert BlockStore.open(store.path, old).take(range(12)) == stored(documents)
    assert store.append([chunked(9, 1)]) == [range(len(left), len(left) + 1)]


def test_a_version_that_was_deleted_while_it_was_open_is_called_that(store: BlockStore) -> None:
    store.append([chunked(1, 3)])
    old = BlockStore.open(store.path)
    store.drop(np.array([1]))
    needed = set(store.files())
    for path in sorted(store.path.rglob("*")):
        if path.is_file() and path.relative_to(store.path).as_posix() not in needed:
            path.unlink()
    with pytest.raises(KnowledgeBaseError, match=r"was dropped by realm compact.*Open the knowledge base again"):
        old.take([0])


@pytest.mark.parametrize("name", ["my kb #1", "100%20?", "bücher", "a'b"])
def test_any_folder_name_will_do(tmp_path: Path, name: str) -> None:
    store = BlockStore.create(tmp_path / name / "blocks.lance")
    store.append([chunked(1, 1)])
    assert [entry.name for entry in (tmp_path / name).iterdir()] == ["blocks.lance"]
    assert BlockStore.open(store.path).take([0]) == stored([chunked(1, 1)])


def test_missing_taken_and_foreign_places_are_refused(tmp_path: Path, store: BlockStore) -> None:
    with pytest.raises(KnowledgeBaseError, match=r"none\.lance: missing"):
        BlockStore.open(tmp_path / "none.lance")
    with pytest.raises(KnowledgeBaseError, match="there is something here already"):
        BlockStore.create(store.path)
    with pytest.raises(KnowledgeBaseError, match="version 99 cannot be opened"):
        BlockStore.open(store.path, 99)
    import lance

    lance.write_dataset(pyarrow.table({"a": [1]}), str(tmp_path / "other.lance"))
    with pytest.raises(CorruptFileError, match="columns are a; expected row, id"):
        BlockStore.open(tmp_path / "other.lance")


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_damaged_files_are_told_in_one_line_with_the_way_out(store: BlockStore, damage: str) -> None:
    store.append([chunked(1, 3)])
    copy = store.path.with_name("copy.lance")
    shutil.copytree(store.path, copy)
    for file in (copy / "data").iterdir():
        file.write_bytes(file.read_bytes()[:100])
        if damage == "gone":
            file.unlink()
    for read in (lambda: BlockStore.open(copy).take([0]), lambda: list(BlockStore.open(copy).batches())):
        with pytest.raises(
            CorruptFileError, match=r"copy\.lance: version 2 cannot be read\. Rebuild .*realm index"
        ) as caught:
            read()
        assert "\n" not in str(caught.value)
        assert ".rs" not in str(caught.value)


def test_rows_that_were_moved_by_someone_else_are_noticed(store: BlockStore) -> None:
    store.append([chunked(1, 4)])
    import lance

    lance.dataset(str(store.path)).delete("row = 1")
    with pytest.raises(CorruptFileError, match="rows are not where they were written"):
        BlockStore.open(store.path).take([1, 2])


def test_lance_is_loaded_at_use_and_prints_nothing(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from realm.corpus.block_store import BlockStore
assert not {{"lance", "pyarrow", "torch"}} & set(sys.modules)
store = BlockStore.create(Path({str(tmp_path / "blocks.lance")!r}))
store.merge_files()
store.files()
list(store.batches())
assert not {{"torch", "transformers"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
