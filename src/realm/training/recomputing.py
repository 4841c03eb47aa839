"""Less memory for more time: layers whose states are computed again in the backward pass. Knows networks only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from realm.errors import RecipeError


def compute_layers_twice(model: nn.Module) -> None:
    """Switch gradient checkpointing on in every network of a model.

    Raises:
        RecipeError: There is no network that can do it.
    """
    networks = list(_outermost_networks(model))
    for network in networks:
        # The first is the name of newer transformers, which warn of the second.
        switch = getattr(network, "activation_checkpointing_enable", None) or network.gradient_checkpointing_enable
        switch({"use_reentrant": False})
    if not networks:
        raise RecipeError("gradient_checkpointing: no network of this job can do it. Set it to false.")


def _outermost_networks(module: nn.Module) -> Iterator[Any]:
    if hasattr(module, "gradient_checkpointing_enable"):
        yield module
    else:
        for child in module.children():
            yield from _outermost_networks(child)
