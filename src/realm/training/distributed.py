"""Several processes that train one model: who takes which part, and sums over all of them.

Knows neither jobs nor the loop. Everything also works, and costs nothing, where there is one process.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from realm.errors import UsageError
from realm.extras import require

T = TypeVar("T")

_LONGEST_WAIT = timedelta(hours=12)
"""The others wait while the first process measures or writes, which takes as long as it takes."""
_BUCKET_NUMBERS = 1 << 25


@dataclass(frozen=True)
class Processes:
    """This process among those that train together.

    Attributes:
        rank: Number of this process, from 0.
        count: Number of processes.
    """

    rank: int = 0
    count: int = 1

    @classmethod
    def current(cls) -> Processes:
        """The processes that `torchrun` or `accelerate launch` started, joined on the first call; or this one alone."""
        if not dist.is_initialized():
            if int(os.environ.get("WORLD_SIZE", "1")) == 1:
                return cls()
            require("accelerate", "train").PartialState(timeout=_LONGEST_WAIT)
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def is_first(self) -> bool:
        """Whether this is the process that logs and writes."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This process's part of some items: every `count`-th one."""
        return items[self.rank :: self.count]

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.count > 1:
            # A sum that is read: unlike dist.barrier it needs no hint which device a process uses.
            waited = torch.zeros(1, device=_device())
            dist.all_reduce(waited)
            waited.item()

    def first_alone(self, make: Callable[[], T]) -> T:
        """What `make` gives: made by the first process while the others wait, then by them, who find its files."""
        if not self.is_first:
            self.barrier()
        made = make()
        if self.is_first:
            self.barrier()
        return made

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum the gradients over all processes, in place; a parameter without one anywhere stays without.

        Args:
            parameters: The same ones, in the same order, on every process.
        """
        if self.count == 1:
            return
        trained = list(parameters)
        if not trained:
            return
        has_one = torch.tensor([p.grad is not None for p in trained], dtype=torch.int32, device=trained[0].device)
        dist.all_reduce(has_one)
        used = [p for p, owners in zip(trained, has_one.tolist(), strict=True) if owners]
        for p in used:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        for bucket in _buckets([p.grad for p in used if p.grad is not None]):
            flat = torch.cat([gradient.flatten() for gradient in bucket])
            dist.all_reduce(flat)
            parts = flat.split([gradient.numel() for gradient in bucket])
            for gradient, part in zip(bucket, parts, strict=True):
                gradient.copy_(part.view_as(gradient))

    def sum_figures(self, figures: Mapping[str, float]) -> dict[str, float]:
        """Sum figures over all processes; one that a process lacks counts as 0 there."""
        if self.count == 1:
            return dict(figures)
        sums: dict[str, float] = {}
        for text in self.gather_texts(json.dumps(dict(figures))):
            for key, value in json.loads(text).items():
                sums[key] = sums.get(key, 0.0) + value
        return sums

    def gather_texts(self, text: str) -> list[str]:
        """The text of every process, by rank."""
        if self.count == 1:
            return [text]
        data = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8) if text else torch.empty(0).byte()
        return [bytes(part.cpu().tolist()).decode() for part in self._gather(data.to(_device()))]

    def require_shared(self, folder: Path, seen: str) -> None:
        """Stop where processes see different things in a folder: then it is not the same one.

        Args:
            folder: As it is called on every process.
            seen: What this process sees there.

        Raises:
            UsageError: Another process sees something else.
        """
        of_all = self.gather_texts(seen)
        for rank, other in enumerate(of_all):
            if other != of_all[0]:
                raise UsageError(
                    f"{folder}: process 0 sees {of_all[0]} there, process {rank} {other}. All processes need the same "
                    "folder: give one that every machine sees."
                )

    def gather_rows(self, rows: Tensor) -> Tensor:
        """Rows of all processes under one another, by rank, without autograd; their numbers may differ."""
        return rows.detach() if self.count == 1 else torch.cat(self._gather(rows.detach()))

    def spread(self, model: nn.Module) -> None:
        """Give every process the parameters and buffers of the first one."""
        if self.count > 1:
            with torch.no_grad():
                for tensor in (*model.parameters(), *model.buffers()):
                    dist.broadcast(tensor, src=0)

    def _gather(self, rows: Tensor) -> list[Tensor]:
        counts = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(self.count)]
        dist.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
        sizes = [int(count) for count in counts]
        # Collectives need equal shapes: every part is filled up to the longest.
        padded = rows.new_zeros((max(sizes), *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(self.count)]
        dist.all_gather(parts, padded)
        return [part[:size] for part, size in zip(parts, sizes, strict=True)]


def leave() -> None:
    """Take this process out of the group, if it is in one; the last thing a program does."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _device() -> torch.device:
    """Where tensors of the group's backend live."""
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")


def _buckets(gradients: Sequence[Tensor]) -> Iterable[list[Tensor]]:
    """Gradients of one type, in groups that are summed at once."""
    bucket: list[Tensor] = []
    numbers = 0
    for gradient in gradients:
        if bucket and (gradient.dtype != bucket[0].dtype or numbers + gradient.numel() > _BUCKET_NUMBERS):
            yield bucket
            bucket, numbers = [], 0
        bucket.append(gradient)
        numbers += gradient.numel()
    if bucket:
        yield bucket
