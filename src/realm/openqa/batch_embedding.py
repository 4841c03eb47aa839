"""Rows to vectors, in batches of like length: on a processor one batch per core, on a graphics card large ones.

What is in a batch depends on the rows and the kind of device alone, never on how many cores or processes there are:
so the same rows give the same vectors, to the bit, wherever there is the same kind of processor. Knows no files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from realm.features.inputs import InputBuilder, Inputs, Row, batches_of_like_length
from realm.models.cores import Cores
from realm.models.embedder import RealmEmbedder

_PIECES_PER_CORE = 2048
_PIECES_PER_CARD = 1 << 15


class RowBatches:
    """Runs something over rows in batches of like length.

    Args:
        device: Where it computes.
        inputs: Pads rows.
        cores: Where batches run side by side, if there are some already.
    """

    def __init__(self, device: torch.device, inputs: InputBuilder, cores: Cores | None = None) -> None:
        self._device = device
        self._inputs = inputs
        self._cores = (cores or Cores()) if device.type == "cpu" else None

    def run(
        self,
        rows: Sequence[Row],
        compute: Callable[[list[int], Inputs], None],
        report: Callable[[int], None] | None = None,
    ) -> None:
        """Compute every batch once.

        Args:
            rows: In any order of lengths.
            compute: Is given the places of a batch's rows, and the padded batch on the device; on a processor by
                several threads at once.
            report: Is told after every batch how many rows it had, from whichever thread computed it; an error it
                raises stops the work.
        """

        def compute_batch(numbers: list[int]) -> None:
            batch = self._inputs.pad([rows[number] for number in numbers]).to(self._device)
            with torch.inference_mode(), torch.autocast(self._device.type, enabled=False):
                compute(numbers, batch)
            if report is not None:
                report(len(numbers))

        max_pieces = _PIECES_PER_CARD if self._cores is None else _PIECES_PER_CORE
        batches = batches_of_like_length([len(row.ids) for row in rows], max_pieces)
        if self._cores is None:
            for numbers in batches:
                compute_batch(numbers)
        else:
            self._cores.run(compute_batch, batches)


class BatchEmbedder:
    """Embeds rows with a network that is in evaluation mode, in the number format it is in.

    Args:
        network: The embedder, on the device it is to run on.
        inputs: Pads rows.
        cores: Where batches run side by side, if there are some already.
    """

    def __init__(self, network: RealmEmbedder, inputs: InputBuilder, cores: Cores | None = None) -> None:
        self._network = network
        self.device = network.device
        self.dim = network.config.retriever_proj_size
        self._batches = RowBatches(self.device, inputs, cores)

    def __call__(self, rows: Sequence[Row], report: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        """Vectors of inputs, in their order.

        Args:
            rows: In any order of lengths.
            report: See `RowBatches.run`.

        Returns:
            (rows, dim) float32.
        """
        vectors = np.empty((len(rows), self.dim), dtype=np.float32)

        def embed(numbers: list[int], batch: Inputs) -> None:
            projected = self._network(**batch.for_trunk(), return_dict=True).projected_score
            vectors[numbers] = projected.float().cpu().numpy()

        self._batches.run(rows, embed, report)
        return vectors
