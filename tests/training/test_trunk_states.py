"""States of a frozen trunk against transformers, against the whole embedder, and after a kill."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_trunk import HIDDEN, tokenizer_of
from transformers import BertModel

from realm.features.inputs import InputBuilder, Row
from realm.models.embedder import RealmEmbedder
from realm.training import trunk_states
from realm.training.closed_form import mean_pooling_layer
from realm.training.embedding_progress import EmbeddingProgress
from realm.training.trunk_states import TrunkStates, vectors_of_states
from realm.training.warm_start import config_from_bert, load_trunk


@pytest.fixture(scope="module")
def builder(trunk: Path) -> InputBuilder:
    return InputBuilder(tokenizer_of(trunk))


@pytest.fixture(scope="module")
def rows(builder: InputBuilder) -> list[Row]:
    """Pairs of title and body of many lengths."""
    choice = random.Random(3)

    def ids(most: int) -> list[int]:
        return [choice.randrange(5, 120) for _ in range(choice.randrange(1, most))]

    return [builder.block(ids(6), ids(60), 60) for _ in range(50)]


def test_states_are_those_of_transformers(trunk: Path, builder: InputBuilder, rows: list[Row]) -> None:
    bert = BertModel.from_pretrained(trunk).eval()
    states = TrunkStates(trunk, builder).of(rows)
    assert (states.shape, states.dtype) == ((50, 2, HIDDEN), torch.float16)
    for row, found in zip(rows, states.float(), strict=True):
        with torch.no_grad():
            hidden = bert(torch.tensor([row.ids]), token_type_ids=torch.tensor([row.segments])).last_hidden_state[0]
        torch.testing.assert_close(found, torch.stack([hidden.mean(0), hidden[0]]), rtol=2e-3, atol=2e-3)


def test_pooling_layer_makes_of_them_what_the_embedder_makes_of_texts(
    trunk: Path, builder: InputBuilder, rows: list[Row]
) -> None:
    torch.manual_seed(0)
    embedder = RealmEmbedder(config_from_bert(trunk, extra_layers=1, retriever_proj_size=12)).eval()
    load_trunk(embedder.realm, trunk)
    pooling = embedder.realm.encoder.layer[-1]
    mean_pooling_layer(pooling)
    with torch.no_grad():
        # Anywhere but in queries and keys it may have learned something, and [CLS] may matter.
        for name, parameter in [*pooling.named_parameters(), *embedder.cls.named_parameters()]:
            if ".query." not in name and ".key." not in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
        vectors = vectors_of_states(embedder, TrunkStates(trunk, builder).of(rows).float())
        for row, found in zip(rows, vectors, strict=True):
            expected = embedder(
                torch.tensor([row.ids]), token_type_ids=torch.tensor([row.segments]), return_dict=True
            ).projected_score[0]
            torch.testing.assert_close(found, expected, rtol=0, atol=0.01)
        assert vectors.std(0).min() > 0.1


def test_killed_computation_goes_on(
    trunk: Path, builder: InputBuilder, rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trunk_states, "_ROWS_PER_PART", 20)
    states = TrunkStates(trunk, builder)
    whole = states.of(rows)
    computed: list[int] = []
    told: list[EmbeddingProgress] = []
    of = states.of

    def dying(part: list[Row], report: object) -> torch.Tensor:
        if len(computed) == 2:
            raise KeyboardInterrupt
        computed.append(len(part))
        return of(part, report)  # type: ignore[arg-type]

    monkeypatch.setattr(states, "of", dying)
    with pytest.raises(KeyboardInterrupt):
        states.cached(rows, tmp_path, "trunk")
    monkeypatch.setattr(states, "of", lambda part, report: computed.append(len(part)) or of(part, report))
    found = states.cached(rows, tmp_path, "trunk", told.append)
    assert computed == [20, 20, 10]
    assert (told[-1].done, told[-1].total, told[-1].found) == (50, 50, 40)
    np.testing.assert_allclose(found.float().numpy(), whole.float().numpy(), rtol=0, atol=2e-3)
    # A part that was harmed is made anew.
    [damaged] = tmp_path.glob("*/000001.npy")
    damaged.write_bytes(damaged.read_bytes()[:99])
    assert torch.equal(states.cached(rows, tmp_path, "trunk"), found)
    assert computed == [20, 20, 10, 20]
    # Other texts, or another trunk: nothing that is there is taken for theirs.
    states.cached(rows[:10], tmp_path, "trunk")
    states.cached(rows, tmp_path, "another")
    assert computed == [20, 20, 10, 20, 10, 20, 20, 10]
