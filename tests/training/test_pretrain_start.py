"""What `pretrain` starts from, and what fine-tuning starts from afterwards."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from pretrain_towns import town_recipe
from safetensors.torch import load_file, save_file
from tiny_trunk import tokenizer_of
from torch import Tensor
from transformers import BertForMaskedLM

from realm.errors import ModelError, RecipeError
from realm.features.inputs import InputBuilder, Row
from realm.models.embedder import RealmEmbedder
from realm.models.encoder import RealmKnowledgeAugEncoder
from realm.openqa.model_folder import ModelFolder
from realm.training.pretrain_result import assemble_open_qa, write_result
from realm.training.pretrain_start import Start, start_networks

SAMPLE = ("The bridge of Balcor was built by people.", "A mill stands near the river.")


def networks(trunk: Path, folder: Path, **changes: Any) -> tuple[RealmEmbedder, RealmKnowledgeAugEncoder]:
    recipe = town_recipe(trunk, folder, **changes)
    tokenizer = tokenizer_of(trunk)
    builder = InputBuilder(tokenizer)

    def sample() -> list[Row]:
        return [builder.block([], tokenizer.ids_of(text), 60) for text in SAMPLE]

    embedder, encoder = start_networks(recipe, Start.of(recipe), builder, sample)
    return embedder.eval(), encoder.eval()


@pytest.fixture(scope="module")
def masked_lm(trunk: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trunk as a BertForMaskedLM, whose head is far from fresh."""
    folder = tmp_path_factory.mktemp("masked_lm")
    torch.manual_seed(11)
    model = BertForMaskedLM.from_pretrained(trunk)
    with torch.no_grad():
        for parameter in model.cls.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    shutil.copyfile(trunk / "tokenizer.json", folder / "tokenizer.json")
    return folder


def inputs() -> dict[str, Tensor]:
    ids = torch.randint(5, 80, (3, 17), generator=torch.Generator().manual_seed(2))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": (ids % 2)}


def with_old_names(folder: Path, out: Path) -> Path:
    """The same weights under the names that BERT's first files have."""
    shutil.copytree(folder, out)
    weights: Mapping[str, Tensor] = load_file(folder / "model.safetensors")
    names = {name: name for name in weights}
    for name in names:
        if name.startswith("cls."):
            names[name] = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
                "LayerNorm.bias", "LayerNorm.beta"
            )
    save_file({names[name]: value for name, value in weights.items()}, out / "model.safetensors", {"format": "pt"})
    return out


@pytest.mark.parametrize("old_names", [False, True])
def test_encoder_with_the_head_of_a_bert_predicts_as_that_bert(
    trunk: Path, masked_lm: Path, tmp_path: Path, old_names: bool
) -> None:
    folder = with_old_names(masked_lm, tmp_path / "old") if old_names else masked_lm
    _, encoder = networks(trunk, tmp_path, encoder=str(folder))
    bert = BertForMaskedLM.from_pretrained(masked_lm).eval()
    with torch.no_grad():
        torch.testing.assert_close(encoder(**inputs()).logits, bert(**inputs()).logits, atol=1e-4, rtol=1e-4)


def test_head_stays_tied_to_the_words_and_names_them_where_a_trunk_has_none(trunk: Path, tmp_path: Path) -> None:
    _, encoder = networks(trunk, tmp_path)
    head, words = encoder.cls.predictions, encoder.realm.embeddings.word_embeddings.weight
    assert head.decoder.weight is words
    assert head.decoder.bias is head.bias
    with torch.no_grad():
        named = (head(torch.nn.functional.layer_norm(words, words.shape[-1:])) - head.bias).argmax(-1)
    assert (named == torch.arange(len(words))).float().mean() > 0.9
    ids = tokenizer_of(trunk).ids_of("balcor")
    assert head.bias[ids[0]] > head.bias.median()


def test_encoder_without_a_head_starts_by_naming_what_the_block_says(trunk: Path, tmp_path: Path) -> None:
    # States that stay like the embeddings of their pieces, as those of trained trunks do.
    shutil.copytree(trunk, tmp_path / "still")
    weights = load_file(trunk / "model.safetensors")
    still = {name: value * 0 if ".output.dense." in name else value for name, value in weights.items()}
    save_file(still, tmp_path / "still" / "model.safetensors", {"format": "pt"})
    _, encoder = networks(trunk, tmp_path, encoder=str(tmp_path / "still"), extra_layers=1)
    tokenizer = tokenizer_of(trunk)
    builder = InputBuilder(tokenizer)
    mask, (piece,) = [4], tokenizer.ids_of("vex")
    likely = []
    for block in ("vex vex vex vex", "tam tam tam tam"):
        row = builder.reader(mask, tokenizer.ids_of(block), 40)
        with torch.no_grad():
            logits = encoder(**builder.pad([row]).for_trunk(), return_dict=True).logits
        likely.append(float(logits[0, 1].log_softmax(-1)[piece]))
    assert likely[0] > likely[1] + 0.5


