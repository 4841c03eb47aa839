"""Every way in which weights lie on disk gives them back unchanged: formats, shards, old names, names left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import NETWORKS, PIECES, example, tiny
from torch import Tensor

from realm.errors import ModelError, UnsafeFileError
from realm.models.checkpoints import Checkpoint
from realm.models.configuration import RealmConfig
from realm.models.embedder import RealmEmbedder
from realm.models.encoder import RealmKnowledgeAugEncoder
from realm.models.reader import RealmReader
from realm.models.scorer import RealmScorer
from realm.models.trunk import RealmPreTrainedModel

ALIASES = ("cls.predictions.decoder.bias", "cls.predictions.decoder.weight")


def as_safetensors(model: RealmPreTrainedModel, folder: Path) -> None:
    model.save_pretrained(folder)


def as_safetensors_shards(model: RealmPreTrainedModel, folder: Path) -> None:
    model.save_pretrained(folder, max_shard_size="5KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1


def as_bin(model: RealmPreTrainedModel, folder: Path) -> None:
    model.config.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")


def as_old_bin_with_positions(model: RealmPreTrainedModel, folder: Path) -> None:
    """The format before torch 1.6, with the buffers that transformers 4.16 kept."""
    model.config.save_pretrained(folder)
    state = dict(model.state_dict())
    for name in [name for name in state if name.endswith("position_embeddings.weight")]:
        prefix = name.removesuffix("position_embeddings.weight")
        state[f"{prefix}position_ids"] = state[f"{prefix}token_type_ids"] = torch.arange(20)[None]
    torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)


def as_bin_shards(model: RealmPreTrainedModel, folder: Path) -> None:
    model.config.save_pretrained(folder)
    weight_map, state = {}, model.state_dict()
    for number in (0, 1):
        part = {name: tensor for place, (name, tensor) in enumerate(state.items()) if place % 2 == number}
        torch.save(part, folder / f"pytorch_model-{number}.bin")
        weight_map.update(dict.fromkeys(part, f"pytorch_model-{number}.bin"))
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index), "utf-8")


def as_bin_without_aliases(model: RealmPreTrainedModel, folder: Path) -> None:
    model.config.save_pretrained(folder)
    torch.save(without_aliases(model), folder / "pytorch_model.bin")


def without_aliases(model: RealmPreTrainedModel) -> dict[str, Tensor]:
    """The state with each parameter under its first name only."""
    seen, state = set(), {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            state[name] = tensor.detach()
        seen.add(id(tensor))
    return state


WRITERS = [
    as_safetensors,
    as_safetensors_shards,
    as_bin,
    as_old_bin_with_positions,
    as_bin_shards,
    as_bin_without_aliases,
]
Writer = Callable[[RealmPreTrainedModel, Path], None]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("kind", NETWORKS)
def test_a_network_comes_back_as_it_was_written(
    kind: type[RealmPreTrainedModel], write: Writer, tied: bool, tmp_path: Path
) -> None:
    model = tiny(kind, tie_word_embeddings=tied)
    write(model, tmp_path)
    again, report = kind.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    wanted, found = model.state_dict(), again.state_dict()
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if not torch.equal(found[name], wanted[name])] == []
    assert count_of_parameters(again) == count_of_parameters(model)
    assert not again.training
    for left, right in zip(again(**example(kind)).to_tuple(), model(**example(kind)).to_tuple(), strict=True):
        assert torch.equal(left, right)


def count_of_parameters(model: RealmPreTrainedModel) -> int:
    """Shared ones count once, so that a loader that splits a shared one is caught."""
    return sum(parameter.numel() for parameter in model.parameters())


def test_files_written_here_hold_each_weight_once(tmp_path: Path) -> None:
    for kind in NETWORKS:
        tiny(kind).save_pretrained(tmp_path)
        names = set(load_file(tmp_path / "model.safetensors"))
        assert not any(name.startswith("query_embedder.") for name in names)
        assert not any(name.endswith("position_ids") for name in names)
        left_out = {name for name in tiny(kind).state_dict() if name not in names}
        prefix = "embedder." if kind is RealmScorer else ""
        expected = ALIASES if kind is RealmKnowledgeAugEncoder else ALIASES[:1]
        assert left_out == {prefix + name for name in expected}


@pytest.mark.parametrize("names", ["both", "alias only"])
def test_a_shared_scorer_loads_under_the_names_4_37_2_gave_it(names: str, tmp_path: Path) -> None:
    scorer = tiny(RealmScorer)
    scorer.config.save_pretrained(tmp_path)
    own = scorer.state_dict()
    aliases = {f"query_{name}": tensor for name, tensor in own.items()}
    torch.save({**own, **aliases} if names == "both" else aliases, tmp_path / "pytorch_model.bin")
    again, report = RealmScorer.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert again.query_embedder is again.embedder
    assert not again.config.separate_query_embedder
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in own.items())


def test_a_query_embedder_given_at_loading_keeps_its_weights_and_is_saved(tmp_path: Path) -> None:
    scorer, other = RealmScorer(tiny(RealmScorer).config, tiny(RealmEmbedder, seed=4)), tiny(RealmEmbedder, seed=5)
    scorer.save_pretrained(tmp_path / "a")
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    loaded = RealmScorer.from_pretrained(tmp_path / "a", query_embedder=other, config=tiny(RealmScorer).config)
    assert loaded.query_embedder is other
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.state_dict().items())
    loaded.save_pretrained(tmp_path / "b")
    again = RealmScorer.from_pretrained(tmp_path / "b")
    assert torch.equal(again.query_embedder.cls.dense.weight, other.cls.dense.weight)
    assert torch.equal(again.embedder.cls.dense.weight, scorer.embedder.cls.dense.weight)


@pytest.mark.parametrize("kind", [RealmEmbedder, RealmReader])
def test_a_checkpoint_may_leave_the_unused_head_out(kind: type[RealmPreTrainedModel], tmp_path: Path) -> None:
    model = tiny(kind)
    model.config.save_pretrained(tmp_path)
    used = {name: t for name, t in model.state_dict().items() if not name.startswith("cls.predictions.")}
    save_file(used, tmp_path / "model.safetensors", metadata={"format": "pt"})
    again, report = kind.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in used.items())
    assert all(parameter.isfinite().all() for parameter in again.parameters())


@pytest.mark.parametrize("write", WRITERS)
def test_a_checkpoint_is_a_mapping_of_the_stored_names(write: Writer, tmp_path: Path) -> None:
    model = tiny(RealmEmbedder)
    write(model, tmp_path)
    checkpoint, state = Checkpoint(tmp_path), model.state_dict()
    stored = {name for name in checkpoint if not name.endswith(("position_ids", "token_type_ids"))}
    assert stored >= set(without_aliases(model))
    assert len(checkpoint) == len(list(checkpoint))
    assert all(torch.equal(checkpoint[name], state[name]) for name in stored)
    with pytest.raises(KeyError):
        checkpoint["nothing"]


def test_safetensors_are_preferred_and_a_subfolder_is_looked_into(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "model.safetensors")
    torch.save({"b": torch.ones(2)}, tmp_path / "pytorch_model.bin")
    assert list(Checkpoint(tmp_path)) == ["a"]
    (tmp_path / "inside").mkdir()
    torch.save({"c": torch.ones(2)}, tmp_path / "inside" / "pytorch_model.bin")
    assert list(Checkpoint(tmp_path, {"subfolder": "inside"})) == ["c"]


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"No weights in .*: expected model\.safetensors or pytorch_model\.bin"):
        Checkpoint(tmp_path)
    with pytest.raises(ModelError, match="No weights in nobody/knows"):
        Checkpoint("nobody/knows")


@pytest.mark.parametrize("write", [as_safetensors_shards, as_bin_shards])
def test_a_missing_shard_is_named(write: Writer, tmp_path: Path) -> None:
    write(tiny(RealmEmbedder), tmp_path)
    shard = sorted([*tmp_path.glob("model-*"), *tmp_path.glob("pytorch_model-*")])[1]
    shard.unlink()
    with pytest.raises(ModelError, match=rf"{shard.name} is missing from .*{tmp_path.name}"):
        Checkpoint(tmp_path)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    for name in ("model.safetensors", "pytorch_model.bin"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_bytes(b"PK\x03\x04 is not all there is to a file")
        with pytest.raises(ModelError, match=name):
            Checkpoint(folder)


class Trap:
    """Would make a file when unpickled by a reader that obeys."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_bin_file_that_asks_for_code_is_refused_and_not_run(zipped: bool, tmp_path: Path) -> None:
    state = {"a": torch.ones(1), "b": Trap(tmp_path / "sprung")}
    torch.save(state, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UnsafeFileError, match=r"pytorch_model\.bin"):
        Checkpoint(tmp_path)
    assert not (tmp_path / "sprung").exists()


