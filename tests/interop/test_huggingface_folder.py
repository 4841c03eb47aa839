"""Released folders, looked at without reading what is large."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from realm.errors import ModelError, SourceError, UnsafeFileError
from realm.interop.huggingface_folder import HuggingfaceFolder
from realm.interop.release import documents_with_vectors
from realm.interop.tfrecord import write_tfrecord

RECORDS = ["Zürich [SEP] a lake", "", "two\nlines", "four"]
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "lake"]
WEIGHTS = {
    "embedder.realm.embeddings.word_embeddings.weight": torch.randn(9, 4),
    "embedder.cls.predictions.bias": torch.randn(9),
    "reader.qa_outputs.dense_output.bias": torch.randn(1),
}
# What released checkpoints hold beside.
ALIASES = {
    "embedder.realm.embeddings.position_ids": torch.arange(5)[None],
    "embedder.cls.predictions.decoder.bias": torch.randn(9),
}
BLOCK_EMB = torch.arange(12, dtype=torch.float32).reshape(4, 3) / 8


def release(folder: Path, kind: str = "safetensors", block_emb: Tensor = BLOCK_EMB, **config: Any) -> Path:
    """A folder as transformers 4.37.2 left it, with CRLF in its vocabulary as the released ones have."""
    folder.mkdir()
    sizes = {"model_type": "realm", "vocab_size": 9, "hidden_size": 4, "retriever_proj_size": 3, "searcher_seq_len": 64}
    (folder / "config.json").write_text(json.dumps({**sizes, **config}))
    (folder / "vocab.txt").write_bytes("".join(f"{piece}\r\n" for piece in PIECES).encode())
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "RealmTokenizer", "do_lower_case": true}')
    state = {**WEIGHTS, **ALIASES}
    if kind == "bin":
        torch.save({**state, "block_emb": block_emb}, folder / "pytorch_model.bin")
    elif kind == "beside":
        save_file(state, folder / "model.safetensors")
        save_file({"block_emb": block_emb}, folder / "block_emb.safetensors")
    elif kind == "shards":
        shards = {
            "model-00001-of-00002.safetensors": state,
            "model-00002-of-00002.safetensors": {"block_emb": block_emb},
        }
        for name, part in shards.items():
            save_file(part, folder / name)
        places = {key: name for name, part in shards.items() for key in part}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    else:
        save_file({**state, "block_emb": block_emb}, folder / "model.safetensors")
    records = np.empty(len(RECORDS), dtype=object)
    records[:] = [record.encode() for record in RECORDS]
    np.save(folder / "block_records.npy", records)
    return folder


@pytest.mark.parametrize("kind", ["safetensors", "bin", "beside", "shards"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_records_come_with_their_vectors_wherever_these_are(tmp_path: Path, kind: str, dtype: torch.dtype) -> None:
    found = HuggingfaceFolder.open(release(tmp_path / "m", kind, BLOCK_EMB.to(dtype)))
    assert (found.rows, found.dim) == (4, 3)
    steps = list(documents_with_vectors(found, 3))
    assert [len(documents) for documents, _ in steps] == [3, 1]
    documents = [document for step, _ in steps for document in step]
    assert [(one.id, one.title, one.text) for one in documents] == [
        (str(row), "", text) for row, text in enumerate(RECORDS)
    ]
    vectors = np.concatenate([vectors for _, vectors in steps])
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, BLOCK_EMB.numpy())


@pytest.mark.parametrize("kind", ["safetensors", "bin", "shards"])
def test_the_model_is_every_weight_of_its_own_and_nothing_else(tmp_path: Path, kind: str) -> None:
    HuggingfaceFolder.open(release(tmp_path / "m", kind)).write_model(tmp_path / "out")
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert found.keys() == WEIGHTS.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in WEIGHTS.items())
    assert (tmp_path / "out" / "vocab.txt").read_text().split() == PIECES
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["model_type"], config["searcher_seq_len"]) == ("realm", 64)
    assert (tmp_path / "out" / "tokenizer.json").is_file()


def test_titles_are_taken_from_a_file_of_theirs(tmp_path: Path) -> None:
    folder = release(tmp_path / "m")
    write_tfrecord(folder / "titles.tfr", [b"Z\xc3\xbcrich", b"", b"T", b"F"])
    write_tfrecord(tmp_path / "other.tfr", [b"1", b"2", b"3", b"4"])
    for path, titles in ((None, ["Zürich", "", "T", "F"]), (tmp_path / "other.tfr", list("1234"))):
        ((documents, _),) = documents_with_vectors(HuggingfaceFolder.open(folder, path), 9)
        assert [document.title for document in documents] == titles


@pytest.mark.parametrize(("titles", "says"), [(3, "has 3 records, and block_emb 4 rows"), (5, "has more records than")])
def test_another_number_of_titles_is_refused(tmp_path: Path, titles: int, says: str) -> None:
    folder = release(tmp_path / "m")
    write_tfrecord(folder / "titles.tfr", [b"t"] * titles)
    with pytest.raises(SourceError, match=says):
        list(documents_with_vectors(HuggingfaceFolder.open(folder), 2))


@pytest.mark.parametrize("name", ["config.json", "block_records.npy"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    (release(tmp_path / "m") / name).unlink()
    with pytest.raises(SourceError, match=f"No {name} in .*expected the folder of a realm-orqa"):
        HuggingfaceFolder.open(tmp_path / "m")


def test_other_shapes_of_block_emb_are_refused(tmp_path: Path) -> None:
    cases: list[tuple[Tensor, type[Exception], str]] = [
        (torch.zeros(4, 5), ModelError, "5 numbers a row, and the model's vectors have 3"),
        (torch.zeros(4, 3, 1), ModelError, "of shape .4, 3, 1."),
        (torch.zeros(4, 3, dtype=torch.int64), ModelError, "expected rows of floating-point numbers"),
        (torch.zeros(5, 3), SourceError, "has 4 records and block_emb 5 rows"),
    ]
    for number, (block_emb, kind, says) in enumerate(cases):
        with pytest.raises(kind, match=says):
            HuggingfaceFolder.open(release(tmp_path / str(number), block_emb=block_emb))


def test_a_vocabulary_larger_than_the_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="7 word pieces, and the model knows 6"):
        HuggingfaceFolder.open(release(tmp_path / "m", vocab_size=6))


def test_a_checkpoint_without_block_emb_is_refused(tmp_path: Path) -> None:
    folder = release(tmp_path / "m")
    save_file(WEIGHTS, folder / "model.safetensors")
    with pytest.raises(ModelError, match="No block_emb among the weights"):
        HuggingfaceFolder.open(folder)


@pytest.mark.parametrize(
    "name", ["config.json", "vocab.txt", "model.safetensors", "tokenizer_config.json", "block_records.npy"]
)
@pytest.mark.parametrize("data", [b"\xff\xfe{", b"[[[[" * 3, b"null"])
def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path, name: str, data: bytes) -> None:
    folder = release(tmp_path / "m")
    (folder / name).write_bytes(data)
    if name == "vocab.txt" and data.isascii():
        data = b"\xff" + data  # as text it would be a vocabulary of one piece
        (folder / name).write_bytes(data)
    with pytest.raises((ModelError, SourceError)) as error:
        HuggingfaceFolder.open(folder)
    assert str(tmp_path) in str(error.value)


class Attack:
    """Would write a file if its pickle were run."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


def test_pickles_that_ask_for_code_are_refused_and_not_run(tmp_path: Path) -> None:
    folder = release(tmp_path / "m")
    records = np.empty(4, dtype=object)
    records[:] = [b"1", b"2", b"3", Attack(tmp_path / "trace")]
    np.save(folder / "block_records.npy", records)
    with pytest.raises(UnsafeFileError, match="block_records"):
        list(documents_with_vectors(HuggingfaceFolder.open(folder), 9))
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"block_emb": Attack(tmp_path / "trace")}, 2))
    with pytest.raises(UnsafeFileError, match=r"pytorch_model\.bin"):
        HuggingfaceFolder.open(folder)
    assert not (tmp_path / "trace").exists()