def test_head_of_other_sizes_is_refused(trunk: Path, masked_lm: Path, tmp_path: Path) -> None:
    shutil.copytree(masked_lm, tmp_path / "bad")
    weights = load_file(masked_lm / "model.safetensors")
    weights["cls.predictions.bias"] = weights["cls.predictions.bias"][:-1].clone()
    save_file(weights, tmp_path / "bad" / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"cls.predictions.bias is \(\d+,\); expected"):
        networks(trunk, tmp_path, encoder=str(tmp_path / "bad"))


def test_added_layer_under_a_trained_head_begins_by_passing_its_input_on(
    trunk: Path, masked_lm: Path, tmp_path: Path
) -> None:
    plain, deeper = (networks(trunk, tmp_path, encoder=str(masked_lm), extra_layers=extra)[1] for extra in (0, 1))
    with torch.no_grad():
        states = [encoder.realm(**inputs(), return_dict=True).last_hidden_state for encoder in (plain, deeper)]
    # Up to the layer norm, which BERT's fresh weights make the identity on normalised states.
    torch.testing.assert_close(
        *(torch.nn.functional.layer_norm(state, state.shape[-1:]) for state in states), atol=1e-3, rtol=1e-3
    )


def test_embedder_and_encoder_of_other_word_pieces_are_refused(trunk: Path, tmp_path: Path) -> None:
    embedder, encoder = networks(trunk, tmp_path)
    write_result(tmp_path / "model", embedder, encoder, trunk)
    path = tmp_path / "model" / "embedder" / "tokenizer.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = values["model"]["vocab"]
    vocabulary["town"], vocabulary["river"] = vocabulary["river"], vocabulary["town"]
    path.write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(ModelError, match=r"do not belong together: their tokenizer.json differ"):
        networks(trunk, tmp_path, embedder=str(tmp_path / "model" / "embedder"))


def test_trained_encoder_needs_a_retriever_of_its_own(trunk: Path, tmp_path: Path) -> None:
    write_result(tmp_path / "model", *networks(trunk, tmp_path), trunk)
    with pytest.raises(RecipeError, match=r"is a trained encoder without a retriever\. Give an embedder as well"):
        networks(trunk, tmp_path, encoder=str(tmp_path / "model" / "encoder"))


def test_assembled_model_embeds_as_the_embedder_and_reads_with_the_encoders_trunk(trunk: Path, tmp_path: Path) -> None:
    embedder, encoder = networks(trunk, tmp_path)
    write_result(tmp_path / "run" / "model", embedder, encoder, trunk)
    folder = assemble_open_qa(tmp_path / "run", tmp_path / "start", max_span_width=7)
    model = ModelFolder.open(str(folder)).networks.float()
    assert (model.config.max_span_width, model.config.retriever_proj_size) == (7, 16)
    with torch.no_grad():
        found = model.embedder(**inputs(), return_dict=True).projected_score
        torch.testing.assert_close(found, embedder(**inputs(), return_dict=True).projected_score)
        states = [network.realm(**inputs(), return_dict=True).last_hidden_state for network in (model.reader, encoder)]
        torch.testing.assert_close(*states)
    assert model.reader.qa_outputs.dense_intermediate.weight.std() > 0
    again = assemble_open_qa(tmp_path / "run" / "model", tmp_path / "again", max_span_width=7)
    assert (again / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


def test_networks_of_different_depth_do_not_go_into_one_model(trunk: Path, tmp_path: Path) -> None:
    write_result(tmp_path / "model", *networks(trunk, tmp_path, extra_layers=1), trunk)
    with pytest.raises(ModelError, match="num_hidden_layers is 2 in the embedder and 3 in the encoder"):
        assemble_open_qa(tmp_path / "model", tmp_path / "out")
    with pytest.raises(ModelError, match=r"No model.safetensors in .*: expected the result of"):
        assemble_open_qa(tmp_path / "nowhere", tmp_path / "out")
