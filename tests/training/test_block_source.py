"""Blocks come out the same whichever way they come in, and what was made of them is whole or made anew."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet
import pytest
from tiny_trunk import documents, tokenizer_of, write_lines

from realm.corpus.chunking import chunk_documents
from realm.corpus.readers import read_documents
from realm.errors import CorruptFileError, SourceError
from realm.text.pieces import PieceTokenizer
from realm.training import token_store
from realm.training.block_source import open_blocks
from realm.training.token_store import TokenStore, TrainingBlock


@pytest.fixture
def tokenizer(trunk: Path) -> PieceTokenizer:
    return tokenizer_of(trunk)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    records = documents(40)
    records[3]["text"] = "Zürich 東京. " + records[3]["text"] * 40
    records[4]["title"] = ""
    return write_lines(tmp_path / "documents.jsonl", records)


def cut(source: Path, tokenizer: PieceTokenizer, max_pieces: int = 288) -> list[TrainingBlock]:
    """The oracle: blocks as chunking gives them."""
    return [
        TrainingBlock(block.id, block.title, block.text, list(found.title_ids), list(block.token_ids))
        for found in chunk_documents(read_documents([source]), tokenizer, max_pieces=max_pieces)
        for block in found.blocks
    ]


def block_records(source: Path, tokenizer: PieceTokenizer) -> list[dict[str, object]]:
    """What `realm export blocks --token-ids` writes."""
    return [
        {
            "id": block.id, "document_id": block.document_id, "title": block.title, "text": block.text,
            "start": block.start, "end": block.end,
            "token_ids": list(block.token_ids), "title_ids": list(found.title_ids),
        }
        for found in chunk_documents(read_documents([source]), tokenizer)
        for block in found.blocks
    ]  # fmt: skip


def without_pieces(records: list[dict[str, object]]) -> list[dict[str, object]]:
    return [{key: value for key, value in record.items() if not key.endswith("_ids")} for record in records]


@pytest.mark.parametrize("rows_per_batch", [1, 7, 4096])
def test_blocks_of_documents_are_those_of_chunking(
    source: Path, tokenizer: PieceTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_per_batch: int
) -> None:
    monkeypatch.setattr(token_store, "ROWS_PER_BATCH", rows_per_batch)
    expected = cut(source, tokenizer)
    store = open_blocks(source, tokenizer, tmp_path / "cache")
    assert len(store) == len(expected) > 41
    order = [*reversed(range(len(expected))), 5, 5, 0]
    assert store.take(order) == [expected[row] for row in order]
    assert store.utf8_texts(order) == [expected[row].text.encode() for row in order]
    for read in (store.take, store.utf8_texts):
        with pytest.raises(IndexError, match=f"row {len(store)} was asked for"):
            read([0, len(store)])
    store.verify()


def test_all_ways_in_give_the_same_digest(source: Path, tokenizer: PieceTokenizer, tmp_path: Path) -> None:
    records = block_records(source, tokenizer)
    write_lines(tmp_path / "with.jsonl", records)
    write_lines(tmp_path / "without.jsonl", without_pieces(records))
    for name, rows in (("with", records), ("without", without_pieces(records))):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / f"{name}.parquet")
    names = ("documents.jsonl", "with.jsonl", "without.jsonl", "with.parquet", "without.parquet")
    stores = [open_blocks(tmp_path / name, tokenizer, tmp_path / "cache") for name in names]
    assert len({store.folder for store in stores}) == len(names)
    assert len({store.digest for store in stores}) == 1
    assert all(store.take(range(len(store))) == cut(source, tokenizer) for store in stores)


def test_pieces_of_another_tokenizer_are_made_anew(source: Path, tokenizer: PieceTokenizer, tmp_path: Path) -> None:
    records = block_records(source, tokenizer)
    for record in records:
        record["token_ids"] = [5] * len(record["token_ids"])  # type: ignore[arg-type]
    write_lines(tmp_path / "blocks.jsonl", records)
    store = open_blocks(tmp_path / "blocks.jsonl", tokenizer, tmp_path / "cache")
    assert store.take(range(len(store))) == cut(source, tokenizer)


def test_a_block_without_pieces_among_others_gets_them(source: Path, tokenizer: PieceTokenizer, tmp_path: Path) -> None:
    records = block_records(source, tokenizer) * 15
    del records[-2]["token_ids"]
    write_lines(tmp_path / "blocks.jsonl", records)
    store = open_blocks(tmp_path / "blocks.jsonl", tokenizer, tmp_path / "cache")
    assert store.take(range(len(store))) == cut(source, tokenizer) * 15


def test_only_the_first_documents_are_taken(source: Path, tokenizer: PieceTokenizer, tmp_path: Path) -> None:
    write_lines(tmp_path / "blocks.jsonl", block_records(source, tokenizer))
    few = write_lines(tmp_path / "few.jsonl", [json.loads(line) for line in source.read_text().splitlines()[:4]])
    for path in (source, tmp_path / "blocks.jsonl"):
        store = open_blocks(path, tokenizer, tmp_path / "cache", max_documents=4)
        assert store.take(range(len(store))) == cut(few, tokenizer)


def test_a_store_is_made_once_and_again_when_the_source_changes(
    source: Path, tokenizer: PieceTokenizer, tmp_path: Path
) -> None:
    seen: list[int] = []
    first = open_blocks(source, tokenizer, tmp_path / "cache", progress=seen.append)
    assert seen == [len(first)]
    again = open_blocks(source, tokenizer, tmp_path / "cache", progress=seen.append)
    assert len(seen) == 1
    assert (again.folder, again.digest) == (first.folder, first.digest)
    write_lines(source, documents(3, seed=9))
    changed = open_blocks(source, tokenizer, tmp_path / "cache", progress=seen.append)
    assert seen[1:] == [len(changed)]
    assert changed.digest != first.digest


@pytest.mark.parametrize("damage", ["short", "gone", "no manifest", "other format", "no json"])
def test_a_damaged_store_is_made_anew(source: Path, tokenizer: PieceTokenizer, tmp_path: Path, damage: str) -> None:
    folder = open_blocks(source, tokenizer, tmp_path / "cache").folder
    blocks, manifest = folder / "blocks.arrow", folder / "store.json"
    if damage == "short":
        blocks.write_bytes(blocks.read_bytes()[:-100])
    elif damage == "gone":
        blocks.unlink()
    elif damage == "no manifest":
        manifest.unlink()
    else:
        manifest.write_text('{"format": 0}' if damage == "other format" else "{")
    with pytest.raises(CorruptFileError, match="Delete the folder"):
        TokenStore(folder)
    store = open_blocks(source, tokenizer, tmp_path / "cache")
    assert store.folder == folder
    assert store.take(range(len(store))) == cut(source, tokenizer)


def test_changed_bytes_are_found_by_verify(source: Path, tokenizer: PieceTokenizer, tmp_path: Path) -> None:
    store = open_blocks(source, tokenizer, tmp_path / "cache")
    path = store.folder / "blocks.arrow"
    text = store.take([2])[0].text.encode()
    path.write_bytes(path.read_bytes().replace(text, text[:-1] + b"!"))
    with pytest.raises(CorruptFileError, match="damaged"):
        TokenStore(store.folder).verify()


def test_what_killed_makers_left_is_taken_away(source: Path, tokenizer: PieceTokenizer, tmp_path: Path) -> None:
    folder = open_blocks(source, tokenizer, tmp_path / "cache").folder
    (folder / "store.json").unlink()
    left = folder.with_name(f".{folder.name}.1234")
    left.mkdir()
    open_blocks(source, tokenizer, tmp_path / "cache")
    assert not left.exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("gone.jsonl", None, "no such file"),
        ("empty.jsonl", "", "no documents found"),
        ("blocks.jsonl", '{"id": 1, "document_id": "a", "title": "", "text": "x", "start": 0, "end": 1}\n', "no block"),
        ("broken.parquet", "PAR1", "cannot be read as Parquet"),
        ("picture.png", "x", "cannot read this kind"),
    ],
)
def test_a_bad_source_is_refused(
    tokenizer: PieceTokenizer, tmp_path: Path, name: str, content: str | None, said: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(SourceError, match=said):
        open_blocks(tmp_path / name, tokenizer, tmp_path / "cache")
    assert not list(tmp_path.glob("cache/tokens-*"))


@pytest.mark.slow
def test_neither_lance_nor_faiss_is_loaded_for_files_of_blocks(
    source: Path, trunk: Path, tokenizer: PieceTokenizer, tmp_path: Path
) -> None:
    records = block_records(source, tokenizer)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), tmp_path / "blocks.parquet")
    code = f"""
import sys
from pathlib import Path
from realm.text.pieces import PieceTokenizer
from realm.training.block_source import open_blocks
from realm.training import refresh, refresh_process
store = open_blocks(Path({str(tmp_path / "blocks.parquet")!r}), PieceTokenizer.from_folder(Path({str(trunk)!r})),
                    Path({str(tmp_path / "cache")!r}))
print(len(store.take(range(len(store)))), [name for name in ("lance", "faiss") if name in sys.modules])
"""
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=path)
    assert (done.stdout, done.returncode) == (f"{len(records)} []\n", 0), done.stderr
