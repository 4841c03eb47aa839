"""Rows to vectors, in batches of like length: on a processor one batch per core, on a graphics card large ones.

What is in a batch depends on the rows and the kind of device alone, never on how many cores or processes there are:
so the same rows give the same vectors, to the bit, wherever there is the same kind of processor. Knows no files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from realm.features.inputs import InputBuilder, Row, batches_of_like_length
from realm.models.cores import Cores
from realm.models.embedder import RealmEmbedder

_PIECES_PER_CORE = 2048
_PIECES_PER_CARD = 1 << 15


class BatchEmbedder:
    """Embeds rows with a network that is in evaluation mode, in the number format it is in.

    Args:
        network: The embedder, on the device it is to run on.
        inputs: Pads rows.
        cores: Where batches run side by side, if there are some already.
    """

    def __init__(self, network: RealmEmbedder, inputs: InputBuilder, cores: Cores | None = None) -> None:
        self._network = network
        self._inputs = inputs
        self.device = network.device
        self.dim = network.config.retriever_proj_size
        self._cores = (cores or Cores()) if self.device.type == "cpu" else None

    def __call__(self, rows: Sequence[Row], report: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        """Vectors of inputs, in their order.

        Args:
            rows: In any order of lengths.
            report: Is told after every batch how many rows it had, from whichever thread computed it; an error it
                raises stops the work.

        Returns:
            (rows, dim) float32.
        """
        vectors = np.empty((len(rows), self.dim), dtype=np.float32)

        def embed_batch(numbers: list[int]) -> None:
            batch = self._inputs.pad([rows[number] for number in numbers]).to(self.device)
            with torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
                projected = self._network(**batch.for_trunk(), return_dict=True).projected_score
            vectors[numbers] = projected.float().cpu().numpy()
            if report is not None:
                report(len(numbers))

        max_pieces = _PIECES_PER_CARD if self._cores is None else _PIECES_PER_CORE
        batches = batches_of_like_length([len(row.ids) for row in rows], max_pieces)
        if self._cores is None:
            for numbers in batches:
                embed_batch(numbers)
        else:
            self._cores.run(embed_batch, batches)
        return vectors
