"""Google's release in one folder, with tiny shapes; the second writer of checkpoints is in conftest."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from realm.errors import ModelError, SourceError
from realm.interop.google_checkpoint import load_google_checkpoint, save_google_checkpoint
from realm.interop.google_folder import GoogleFolder
from realm.interop.release import documents_with_vectors
from realm.interop.tfrecord import write_tfrecord

LAYERS, HIDDEN, WIDE, PIECES, PLACES, DIM, SPAN = 3, 64, 5, 9, 7, 4, 6
RECORDS = [b"Z\xc3\xbcrich [SEP] lake", b"", b"three"]
VECTORS = np.arange(12, dtype=np.float32).reshape(3, 4) / 8
WriteByHand = Callable[[Path, Mapping[str, np.ndarray[Any, Any]]], None]


def weights() -> dict[str, Tensor]:
    """A tiny Open-QA model under our names."""
    shapes: dict[str, tuple[int, ...]] = {}

    def dense(name: str, out: int, into: int) -> None:
        shapes.update({f"{name}.weight": (out, into), f"{name}.bias": (out,)})

    def norm(name: str, width: int) -> None:
        shapes.update({f"{name}.weight": (width,), f"{name}.bias": (width,)})

    for tower in ("embedder", "reader"):
        trunk = f"{tower}.realm"
        for name, rows in (("word", PIECES), ("position", PLACES), ("token_type", 2)):
            shapes[f"{trunk}.embeddings.{name}_embeddings.weight"] = (rows, HIDDEN)
        norm(f"{trunk}.embeddings.LayerNorm", HIDDEN)
        for layer in range(LAYERS):
            place = f"{trunk}.encoder.layer.{layer}"
            for name in ("self.query", "self.key", "self.value", "output.dense"):
                dense(f"{place}.attention.{name}", HIDDEN, HIDDEN)
            norm(f"{place}.attention.output.LayerNorm", HIDDEN)
            dense(f"{place}.intermediate.dense", WIDE, HIDDEN)
            dense(f"{place}.output.dense", HIDDEN, WIDE)
            norm(f"{place}.output.LayerNorm", HIDDEN)
        dense(f"{trunk}.pooler.dense", HIDDEN, HIDDEN)
    dense("embedder.cls.dense", DIM, HIDDEN)
    norm("embedder.cls.LayerNorm", DIM)
    dense("reader.qa_outputs.dense_intermediate", 2 * SPAN, HIDDEN)
    dense("reader.qa_outputs.dense_output", 1, SPAN)
    norm("reader.qa_outputs.layer_normalization", SPAN)
    return {name: torch.randn(shape) for name, shape in shapes.items()}


@pytest.fixture
def release(tmp_path: Path, by_hand: WriteByHand) -> Path:
    folder = tmp_path / "google"
    for below in ("model", "embedder/encoded", "corpus", "module/assets"):
        (folder / below).mkdir(parents=True)
    save_google_checkpoint(weights(), folder / "model" / "model.ckpt-300", "openqa", "finetuned")
    by_hand(folder / "embedder" / "encoded" / "encoded.ckpt", {"block_emb": VECTORS})
    write_tfrecord(folder / "corpus" / "blocks.tfr", RECORDS)
    write_tfrecord(folder / "corpus" / "titles.tfr", [b"Lakes", b"", b"T"])
    (folder / "module" / "assets" / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nlake\n")
    return folder


def test_records_come_with_titles_and_vectors(release: Path) -> None:
    found = GoogleFolder.open(release)
    assert (found.rows, found.dim) == (3, 4)
    steps = list(documents_with_vectors(found, 2))
    assert [(one.id, one.title, one.text) for documents, _ in steps for one in documents] == [
        ("0", "Lakes", "Zürich [SEP] lake"),
        ("1", "", ""),
        ("2", "T", "three"),
    ]
    np.testing.assert_array_equal(np.concatenate([vectors for _, vectors in steps]), VECTORS)


def test_the_model_has_the_sizes_and_weights_of_its_variables(release: Path, tmp_path: Path) -> None:
    GoogleFolder.open(release).write_model(tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    expected = {
        "num_hidden_layers": LAYERS,
        "hidden_size": HIDDEN,
        "num_attention_heads": 1,
        "intermediate_size": WIDE,
        "vocab_size": PIECES,
        "max_position_embeddings": PLACES,
        "type_vocab_size": 2,
        "retriever_proj_size": DIM,
        "span_hidden_size": SPAN,
        "num_block_records": 3,
        "hidden_act": "gelu_new",
    }
    assert {name: config[name] for name in expected} == expected
    found = load_file(tmp_path / "out" / "model.safetensors")
    oracle = load_google_checkpoint(release / "model" / "model.ckpt-300", "openqa")
    assert found.keys() == oracle.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in oracle.items())


def test_heads_are_told_by_a_config_or_by_their_usual_width(release: Path) -> None:
    assert GoogleFolder.open(release).config.num_attention_heads == 1
    (release / "bert_config.json").write_text('{"num_attention_heads": 8}')
    assert GoogleFolder.open(release).config.num_attention_heads == 8
    (release / "bert_config.json").write_text("{}")
    with pytest.raises(ModelError, match="num_attention_heads"):
        GoogleFolder.open(release)


def test_one_of_several_models_must_be_named(release: Path) -> None:
    save_google_checkpoint(weights(), release / "model" / "model.ckpt-200", "openqa", "finetuned")
    with pytest.raises(SourceError, match=r"model\.ckpt-200, .*model\.ckpt-300"):
        GoogleFolder.open(release)
    chosen = release / "model" / "model.ckpt-200"
    assert GoogleFolder.open(release, chosen).model.prefix == chosen


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("model/model.ckpt-300.index", "an embedder and a reader .* found none"),
        ("embedder/encoded/encoded.ckpt.index", "hold a block_emb; found none"),
        ("corpus/blocks.tfr", r"No blocks\.tfr below"),
        ("module/assets/vocab.txt", r"No vocab\.txt below"),
    ],
)
def test_a_missing_part_is_named(release: Path, name: str, says: str) -> None:
    (release / name).unlink()
    with pytest.raises(SourceError, match=says):
        GoogleFolder.open(release)
    with pytest.raises(SourceError, match="No folder"):
        GoogleFolder.open(release / "nowhere")


def test_copies_of_the_vocabulary_do_no_harm_and_another_one_does(release: Path) -> None:
    copy = release / "vocab.txt"
    copy.write_bytes((release / "module" / "assets" / "vocab.txt").read_bytes())
    GoogleFolder.open(release)
    copy.write_text("[PAD]\n")
    with pytest.raises(SourceError, match="keep the one that is meant"):
        GoogleFolder.open(release)


def test_vectors_of_another_width_are_refused(release: Path, by_hand: WriteByHand) -> None:
    by_hand(release / "embedder" / "encoded" / "encoded.ckpt", {"block_emb": VECTORS[:, :2].copy()})
    with pytest.raises(ModelError, match="2 numbers a row, and the model's vectors have 4"):
        GoogleFolder.open(release)


@pytest.mark.parametrize(
    ("records", "says"), [(2, "has 2 records, and block_emb 3 rows"), (4, "has more records than")]
)
def test_another_number_of_records_is_refused(release: Path, records: int, says: str) -> None:
    write_tfrecord(release / "corpus" / "blocks.tfr", [b"text"] * records)
    with pytest.raises(SourceError, match=says):
        list(documents_with_vectors(GoogleFolder.open(release), 2))


def test_a_flipped_byte_is_found_in_texts_titles_and_vectors(release: Path) -> None:
    for name in ("corpus/blocks.tfr", "corpus/titles.tfr", "embedder/encoded/encoded.ckpt.data-00000-of-00001"):
        path = release / name
        whole = path.read_bytes()
        path.write_bytes(whole[:14] + bytes([whole[14] ^ 1]) + whole[15:])
        with pytest.raises(SourceError, match="checksum"):
            list(documents_with_vectors(GoogleFolder.open(release), 2))
        path.write_bytes(whole)
    list(documents_with_vectors(GoogleFolder.open(release), 2))


def test_a_record_that_is_not_text_is_named(release: Path) -> None:
    write_tfrecord(release / "corpus" / "blocks.tfr", [b"a", b"b\xff", b"c"])
    with pytest.raises(SourceError, match=r"blocks\.tfr: record 1 is not UTF-8 text at byte 1"):
        list(documents_with_vectors(GoogleFolder.open(release), 2))
