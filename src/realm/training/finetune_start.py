"""What `finetune` starts from: a whole model, or a retriever and a reader that were trained apart.

    model = realm-mini, a RealmForOpenQA, a run of `finetune` ────────────────────────┐
    model = a run of `pretrain` ──► its embedder and encoder ─┐                       ├─► RealmForOpenQA, and a
    embedder = a run of `ict`, reader = a BERT, an encoder, ──┴─► put together ───────┘   question tower of its own,
               a run of `reader`                                                          if it has or is to get one

Knows networks and folders, no data. Read `FinetuneStart` first.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from realm.artifacts import sha256_of_file
from realm.errors import ModelError, RecipeError
from realm.models.checkpoints import Checkpoint
from realm.models.configuration import RealmConfig
from realm.models.embedder import RealmEmbedder
from realm.models.encoder import RealmKnowledgeAugEncoder
from realm.models.layers import RealmLayer
from realm.models.reader import RealmReader
from realm.openqa.default_model import DEFAULT_MODEL
from realm.openqa.model import RealmForOpenQA
from realm.openqa.model_folder import ModelFolder
from realm.training.closed_form import identity_layer
from realm.training.finetune_recipe import FinetuneRecipe
from realm.training.tokenizer_files import TOKENIZER_FILE, require_same_pieces, require_tokenizer
from realm.training.warm_start import (
    WEIGHTS_FILE,
    architecture_of,
    config_from_bert,
    find_trained,
    find_trunk,
    freeze_below,
    load_trained,
    load_trunk,
)

QUESTION_TOWER = "query_embedder."
"""What the weights of a question tower of its own are called in a model folder: as in a RealmScorer."""

_SIZES = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act",
    "max_position_embeddings", "type_vocab_size", "layer_norm_eps",
)  # fmt: skip
_UNUSED = re.compile(r"cls\.predictions\.|^reader\.realm\.pooler\.")


@dataclass(frozen=True)
class FinetuneStart:
    """Where the networks come from.

    Attributes:
        embedder: Folder of a RealmEmbedder; or of the whole model.
        reader: Folder of a RealmReader, a RealmKnowledgeAugEncoder or a BERT; or of the whole model.
        model: The whole model, if it is one.
    """

    embedder: Path
    reader: Path
    model: ModelFolder | None = None

    @classmethod
    def of(cls, recipe: FinetuneRecipe) -> FinetuneStart:
        """Find the folders of a recipe.

        Raises:
            ModelError: One is missing or lacks a file, or the two have different word pieces.
        """
        if not recipe.model:
            return cls._of_two(recipe.embedder, recipe.reader)
        if recipe.model != DEFAULT_MODEL:
            for folder in (Path(recipe.model), Path(recipe.model, "model")):
                if (folder / "embedder").is_dir() and (folder / "encoder").is_dir():
                    return cls._of_two(str(folder / "embedder"), str(folder / "encoder"))
                if (folder / WEIGHTS_FILE).is_file():
                    model = ModelFolder.open(str(folder))
                    return cls(model.folder, model.folder, model)
        model = ModelFolder.open(recipe.model)
        return cls(model.folder, model.folder, model)

    @classmethod
    def _of_two(cls, embedder_name: str, reader_name: str) -> FinetuneStart:
        embedder = require_tokenizer(find_trained(embedder_name))
        reader = _reader_folder(reader_name)
        if (reader / TOKENIZER_FILE).is_file():
            require_same_pieces(embedder=embedder, reader=reader)
        return cls(embedder, reader)

    def digests(self) -> dict[str, str]:
        """Names the first weights."""
        if self.model is not None:
            return {"model": sha256_of_file(self.embedder / WEIGHTS_FILE)}
        return {
            "embedder": sha256_of_file(self.embedder / WEIGHTS_FILE),
            "reader": sha256_of_file(self.reader / WEIGHTS_FILE),
        }

    def networks(self, recipe: FinetuneRecipe) -> tuple[RealmForOpenQA, RealmEmbedder | None]:
        """Make the networks: the same ones for the same recipe.

        Returns:
            Embedder of blocks and reader in one model; and the questions' own embedder, if it is another one.

        Raises:
            ModelError: Weights are missing, or the two networks have different sizes.
            RecipeError: The recipe asks for longer inputs or more layers than the model has, or for one tower where
                the model has two.
        """
        values: dict[str, Any] = {
            **recipe.dropout_values, "max_span_width": recipe.max_span_width, "reader_beam_size": recipe.reader_blocks,
            "searcher_beam_size": recipe.retrieved, "reader_seq_len": recipe.reader_seq_len,
            # Order: the question's tower is kept beside the model, and put into its folder when that is written.
            "separate_query_embedder": False,
        }  # fmt: skip
        torch.manual_seed(recipe.seed)
        model = _put_together(self, values) if self.model is None else _opened(self.embedder, values)
        model._block_emb = None
        _check_sizes(recipe, model.config)
        tower = _question_tower(self.embedder, model.embedder)
        if tower is not None and recipe.train_blocks:
            raise RecipeError(
                f"{self.embedder} has a question tower of its own; with train_blocks, questions and blocks share one. "
                "Give embedder and reader apart, or leave train_blocks out."
            )
        if tower is None and not (recipe.freeze_retriever or recipe.train_blocks):
            tower = copy.deepcopy(model.embedder)
        for trunk in (model.embedder.realm, model.reader.realm, *([] if tower is None else [tower.realm])):
            freeze_below(trunk, recipe.first_trained_layer)
        return model, tower


def _opened(folder: Path, values: dict[str, Any]) -> RealmForOpenQA:
    config = RealmConfig.from_pretrained(folder, **values)
    model: RealmForOpenQA = RealmForOpenQA.from_pretrained(folder, config=config, dtype=torch.float32)
    given = set(Checkpoint(folder))
    missing = [key for key in model.state_dict() if key not in given and not _UNUSED.search(key)]
    if missing:
        raise ModelError(
            f"{folder} lacks {len(missing):,} weights of a RealmForOpenQA, such as {missing[0]}. Give another model, "
            "or embedder and reader."
        )
    return model


def _question_tower(folder: Path, like: RealmEmbedder) -> RealmEmbedder | None:
    """The question tower that a model folder has, if it has one of its own."""
    weights = Checkpoint(folder)
    given = {key.removeprefix(QUESTION_TOWER): weights[key] for key in weights if key.startswith(QUESTION_TOWER)}
    if not given:
        return None
    tower = copy.deepcopy(like)
    missing, unknown = tower.load_state_dict({key: value.float() for key, value in given.items()}, strict=False)
    if wrong := [key for key in (*missing, *unknown) if not _UNUSED.search(key)]:
        raise ModelError(f"{folder}: {len(wrong):,} weights of {QUESTION_TOWER[:-1]} do not fit, such as {wrong[0]}.")
    return tower


def _put_together(start: FinetuneStart, values: dict[str, Any]) -> RealmForOpenQA:
    config = RealmConfig.from_pretrained(start.embedder, **values)
    kind = architecture_of(start.reader)
    layers = config.num_hidden_layers
    if kind:
        other = RealmConfig.from_pretrained(start.reader)
    else:
        other = config_from_bert(start.reader, 0)
        # Layers that a trained embedder has on top of the same trunk, such as the one of mean pooling.
        other.num_hidden_layers = max(other.num_hidden_layers, layers)
    for key in _SIZES:
        if getattr(config, key) != getattr(other, key):
            raise ModelError(
                f"{key} is {getattr(config, key)} in the embedder and {getattr(other, key)} in the reader; in one "
                "model they are the same. Start them from trunks of one size."
            )
    config.architectures = ["RealmForOpenQA"]
    model = RealmForOpenQA(config)
    load_trained(model.embedder, start.embedder)
    _fill_reader(model.reader, start.reader, kind)
    return model


def _reader_folder(name: str) -> Path:
    """A trained network of ours, in its folder or that of its run; or a BERT."""
    trained = next((folder for folder in (Path(name), Path(name, "model")) if architecture_of(folder)), None)
    return find_trunk(name) if trained is None else find_trained(str(trained))


def _fill_reader(reader: RealmReader, folder: Path, kind: str) -> None:
    if kind == RealmReader.__name__:
        load_trained(reader, folder)
    elif kind == RealmKnowledgeAugEncoder.__name__:
        encoder = RealmKnowledgeAugEncoder(reader.config)
        load_trained(encoder, folder)
        reader.realm.load_state_dict(encoder.realm.state_dict())
        reader.cls.load_state_dict(encoder.cls.state_dict())
    elif kind:
        raise ModelError(f"{folder} holds a {kind}; a reader starts from a RealmReader, an encoder or a BERT.")
    else:
        load_trunk(reader.realm, folder)
        trunk_layers = config_from_bert(folder, 0).num_hidden_layers
        for layer in reader.realm.encoder.layer[trunk_layers:]:
            identity_layer(cast(RealmLayer, layer))


def _check_sizes(recipe: FinetuneRecipe, config: RealmConfig) -> None:
    for key in ("block_seq_len", "reader_seq_len"):
        if getattr(recipe, key) > config.max_position_embeddings:
            raise RecipeError(
                f"{key} is {getattr(recipe, key):,}; the model takes {config.max_position_embeddings:,} word pieces. "
                "Lower it."
            )
