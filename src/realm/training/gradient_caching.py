"""Gradient caching: contrastive losses over batches that are far too large to be in memory at once.

    chunks ─ embed without graph ─► vectors of all processes ─ loss ─► gradient of each vector
                                                                            │
    chunks ─ embed again, one with its graph at a time ─► backward ◄────────┘

The result is the gradient of the whole batch; memory holds the graph of one chunk, and the matrix of vectors. Knows
neither texts nor networks.

Source: Gao et al. 2021, "Scaling deep contrastive learning batch size under memory limited setup".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from realm.training.distributed import Processes

F = TypeVar("F")


class Chunk(NamedTuple):
    """Inputs that are embedded together.

    Attributes:
        rows: Their numbers among this process's rows of the same side.
        inputs: Whatever `embed` takes.
    """

    rows: list[int]
    inputs: Any


class _Pass(NamedTuple):
    """What the first pass leaves of a side: vectors in the order of rows, and the random state before each chunk."""

    vectors: Tensor
    states: list[tuple[Tensor, Tensor | None]]


def cached_gradients(
    sides: Sequence[Sequence[Chunk]],
    embed: Callable[[Any], Tensor],
    loss: Callable[..., tuple[Tensor, F]],
    backward: Callable[[Tensor], None],
    no_rows: Tensor,
    processes: Processes | None = None,
) -> tuple[Tensor, F]:
    """Add this process's part of a loss's gradient to the parameters; the sum over processes is the gradient.

    Args:
        sides: Chunks of questions, chunks of blocks, or any other number of sides. Together the chunks of a side hold
            each of its rows once. A process may have no chunks.
        embed: Vectors (rows, dim) of a chunk's inputs. Called twice per chunk, with the same random numbers.
        loss: The loss, and anything to give back, of one matrix of vectors per side: the rows of all processes under
            one another, by rank. It must be the same function on every process, of the whole batch.
        backward: Takes the place of `tensor.backward()`; called once per chunk.
        no_rows: Shape (0, dim): the device and the type of vectors.
        processes: Those that share the batch; None for this one alone.

    Returns:
        What `loss` gave, without graph: the same on every process.
    """
    processes = processes or Processes()
    with torch.no_grad():
        passes = [_first_pass(chunks, embed, no_rows) for chunks in sides]
    # Weights that autocast has cast without a graph would be taken again below, and then have none.
    torch.clear_autocast_cache()
    matrices = [processes.gather_rows(part.vectors).requires_grad_() for part in passes]
    with torch.enable_grad():
        value, extra = loss(*matrices)
    gradients = torch.autograd.grad(value, matrices, allow_unused=True, materialize_grads=True)
    for chunks, part, gradient in zip(sides, passes, gradients, strict=True):
        first = _rows_of_lower_ranks(len(part.vectors), no_rows.device, processes)
        own = gradient[first : first + len(part.vectors)]
        for chunk, state in zip(chunks, part.states, strict=True):
            with _random_state(state, no_rows.device):
                vectors = embed(chunk.inputs)
            # The gradient of this sum with respect to the vectors is what was cached.
            backward((vectors.to(own.dtype) * own[chunk.rows]).sum())
    return value.detach(), extra


def bad_chunk(sides: Mapping[str, Sequence[Chunk]], embed: Callable[[Any], Tensor]) -> str:
    """The first chunk with a vector that is not finite, by side; empty if there is none.

    Args:
        sides: Chunks by the name of their side, in the order of `cached_gradients`.
        embed: The same.
    """
    with torch.no_grad():
        for name, chunks in sides.items():
            for number, chunk in enumerate(chunks):
                if not torch.isfinite(embed(chunk.inputs)).all():
                    return f"chunk {number + 1} of {len(chunks)} of the {name}: a vector is not finite"
    return ""


def _first_pass(chunks: Sequence[Chunk], embed: Callable[[Any], Tensor], no_rows: Tensor) -> _Pass:
    states, parts = [], [no_rows]
    for chunk in chunks:
        on_device = torch.cuda.get_rng_state(no_rows.device) if no_rows.is_cuda else None
        states.append((torch.get_rng_state(), on_device))
        parts.append(embed(chunk.inputs).to(no_rows.dtype))
    order = torch.tensor([row for chunk in chunks for row in chunk.rows], dtype=torch.long, device=no_rows.device)
    return _Pass(torch.cat(parts)[order.argsort()], states)


def _rows_of_lower_ranks(rows: int, device: torch.device, processes: Processes) -> int:
    counts = processes.gather_rows(torch.tensor([rows], device=device))
    return int(counts[: processes.rank].sum())


@contextmanager
def _random_state(state: tuple[Tensor, Tensor | None], device: torch.device) -> Iterator[None]:
    """Draw again the random numbers that were drawn from this state on; afterwards go on as if nothing had been."""
    on_cpu, on_device = state
    with torch.random.fork_rng(devices=[] if on_device is None else [device]):
        torch.set_rng_state(on_cpu)
        if on_device is not None:
            torch.cuda.set_rng_state(on_device, device)
        yield
