"""The configuration keeps what it is given, says which row is padding, and survives files of the past."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny import tiny, tiny_config

from realm.models.configuration import RealmConfig
from realm.models.embedder import RealmEmbedder


def test_unknown_keys_become_attributes_and_survive_saving(tmp_path: Path) -> None:
    config = tiny_config(searcher_seq_len=64, made_up={"a": [1, 2]})
    config.save_pretrained(tmp_path)
    found = RealmConfig.from_pretrained(tmp_path)
    assert (found.searcher_seq_len, found.made_up) == (64, {"a": [1, 2]})
    assert json.loads((tmp_path / "config.json").read_text("utf-8"))["searcher_seq_len"] == 64


def test_unknown_keys_survive_loading_and_saving_a_network(tmp_path: Path) -> None:
    tiny(RealmEmbedder, searcher_seq_len=64).save_pretrained(tmp_path / "a")
    RealmEmbedder.from_pretrained(tmp_path / "a").save_pretrained(tmp_path / "b")
    assert RealmEmbedder.from_pretrained(tmp_path / "b").config.searcher_seq_len == 64


def test_every_value_survives_saving(tmp_path: Path) -> None:
    config = tiny_config(pad_token_id=5, bos_token_id=3, eos_token_id=4, layer_norm_eps=1e-7, hidden_act="relu")
    config.save_pretrained(tmp_path)
    found, wanted = RealmConfig.from_pretrained(tmp_path).to_dict(), config.to_dict()
    assert {key: value for key, value in wanted.items() if found.get(key) != value} == {}


def test_a_keyword_of_from_pretrained_overrides_the_file(tmp_path: Path) -> None:
    tiny(RealmEmbedder).save_pretrained(tmp_path)
    model = RealmEmbedder.from_pretrained(tmp_path, num_candidates=9, reader_beam_size=4)
    assert (model.config.num_candidates, model.config.reader_beam_size) == (9, 4)


@pytest.mark.parametrize(("said", "row"), [(0, 0), (1, 0), (2, 2), (None, None)])
def test_the_padding_row_is_what_was_said_except_for_the_old_mistake(said: int | None, row: int | None) -> None:
    model = tiny(RealmEmbedder, pad_token_id=said)
    assert model.config.pad_token_id == said
    assert model.realm.embeddings.word_embeddings.padding_idx == row
    torch.manual_seed(0)
    zero_rows = RealmEmbedder(model.config).realm.embeddings.word_embeddings.weight.abs().amax(-1) == 0.0
    assert zero_rows.nonzero().flatten().tolist() == ([] if row is None else [row])