def test_a_vocabulary_of_another_size_is_not_loaded_silently(tmp_path: Path) -> None:
    tiny(RealmEmbedder).save_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        RealmEmbedder.from_pretrained(tmp_path, vocab_size=PIECES + 1)


@pytest.mark.parametrize("sharded", [False, True])
def test_a_variant_is_found_under_the_names_it_was_saved_with(sharded: bool, tmp_path: Path) -> None:
    model = tiny(RealmScorer)
    model.save_pretrained(tmp_path, variant="fp16", **({"max_shard_size": "2KB"} if sharded else {}))
    loaded = RealmScorer.from_pretrained(tmp_path, variant="fp16")
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in model.state_dict().items())
    with pytest.raises(ModelError, match=r"expected model\.safetensors or pytorch_model\.bin"):
        RealmScorer.from_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"expected model\.bf16\.safetensors"):
        RealmScorer.from_pretrained(tmp_path, variant="bf16")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"weight_map": 3}'])
def test_a_damaged_index_of_shards_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(ModelError, match=r"model\.safetensors\.index\.json cannot be read as an index of weights"):
        Checkpoint(tmp_path)


@pytest.mark.parametrize("by", ["keyword", "config"])
def test_questions_get_an_embedder_of_their_own_when_asked_for(by: str, tmp_path: Path) -> None:
    tiny(RealmScorer).save_pretrained(tmp_path)
    options: dict[str, Any] = {"separate_query_embedder": True}
    if by == "config":
        options = {"config": RealmConfig.from_pretrained(tmp_path, **options)}
    scorer = RealmScorer.from_pretrained(tmp_path, **options)
    assert scorer.query_embedder is not scorer.embedder
    for question, block in zip(scorer.query_embedder.parameters(), scorer.embedder.parameters(), strict=True):
        assert torch.equal(question, block)
        assert question is not block
    scorer.save_pretrained(tmp_path / "two")
    again = RealmScorer.from_pretrained(tmp_path / "two")
    assert again.config.separate_query_embedder
    shared = RealmScorer.from_pretrained(tmp_path / "two", separate_query_embedder=False)
    assert shared.query_embedder is shared.embedder


def test_a_file_does_not_choose_the_attention_back_end(tmp_path: Path) -> None:
    tiny(RealmEmbedder).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    stored = json.loads(path.read_text(encoding="utf-8"))
    for key in ("attn_implementation", "_attn_implementation"):
        path.write_text(json.dumps({**stored, key: "someone/else@main"}), encoding="utf-8")
        assert RealmEmbedder.from_pretrained(tmp_path).config._attn_implementation == "sdpa"
        assert (
            RealmEmbedder.from_pretrained(tmp_path, attn_implementation="eager").config._attn_implementation == "eager"
        )
