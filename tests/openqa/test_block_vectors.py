"""`block_emb` of RealmForOpenQA on disk: never lost, never another model's, always sent along."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers.modeling_utils
from tiny_model import TINY
from torch import Tensor

from realm.models.configuration import RealmConfig
from realm.openqa.block_vectors import BLOCK_EMB_FILE
from realm.openqa.model import RealmForOpenQA


def fresh(block_emb: Tensor | None = None) -> RealmForOpenQA:
    model = RealmForOpenQA(RealmConfig(vocab_size=40, **TINY))
    if block_emb is not None:
        model.block_emb = block_emb
    return model


def test_vectors_that_are_nowhere_are_said_to_be_zeros(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fresh(torch.randn(12, 16)).save_pretrained(tmp_path)
    (tmp_path / BLOCK_EMB_FILE).unlink()
    loaded = RealmForOpenQA.from_pretrained(tmp_path)
    assert not caplog.records  # a searcher may stand in for them
    loaded.block_embedding_to("cpu")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "all 12 rows of block_emb are zeros" in caplog.text
    assert BLOCK_EMB_FILE in caplog.text
    assert not loaded.block_emb.any()
    assert len(caplog.records) == 1


def test_vectors_that_were_given_or_found_are_used_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for inside in (True, False):
        fresh(torch.randn(12, 16)).save_pretrained(tmp_path, block_emb_inside=inside)
        assert RealmForOpenQA.from_pretrained(tmp_path).block_emb.any()
    assert not caplog.records


def test_a_model_without_vectors_does_not_take_over_those_of_the_model_before_it(tmp_path: Path) -> None:
    fresh(torch.randn(12, 16)).save_pretrained(tmp_path)
    fresh().save_pretrained(tmp_path)
    assert not (tmp_path / BLOCK_EMB_FILE).exists()
    assert not RealmForOpenQA.from_pretrained(tmp_path).block_emb.any()


@pytest.mark.parametrize("saved_before", [True, False])
def test_vectors_are_uploaded_with_the_weights(
    saved_before: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hub:
        repo_id = "some/one"

        def create_repo(self, *_: Any, **__: Any) -> Hub:
            return self

        def save(self, path: str) -> None:
            Path(path).touch()

    uploaded: list[set[str]] = []

    def upload(self: RealmForOpenQA, folder: str, repo_id: str, before: dict[str, float], **_: Any) -> None:
        # What transformers does: files that are new or newer than when saving began.
        names = os.listdir(folder)
        uploaded.append({name for name in names if (tmp_path / name).stat().st_mtime > before.get(name, 0.0)})

    # Order: the first name is that of transformers 5.23, the second that of 5.17.
    monkeypatch.setattr(transformers.modeling_utils, "hf_api", Hub, raising=False)
    monkeypatch.setattr(transformers.modeling_utils, "create_repo", Hub().create_repo, raising=False)
    monkeypatch.setattr(transformers.modeling_utils, "create_and_tag_model_card", lambda *_, **__: Hub())
    monkeypatch.setattr(RealmForOpenQA, "_upload_modified_files", upload)
    model = fresh(torch.randn(12, 16))
    if saved_before:
        model.save_pretrained(tmp_path)
    model.save_pretrained(tmp_path, push_to_hub=True)
    assert uploaded
    assert uploaded[0] >= {BLOCK_EMB_FILE, "model.safetensors"}
