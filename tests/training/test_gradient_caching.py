"""Cached gradients are those of the whole batch, whatever the chunks, with and without dropout, in few bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from realm.models.losses import in_batch_contrastive
from realm.training.distributed import Processes
from realm.training.gradient_caching import Chunk, cached_gradients

ROWS, WIDTH, DIM = 12, 6, 5


class Tower(nn.Module):
    """A small embedder with dropout."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.layers = nn.Sequential(nn.Linear(WIDTH, 64), nn.Tanh(), nn.Dropout(dropout), nn.Linear(64, DIM))

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.layers(inputs)
        return found


def data() -> tuple[Tensor, Tensor]:
    make = torch.Generator().manual_seed(0)
    return torch.randn(ROWS, WIDTH, generator=make), torch.randn(ROWS, WIDTH, generator=make)


def chunks(inputs: Tensor, groups: Sequence[Sequence[int]]) -> list[Chunk]:
    return [Chunk(list(group), inputs[list(group)]) for group in groups]


def contrastive(questions: Tensor, blocks: Tensor) -> tuple[Tensor, str]:
    return in_batch_contrastive(questions, blocks, torch.arange(len(questions))), "extra"


def gradients_of(model: nn.Module) -> list[Tensor]:
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def cached(model: nn.Module, groups: Sequence[Sequence[int]], rows: int = ROWS, **others: Any) -> tuple[Tensor, str]:
    sides = [chunks(side[:rows], groups) for side in data()]
    no_rows = torch.empty(0, DIM)
    model.zero_grad()
    return cached_gradients(sides, model, contrastive, lambda loss: loss.backward(), no_rows, **others)


GROUPINGS = [
    [range(ROWS)],
    [[3, 1, 7], [0, 2, 11, 10, 9], [4, 5], [6, 8]],
    [[row] for row in reversed(range(ROWS))],
]


@pytest.mark.parametrize("groups", GROUPINGS)
def test_cached_gradients_are_those_of_the_whole_batch(groups: Sequence[Sequence[int]]) -> None:
    model = Tower(0.0)
    questions, blocks = data()
    loss, _ = contrastive(model(questions), model(blocks))
    loss.backward()
    wanted = gradients_of(model)
    found, extra = cached(model, groups)
    torch.testing.assert_close(found, loss.detach())
    assert extra == "extra"
    assert not found.requires_grad
    torch.testing.assert_close(gradients_of(model), wanted)


def test_dropout_is_the_same_in_both_passes() -> None:
    model, groups = Tower(0.5), GROUPINGS[1]
    torch.manual_seed(9)
    found, _ = cached(model, groups)
    gradients, next_number = gradients_of(model), torch.rand(1)
    # By hand: the same draws, in the same order, in one graph.
    torch.manual_seed(9)
    model.zero_grad()
    vectors = []
    for side in data():
        rows = torch.empty(ROWS, DIM)
        for group in groups:
            rows = rows.index_put((torch.tensor(group),), model(side[group]))
        vectors.append(rows)
    loss, _ = contrastive(*vectors)
    assert torch.rand(1) == next_number  # the second pass has used up nothing
    loss.backward()
    torch.testing.assert_close(found, loss.detach())
    torch.testing.assert_close(gradients, gradients_of(model))


def test_weights_cast_by_autocast_get_their_gradients() -> None:
    model = Tower(0.0)
    questions, blocks = data()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cached(model, GROUPINGS[1])
    found = gradients_of(model)
    model.zero_grad()
    contrastive(model(questions), model(blocks))[0].backward()
    wanted = gradients_of(model)
    assert len(found) == len(wanted) == 4
    for one, other in zip(found, wanted, strict=True):
        assert torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0) > 0.99


class Held:
    """A tensor that a graph keeps for its way back, counted as long as it is there."""

    now = peak = 0

    def __init__(self, tensor: Tensor) -> None:
        self.tensor, self.bytes = tensor, tensor.numel() * tensor.element_size()
        Held.now += self.bytes
        Held.peak = max(Held.peak, Held.now)

    def __del__(self) -> None:
        Held.now -= self.bytes


def peak_bytes(model: nn.Module, groups: Sequence[Sequence[int]]) -> int:
    Held.now = Held.peak = 0
    with torch.autograd.graph.saved_tensors_hooks(Held, lambda held: held.tensor):
        cached(model, groups)
    return Held.peak


def test_graphs_of_two_chunks_are_never_in_memory_together() -> None:
    model = Tower(0.3)
    whole, quarter = (peak_bytes(model, [range(n, n + size) for n in range(0, ROWS, size)]) for size in (12, 3))
    only = peak_bytes(model, [range(3)])
    # What is left beside the chunk are the weights and the matrix of scores.
    assert quarter < only + ROWS * ROWS * 4 * 4 < whole


@dataclass(frozen=True)
class KnownProcesses(Processes):
    """One of several processes, whose rows are known: what each call gathers, by rank."""

    gathered: list[list[Tensor]] = field(default_factory=list)

    def gather_rows(self, rows: Tensor) -> Tensor:
        parts = self.gathered.pop(0)
        torch.testing.assert_close(parts[self.rank], rows)
        return torch.cat(parts)


@pytest.mark.parametrize("border", [5, 0, 12])
def test_parts_of_two_processes_sum_to_the_gradient_also_where_one_has_no_rows(border: int) -> None:
    model = Tower(0.0)
    cached(model, [range(ROWS)])
    wanted = gradients_of(model)
    with torch.no_grad():
        sides = [[model(side[:border]), model(side[border:])] for side in data()]
    counts = [torch.tensor([border]), torch.tensor([ROWS - border])]
    model.zero_grad()
    for rank, part in enumerate((slice(0, border), slice(border, ROWS))):
        inputs = [side[part] for side in data()]
        groups = [range(n, min(n + 3, len(inputs[0]))) for n in range(0, len(inputs[0]), 3)]
        processes = KnownProcesses(rank, 2, [*sides, counts, counts])
        cached_gradients(
            [chunks(side, groups) for side in inputs],
            model,
            contrastive,
            lambda loss: loss.backward(),
            torch.empty(0, DIM),
            processes,
        )
    torch.testing.assert_close(gradients_of(model), wanted)
