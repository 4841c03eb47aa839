"""The embedder that `ict` starts from: a fresh projection on a BERT-family encoder, or a trained embedder.

Knows networks and folders, no data but the inputs it is handed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import nn

from realm.errors import RecipeError
from realm.features.inputs import InputBuilder, Row
from realm.models.configuration import RealmConfig
from realm.models.embedder import RealmEmbedder
from realm.models.layers import RealmLayer
from realm.training.closed_form import mean_pooling_layer, principal_projection
from realm.training.ict_recipe import IctRecipe
from realm.training.tokenizer_files import require_tokenizer
from realm.training.warm_start import (
    config_from_bert,
    find_trained,
    find_trunk,
    freeze_below,
    inputs_of_last_layer,
    load_trained,
    load_trunk,
)


def start_folder(recipe: IctRecipe) -> Path:
    """Folder of the trunk or the embedder, whose tokenizer is used.

    Raises:
        ModelError: It is missing or lacks a file.
    """
    return require_tokenizer(find_trained(recipe.embedder)) if recipe.embedder else find_trunk(recipe.trunk)


def start_embedder(
    recipe: IctRecipe, folder: Path, builder: InputBuilder, sample: Callable[[], Sequence[Row]]
) -> RealmEmbedder:
    """Make the embedder, and take out of training what the recipe says.

    Args:
        recipe: See `IctRecipe`.
        folder: From `start_folder`.
        builder: Pads rows.
        sample: Gives some inputs, for the principal components; asked for with "mean" pooling only.

    Raises:
        ModelError: The folder's weights are not those of its kind.
        RecipeError: More dimensions or frozen layers than the trunk has.
    """
    torch.manual_seed(recipe.seed)
    if recipe.embedder:
        config = RealmConfig.from_pretrained(folder, **recipe.dropout_values)
        embedder = RealmEmbedder(config)
        load_trained(embedder, folder)
    else:
        mean = recipe.pooling == "mean"
        config = config_from_bert(
            folder, int(mean), recipe.trunk_layers, retriever_proj_size=recipe.dimensions, **recipe.dropout_values
        )
        if mean and recipe.dimensions > config.hidden_size:
            raise RecipeError(f"dimensions is {recipe.dimensions}; the trunk allows 1 to {config.hidden_size}.")
        embedder = RealmEmbedder(config)
        load_trunk(embedder.realm, folder, recipe.trunk_layers)
        if mean:
            _start_as_mean(embedder, builder, sample(), recipe.start_score)
    freeze_below(embedder.realm, recipe.first_trained_layer)
    embedder.cls.predictions.requires_grad_(False)
    return embedder


def _start_as_mean(embedder: RealmEmbedder, builder: InputBuilder, sample: Sequence[Row], start_score: float) -> None:
    """Make the last layer a mean, and pooler and projection the principal components of the sample's means."""
    mean_pooling_layer(cast(RealmLayer, embedder.realm.encoder.layer[-1]))
    if len(sample) < embedder.config.retriever_proj_size:
        raise RecipeError(
            f"{len(sample)} texts are too few for {embedder.config.retriever_proj_size} principal components. "
            "Lower dimensions, or give more documents."
        )
    with torch.no_grad():
        means = [
            (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            for states, mask in inputs_of_last_layer(embedder.realm, builder, sample)
        ]
        principal_projection(embedder, torch.cat(means), start_score)
    # The pooler is a scaled-down identity: a step that is small elsewhere would be noise there.
    cast(nn.Module, embedder.realm.pooler).requires_grad_(False)
