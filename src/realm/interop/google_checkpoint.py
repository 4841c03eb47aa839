"""State dicts of our networks out of Google's TensorFlow checkpoints, and back.

A checkpoint may hold more than the network that is asked for, and an Open-QA model is put together from
several; so what belongs elsewhere is left out, and what is not filled is said (`google_plan`). Knows no
network, only names.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from realm.errors import ModelError
from realm.interop.google_names import Flavour, GoogleName, Target, to_tf_name
from realm.interop.google_plan import plan_google_checkpoint, some_of
from realm.interop.tensorflow_bundle import TensorBundle
from realm.interop.tensorflow_bundle_writer import write_bundle

_logger = logging.getLogger(__name__)


def load_google_checkpoint(prefix: Path, target: Target) -> dict[str, Tensor]:
    """The weights of a network out of a checkpoint of Google's, under our names.

    Parts of the network of which the checkpoint holds nothing are left out: "openqa" is put together from a
    fine-tuned checkpoint and the one of `block_emb`. So are names that are the same tensor as another: the
    decoder's bias, the encoder's decoder, the scorer's query embedder. What is not filled and not used is
    logged, and is to be had from `plan_google_checkpoint`.

    Args:
        prefix: Path of the checkpoint, with or without `.index`.
        target: The network.

    Returns:
        New tensors, of the types of the variables.

    Raises:
        SourceError: The checkpoint is missing or damaged.
        ModelError: It holds nothing of the network, or of one of its parts not all that this part needs.
        UsageError: There is no such network.
    """
    bundle = TensorBundle(prefix)
    plan = plan_google_checkpoint(bundle, target)
    _logger.info("%s", plan.report())
    return {ours: read_weight(bundle, theirs) for ours, theirs in plan.sources.items()}


def read_weight(bundle: TensorBundle, source: GoogleName) -> Tensor:
    """One weight of a plan, out of its variable.

    Raises:
        SourceError: Its data are missing or damaged.
    """
    array = bundle.read(source.name)
    return torch.from_numpy(np.ascontiguousarray(array.T) if source.transposed else array)


def save_google_checkpoint(
    state_dict: Mapping[str, Tensor], prefix: Path, target: Target, flavour: Flavour
) -> tuple[str, ...]:
    """Write the weights of a network as a checkpoint for TensorFlow, under Google's names, in float32.

    Args:
        state_dict: Under our names.
        prefix: Path of the checkpoint, with or without `.index`.
        target: The network.
        flavour: "pretrained" for a hub module, "finetuned" for an ORQA model.

    Returns:
        The names that were left out, as there is no variable for them.

    Raises:
        ModelError: There is a variable for none of the names, or the scorer's query embedder is another than
            its embedder, for which there is no place.
        UsageError: There is no such network, or no checkpoint of it of that flavour.
    """
    names = {ours: to_tf_name(ours, target, flavour) for ours in state_dict}
    if not any(names.values()):
        raise ModelError(f"of {len(names)} weights none belongs to {target}: {some_of(tuple(names))}")
    if target == "scorer":
        _check_shared_embedder(state_dict)
    write_bundle(
        Path(str(prefix).removesuffix(".index")),
        ((found.name, _array(state_dict[ours], found.transposed)) for ours, found in names.items() if found),
    )
    return tuple(ours for ours, found in names.items() if not found)


def _check_shared_embedder(state_dict: Mapping[str, Tensor]) -> None:
    for name, tensor in state_dict.items():
        if name.startswith("query_embedder."):
            other = state_dict.get(name.removeprefix("query_"))
            if other is None or not torch.equal(tensor, other):
                raise ModelError(
                    f"{name} is not the weight of the other embedder, and Google's scorer has only one; "
                    "save each of the two as 'embedder'"
                )


def _array(tensor: Tensor, transposed: bool) -> NDArray[Any]:
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point():
        tensor = tensor.float()
    array: NDArray[Any] = (tensor.t() if transposed else tensor).numpy()
    return array
