"""Reader inputs of one question, and of several stacked into one batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor


class Reading(NamedTuple):
    """Reader inputs of one question, or stacked of several; the last three are None without answers."""

    inputs: dict[str, Tensor]
    block_mask: Tensor
    starts: Tensor | None
    ends: Tensor | None
    has_answers: Tensor | None

    def to(self, device: torch.device) -> Reading:
        rest = (None if field is None else field.to(device) for field in self[1:])
        return Reading({key: value.to(device) for key, value in self.inputs.items()}, *cast(Any, rest))

    def first(self) -> Reading:
        rest = (None if field is None else field[0] for field in self[1:])
        return Reading({key: value[0] for key, value in self.inputs.items()}, *cast(Any, rest))


def stack(readings: Sequence[Reading], pad_id: int) -> Reading:
    """Several questions' inputs with one more leading dimension, padded to the longest."""

    def stacked(tensors: list[Tensor], fill: int) -> Tensor:
        width = max(tensor.size(-1) for tensor in tensors)
        padded = [torch.nn.functional.pad(t, (0, width - t.size(-1)), value=fill) for t in tensors]
        return torch.stack(padded)

    inputs = {
        key: stacked([reading.inputs[key] for reading in readings], pad_id if key == "input_ids" else 0)
        for key in readings[0].inputs
    }
    mask = stacked([reading.block_mask for reading in readings], 0)
    if readings[0].starts is None:
        return Reading(inputs, mask, None, None, None)
    starts, ends, has = ([cast(Tensor, r[field]) for r in readings] for field in (2, 3, 4))
    return Reading(inputs, mask, stacked(starts, -1), stacked(ends, -1), torch.stack(has))
