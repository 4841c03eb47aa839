"""What a frozen trunk says of texts, computed once: the mean of its states, and its state of [CLS].

    rows ─► parts ─► trunk ─► FOLDER/KEY/000000.npy, ... ─► (row, 2, hidden) ─ layer that pools ─► vectors

A network whose last layer starts as a mean (see `closed_form.mean_pooling_layer`) sees no more of a text than these
two, as long as that layer's queries and keys are zero. KEY is a digest of trunk and rows: parts that are there need not
be made again. Read `TrunkStates` first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Float16
from torch import Tensor

from realm.artifacts import sha256_of_text
from realm.features.inputs import InputBuilder, Inputs, Row
from realm.models.embedder import RealmEmbedder
from realm.models.trunk import RealmBertModel
from realm.openqa.batch_embedding import RowBatches
from realm.training.array_files import holds_array, write_array
from realm.training.embedding_progress import EmbeddingProgress, Watch
from realm.training.warm_start import config_from_bert, load_trunk

_ROWS_PER_PART = 2048


class TrunkStates:
    """A trunk without any layer on top, which says what it makes of texts.

    Args:
        folder: A BERT folder; see `warm_start.find_trunk`.
        builder: Pads rows.
        device: Where to compute.
    """

    def __init__(self, folder: Path, builder: InputBuilder, device: torch.device | None = None) -> None:
        self._trunk = RealmBertModel(config_from_bert(folder, extra_layers=0), add_pooling_layer=False).eval()
        load_trunk(self._trunk, folder)
        self._trunk.to(device or torch.device("cpu"))
        self._batches = RowBatches(self._trunk.device, builder)

    def of(self, rows: Sequence[Row], report: Callable[[int], None] | None = None) -> Float16[Tensor, "row 2 hidden"]:
        """The mean over all pieces, and the state of the first one, [CLS].

        Args:
            rows: Texts.
            report: See `RowBatches.run`.
        """
        states = torch.empty(len(rows), 2, self._trunk.config.hidden_size, dtype=torch.float16)

        def compute(numbers: list[int], batch: Inputs) -> None:
            hidden = self._trunk(**batch.for_trunk(), return_dict=True).last_hidden_state
            weights = batch.attention_mask[..., None]
            means = (hidden * weights).sum(1) / weights.sum(1)
            states[torch.tensor(numbers)] = torch.stack([means, hidden[:, 0]], 1).half().cpu()

        self._batches.run(rows, compute, report)
        return states

    def cached(
        self,
        rows: Sequence[Row],
        folder: Path,
        trunk_digest: str,
        progress: Callable[[EmbeddingProgress], None] | None = None,
    ) -> Float16[Tensor, "row 2 hidden"]:
        """The same, kept in files: what a killed process has computed is not computed again.

        Args:
            rows: Texts.
            folder: Where the files go.
            trunk_digest: Of the trunk's weights.
            progress: Called now and then.
        """
        key = sha256_of_text(trunk_digest, *(repr((row.ids, row.segments)) for row in rows))[:16]
        folder = folder / key
        folder.mkdir(parents=True, exist_ok=True)
        parts = [rows[first : first + _ROWS_PER_PART] for first in range(0, len(rows), _ROWS_PER_PART)]
        paths = [folder / f"{number:06d}.npy" for number in range(len(parts))]
        hidden = self._trunk.config.hidden_size
        missing = [
            (part, path)
            for part, path in zip(parts, paths, strict=True)
            if not holds_array(path, (len(part), 2, hidden), np.float16)
        ]
        watch = Watch(len(rows), len(rows) - sum(len(part) for part, _ in missing), progress)
        for part, path in missing:
            write_array(path, self.of(part, watch.add).numpy())
        watch.say()
        return torch.cat([torch.from_numpy(np.load(path, allow_pickle=False)) for path in paths])


def vectors_of_states(
    embedder: RealmEmbedder, states: Float[Tensor, "row 2 hidden"]
) -> Float[Tensor, "row retriever_proj_size"]:
    """What an embedder makes of texts of which its last layer sees the mean and [CLS].

    Args:
        embedder: Its last layer's queries and keys are zero.
        states: Of the trunk below that layer, as `TrunkStates` gives them.
    """
    mean, first = states.unbind(1)
    # [CLS] asks, and attends to the mean alone.
    hidden = torch.stack([first, mean], 1)
    mask = hidden.new_tensor([torch.finfo(hidden.dtype).min, 0.0]).view(1, 1, 1, 2)
    pooling = embedder.realm.encoder.layer[-1]
    attended, _ = pooling(hidden, mask, None, False, first_only=True)
    return cast(Tensor, embedder.cls(cast(torch.nn.Module, embedder.realm.pooler)(attended)))
