"""Model folders: what belongs to a model, what is said of a folder that is none, and vectors in batches."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from tiny_model import stories, write_tiny_model

from realm.errors import ModelError
from realm.openqa import model_folder
from realm.openqa.model_folder import ModelFolder


@pytest.fixture
def folder(tmp_path: Path, tiny_folder: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(tiny_folder, tmp_path / "model")


def change_weight(folder: Path, name: str) -> None:
    weights = load_file(folder / "model.safetensors")
    weights[name] = weights[name] + 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_vectors_do_not_depend_on_what_they_are_computed_with(
    tiny: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [tiny.inputs.block(tiny.tokenizer.ids_of(d.title), tiny.tokenizer.ids_of(d.text), 288) for d in stories(9)]
    together = tiny.embed(rows)
    alone = np.concatenate([tiny.embed([row]) for row in rows])
    np.testing.assert_allclose(together, alone, atol=1e-4)
    monkeypatch.setattr(model_folder, "_PIECES_AT_ONCE", 300)
    np.testing.assert_allclose(tiny.embed(rows[::-1])[::-1], alone, atol=1e-4)
    assert together.shape == (9, 16)
    assert tiny.embed([]).shape == (0, 16)


def test_a_model_is_another_where_its_vectors_would_be(folder: Path, tiny: ModelFolder) -> None:
    assert ModelFolder.open(str(folder)).reference.digest == tiny.reference.digest
    change_weight(folder, "reader.realm.embeddings.word_embeddings.weight")
    assert ModelFolder.open(str(folder)).reference.digest == tiny.reference.digest
    change_weight(folder, "embedder.cls.dense.bias")
    assert ModelFolder.open(str(folder)).reference.digest != tiny.reference.digest


@pytest.mark.parametrize(
    ("key", "value"), [("num_attention_heads", 4), ("hidden_act", "relu"), ("layer_norm_eps", 1e-3)]
)
def test_a_model_is_another_with_another_config(folder: Path, tiny: ModelFolder, key: str, value: object) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, key: value}), encoding="utf-8")
    assert ModelFolder.open(str(folder)).reference.digest != tiny.reference.digest


def test_a_model_is_another_with_other_word_pieces(folder: Path, tiny: ModelFolder) -> None:
    text = (folder / "tokenizer.json").read_text(encoding="utf-8")
    (folder / "tokenizer.json").write_text(text.replace('"opera"', '"operas"'), encoding="utf-8")
    assert ModelFolder.open(str(folder)).reference.digest != tiny.reference.digest


def test_a_model_is_known_by_its_whole_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert ModelFolder.open("model").reference.name == str(folder.resolve())


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "tokenizer.json"])
def test_what_a_folder_lacks_is_named(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(ModelError, match=f"No model at .*: {missing} missing. Give a model folder, or realm-mini"):
        ModelFolder.open(str(folder))


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"No model at .*nowhere"):
        ModelFolder.open(str(tmp_path / "nowhere"))


def test_damaged_weights_are_named(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot be read as"):
        _ = ModelFolder.open(str(folder)).reference
    with pytest.raises(ModelError, match="cannot be read as"):
        _ = ModelFolder.open(str(folder)).networks


def test_a_damaged_config_is_named(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "realm", ', encoding="utf-8")
    with pytest.raises(ModelError, match="cannot be read as"):
        _ = ModelFolder.open(str(folder)).reference


@pytest.mark.parametrize("text", ["", "{}", '{"model": 3}'])
def test_a_damaged_tokenizer_is_named(folder: Path, text: str) -> None:
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match=r"tokenizer\.json cannot be read as a tokenizer"):
        _ = ModelFolder.open(str(folder)).tokenizer


def test_a_vocabulary_without_special_pieces_is_named(folder: Path) -> None:
    text = (folder / "tokenizer.json").read_text(encoding="utf-8")
    (folder / "tokenizer.json").write_text(text.replace("[CLS]", "[BOS]"), encoding="utf-8")
    with pytest.raises(ModelError, match=r"\[CLS\]"):
        _ = ModelFolder.open(str(folder)).inputs


def test_a_folder_without_a_reader_is_not_filled_up_with_random_weights(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    kept = {key: value for key, value in weights.items() if not key.startswith("reader.qa_outputs.")}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    count = len(weights) - len(kept)
    with pytest.raises(ModelError, match=rf"lacks {count} weights of a RealmForOpenQA, such as reader\.qa_outputs\."):
        _ = ModelFolder.open(str(folder)).networks


def test_weights_that_answering_does_not_use_may_be_missing(folder: Path, tiny: ModelFolder) -> None:
    weights = load_file(folder / "model.safetensors")
    kept = {
        key: value
        for key, value in weights.items()
        if "cls.predictions." not in key and not key.startswith("reader.realm.pooler.")
    }
    assert len(kept) < len(weights)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    row = tiny.inputs.question(tiny.tokenizer.ids_of("who wrote it"), 20)
    np.testing.assert_allclose(ModelFolder.open(str(folder)).embed([row]), tiny.embed([row]), atol=1e-6)
    assert ModelFolder.open(str(folder)).reference.digest == tiny.reference.digest


def test_the_same_seed_makes_the_same_model(tmp_path: Path, tiny: ModelFolder) -> None:
    assert ModelFolder.open(str(write_tiny_model(tmp_path / "one"))).reference.digest == tiny.reference.digest
    other = ModelFolder.open(str(write_tiny_model(tmp_path / "two", seed=1)))
    assert other.reference.digest != tiny.reference.digest
