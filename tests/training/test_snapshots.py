"""Exports and snapshots are there whole or not at all, belong together, and are kept as long as they are needed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_embedder import change, tiny_blocks, tiny_embedder
from tiny_trunk import tokenizer_of

from realm.errors import CorruptFileError, KnowledgeBaseError, ModelError
from realm.features.inputs import InputBuilder
from realm.models.embedder import RealmEmbedder
from realm.training.corpus_embedding import embed_corpus
from realm.training.corpus_vectors import weights_digest
from realm.training.embedding_progress import EmbeddingProgress
from realm.training.exports import drop_exports_after, export_embedder, exports
from realm.training.snapshot_making import begun_exports, make_snapshot
from realm.training.snapshots import Snapshot, drop_snapshots_after, prune_snapshots, snapshot_folders, snapshot_of
from realm.training.token_store import TokenStore

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def blocks(trunk: Path, tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    return tiny_blocks(trunk, tmp_path_factory.mktemp("blocks"), 12)


@pytest.fixture(scope="module")
def builder(trunk: Path) -> InputBuilder:
    return InputBuilder(tokenizer_of(trunk))


@pytest.fixture
def embedder(trunk: Path) -> RealmEmbedder:
    return tiny_embedder(trunk)


def made(run: Path, step: int, embedder: RealmEmbedder, blocks: TokenStore, builder: InputBuilder) -> Path:
    change(embedder, step)
    return make_snapshot(run, export_embedder(run, step, embedder), blocks, builder, CPU, max_pieces=160)


def test_an_export_gives_back_the_same_weights_and_leaves_random_numbers_alone(
    embedder: RealmEmbedder, tmp_path: Path
) -> None:
    embedder.train()
    torch.manual_seed(3)
    export = export_embedder(tmp_path, 7, embedder)
    opened = export.open(CPU)
    drawn = torch.rand(3)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(3))
    assert (export.step, export.folder.name) == (7, "step-00000007")
    assert not opened.training
    assert embedder.training
    assert export.embedder == weights_digest(opened.state_dict(), opened.config)
    assert not [path for path in (tmp_path / "exports").iterdir() if path.name.startswith(".")]


def test_the_newest_exports_stay_and_the_same_one_is_written_once(embedder: RealmEmbedder, tmp_path: Path) -> None:
    first = export_embedder(tmp_path, 5, embedder)
    assert export_embedder(tmp_path, 5, embedder) == first
    change(embedder, 1)
    assert export_embedder(tmp_path, 5, embedder).embedder != first.embedder
    for step in (10, 20):
        export_embedder(tmp_path, step, embedder)
    assert [export.step for export in exports(tmp_path)] == [10, 20]
    drop_exports_after(tmp_path, 10)
    assert [export.step for export in exports(tmp_path)] == [10]


def test_a_snapshot_holds_the_vectors_of_its_embedder(
    embedder: RealmEmbedder, blocks: TokenStore, builder: InputBuilder, tmp_path: Path
) -> None:
    folder = made(tmp_path, 5, embedder, blocks, builder)
    snapshot = Snapshot.open(folder, blocks, embedder.config)
    snapshot.verify()
    again = embed_corpus(blocks, embedder, builder, tmp_path / "again", max_pieces=160)
    rows = np.arange(len(blocks))
    assert snapshot.vectors.vectors.take(rows).tobytes() == again.vectors.take(rows).tobytes()
    assert (snapshot.name, snapshot.step) == ("step-00000005", 5)
    assert {path.name for path in folder.iterdir()} == {"embedder", "vectors", "snapshot.json"}
    assert not list((tmp_path / "refreshing").iterdir())


def test_a_snapshot_of_another_corpus_or_model_is_refused(
    embedder: RealmEmbedder, blocks: TokenStore, builder: InputBuilder, trunk: Path, tmp_path: Path
) -> None:
    folder = made(tmp_path, 5, embedder, blocks, builder)
    others = tiny_blocks(trunk, tmp_path, 12, seed=2)
    with pytest.raises(KnowledgeBaseError, match="another corpus"):
        Snapshot.open(folder, others, embedder.config)
    with pytest.raises(ModelError, match="another model"):
        Snapshot.open(folder, blocks, tiny_embedder(trunk, dim=8).config)


def test_parts_of_two_snapshots_do_not_make_one(
    embedder: RealmEmbedder, blocks: TokenStore, builder: InputBuilder, tmp_path: Path
) -> None:
    first, second = (made(tmp_path, step, embedder, blocks, builder) for step in (5, 10))
    shutil.rmtree(second / "embedder")
    shutil.copytree(first / "embedder", second / "embedder")
    with pytest.raises(CorruptFileError, match="do not belong together"):
        Snapshot.open(second, blocks, embedder.config)
    (first / "snapshot.json").unlink()
    with pytest.raises(CorruptFileError, match="no whole snapshot"):
        Snapshot.open(first, blocks, embedder.config)


def test_changed_bytes_are_found_by_verify(
    embedder: RealmEmbedder, blocks: TokenStore, builder: InputBuilder, tmp_path: Path
) -> None:
    folder = made(tmp_path, 5, embedder, blocks, builder)
    snapshot = Snapshot.open(folder, blocks, embedder.config)
    weights = folder / "embedder" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(CorruptFileError, match="not those that were exported"):
        snapshot.verify()


class Killed(Exception):
    """Takes the place of a signal."""


def test_a_killed_refresh_publishes_nothing_and_is_gone_on_with_without_the_export(
    embedder: RealmEmbedder, blocks: TokenStore, builder: InputBuilder, tmp_path: Path
) -> None:
    export = export_embedder(tmp_path, 5, embedder)

    def kill(progress: EmbeddingProgress) -> None:
        raise Killed

    with pytest.raises(Killed):
        make_snapshot(tmp_path, export, blocks, builder, CPU, max_pieces=160, progress=kill)
    assert not snapshot_folders(tmp_path)
    shutil.rmtree(tmp_path / "exports")
    (begun,) = begun_exports(tmp_path)
    folder = make_snapshot(tmp_path, begun, blocks, builder, CPU, max_pieces=160)
    assert snapshot_of(tmp_path, export, blocks) == folder
    assert not begun_exports(tmp_path)
    Snapshot.open(folder, blocks, embedder.config).verify()


def test_the_same_step_with_other_weights_takes_the_place_of_the_first(
    embedder: RealmEmbedder, blocks: TokenStore, builder: InputBuilder, tmp_path: Path
) -> None:
    first = Snapshot.open(made(tmp_path, 5, embedder, blocks, builder), blocks, embedder.config)
    change(embedder, 99)
    second = Snapshot.open(made(tmp_path, 5, embedder, blocks, builder), blocks, embedder.config)
    assert first.folder == second.folder
    assert first.export.embedder != second.export.embedder
    second.verify()


def test_old_snapshots_go_unless_they_are_in_use_or_named_by_a_checkpoint(
    embedder: RealmEmbedder, blocks: TokenStore, builder: InputBuilder, tmp_path: Path
) -> None:
    for step in (1, 2, 3, 4, 5):
        made(tmp_path, step, embedder, blocks, builder)
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "state.json").write_text(json.dumps({"job": {"snapshot": "step-00000002"}}))
    left = tmp_path / "snapshots" / ".step-00000000.left.tmp"
    left.mkdir()
    assert prune_snapshots(tmp_path, 2, {"step-00000003"}) == ["step-00000001"]
    assert list(snapshot_folders(tmp_path)) == [2, 3, 4, 5]
    assert not left.exists()
    drop_snapshots_after(tmp_path, 3)
    assert list(snapshot_folders(tmp_path)) == [2, 3]
