"""What `pretrain` starts from: a retriever and an encoder, each trained before or fresh on a BERT-family trunk.

Knows networks and folders, no data but the inputs it is handed. Read `start_networks` first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch

from realm.artifacts import sha256_of_file
from realm.errors import ModelError, RecipeError
from realm.features.inputs import InputBuilder, Row
from realm.models.checkpoints import Checkpoint
from realm.models.configuration import RealmConfig
from realm.models.embedder import RealmEmbedder
from realm.models.encoder import RealmKnowledgeAugEncoder
from realm.models.layers import RealmLayer
from realm.training.closed_form import copying_layer, identity_head, identity_layer
from realm.training.ict_recipe import IctRecipe
from realm.training.ict_start import start_embedder, start_folder
from realm.training.pretrain_recipe import PretrainRecipe
from realm.training.tokenizer_files import require_same_pieces, require_tokenizer
from realm.training.warm_start import (
    PUBLIC_TRUNK,
    WEIGHTS_FILE,
    architecture_of,
    config_from_bert,
    find_trained,
    find_trunk,
    freeze_below,
    inputs_of_last_layer,
    load_trained,
    load_trunk,
    modern_name,
)

_HEAD = "cls.predictions."
_HEAD_WEIGHTS = (
    "bias", "transform.dense.weight", "transform.dense.bias", "transform.LayerNorm.weight", "transform.LayerNorm.bias",
)  # fmt: skip


@dataclass(frozen=True)
class Start:
    """Where the networks come from.

    Attributes:
        embedder: Folder of a trained embedder, or of the encoder's trunk.
        encoder: Folder of a BERT-family encoder, or of a trained RealmKnowledgeAugEncoder.
    """

    embedder: Path
    encoder: Path

    @classmethod
    def of(cls, recipe: PretrainRecipe) -> Start:
        """Find the folders of a recipe.

        Raises:
            ModelError: One is missing or lacks a file, or the two have different word pieces.
        """
        encoder = _encoder_folder(recipe.encoder)
        if not recipe.embedder:
            if _is_trained(encoder):
                raise RecipeError(f"{encoder} is a trained encoder without a retriever. Give an embedder as well.")
            return cls(encoder, encoder)
        embedder = start_folder(_as_ict(recipe))
        require_same_pieces(embedder=embedder, encoder=encoder)
        return cls(embedder, encoder)

    def digests(self) -> dict[str, str]:
        """Names the first weights."""
        return {
            "embedder": sha256_of_file(self.embedder / WEIGHTS_FILE),
            "encoder": sha256_of_file(self.encoder / WEIGHTS_FILE),
        }


def start_networks(
    recipe: PretrainRecipe, start: Start, builder: InputBuilder, sample: Callable[[], Sequence[Row]]
) -> tuple[RealmEmbedder, RealmKnowledgeAugEncoder]:
    """Make both networks, and take out of training what the recipe says: the same ones for the same recipe.

    Args:
        recipe: See `PretrainRecipe`.
        start: Where they come from.
        builder: Pads rows.
        sample: Gives some inputs, for the principal components of a fresh retriever with "mean" pooling.

    Raises:
        ModelError: A folder's weights are not those of its kind.
        RecipeError: The inputs are longer than a network takes; or what `start_embedder` says.
    """
    embedder = start_embedder(_as_ict(recipe), start.embedder, builder, sample)
    encoder = _encoder(recipe, start.encoder, builder, sample)
    pair = recipe.query_seq_len + recipe.candidate_seq_len
    for network, name, pieces in (
        (encoder, "query_seq_len and candidate_seq_len are together", pair),
        (embedder, "candidate_seq_len is", recipe.candidate_seq_len),
    ):
        if pieces > network.config.max_position_embeddings:
            raise RecipeError(
                f"{name} {pieces:,} word pieces; the {type(network).__name__} takes "
                f"{network.config.max_position_embeddings:,}. Lower them."
            )
    return embedder, encoder


def load_masked_word_head(encoder: RealmKnowledgeAugEncoder, folder: Path) -> bool:
    """Copy the head that a BERT was pre-trained with, if its folder has one.

    Returns:
        Whether it has; otherwise the head stays as it is.

    Raises:
        ModelError: It is of other sizes.
    """
    weights = Checkpoint(folder)
    keys = {modern_name(key): key for key in weights}
    wanted = encoder.cls.predictions.state_dict()
    usable = {}
    for name in _HEAD_WEIGHTS:
        key = keys.get(_HEAD + name)
        if key is None:
            return False
        usable[name] = weights[key].float()
        if usable[name].shape != wanted[name].shape:
            raise ModelError(f"{folder}: {key} is {tuple(usable[name].shape)}; expected {tuple(wanted[name].shape)}.")
    encoder.cls.predictions.load_state_dict(usable, strict=False)
    return True


def _encoder(
    recipe: PretrainRecipe, folder: Path, builder: InputBuilder, sample: Callable[[], Sequence[Row]]
) -> RealmKnowledgeAugEncoder:
    torch.manual_seed(recipe.seed)
    if _is_trained(folder):
        encoder = RealmKnowledgeAugEncoder(RealmConfig.from_pretrained(folder, **recipe.dropout_values))
        load_trained(encoder, folder)
    else:
        config = config_from_bert(folder, recipe.extra_layers, recipe.trunk_layers, **recipe.dropout_values)
        encoder = RealmKnowledgeAugEncoder(config)
        load_trunk(encoder.realm, folder, recipe.trunk_layers)
        layers = encoder.realm.encoder.layer
        for layer in layers[len(layers) - recipe.extra_layers :]:
            identity_layer(cast(RealmLayer, layer))
        if not load_masked_word_head(encoder, folder):
            _start_as_copying(encoder, recipe.extra_layers, builder, sample())
    freeze_below(encoder.realm, recipe.first_trained_layer)
    return encoder


def _start_as_copying(
    encoder: RealmKnowledgeAugEncoder, extra_layers: int, builder: InputBuilder, sample: Sequence[Row]
) -> None:
    """Without a head that was trained: name the pieces of sentence and block, those alike to the state first.

    From random weights the head learns how frequent pieces are, and nothing of blocks for a long time.
    """
    pieces = torch.tensor([piece for row in sample for piece in row.ids], dtype=torch.long)
    identity_head(encoder.cls.predictions, pieces)
    if extra_layers:
        last = cast(RealmLayer, encoder.realm.encoder.layer[-1])
        states = torch.cat([s[mask.bool()] for s, mask in inputs_of_last_layer(encoder.realm, builder, sample)])
        copying_layer(last, states.mean(0))


def _encoder_folder(name: str) -> Path:
    if name != PUBLIC_TRUNK and _is_trained(Path(name)):
        return require_tokenizer(find_trained(name))
    return find_trunk(name)


def _is_trained(folder: Path) -> bool:
    return architecture_of(folder) == RealmKnowledgeAugEncoder.__name__


def _as_ict(recipe: PretrainRecipe) -> IctRecipe:
    """The retriever's part of the recipe, as `ict` has it."""
    return IctRecipe(
        blocks=recipe.corpus, trunk="" if recipe.embedder else recipe.encoder, embedder=recipe.embedder,
        dropout=recipe.dropout, dimensions=recipe.dimensions, pooling=recipe.pooling, seed=recipe.seed,
        first_trained_layer=recipe.first_trained_layer, trunk_layers=recipe.trunk_layers, steps=recipe.steps,
    )  # fmt: skip
