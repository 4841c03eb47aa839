"""Answer spans as the reader enumerates, scores and picks them. Tensors only."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class SpanCandidates(NamedTuple):
    """All spans of width 1 to `max_span_width`, by width and then by start; ends are inclusive."""

    starts: Tensor
    ends: Tensor


class BestSpan(NamedTuple):
    """The best span of each question; -1 everywhere where no span is allowed. Shape (batch,) each."""

    block: Tensor
    candidate: Tensor
    start: Tensor
    end: Tensor


def span_candidates(pieces: int, max_span_width: int, device: torch.device) -> SpanCandidates:
    """Every span of an input: `W L - W (W - 1) / 2` of them for length L and width W (3,155 for 320 and 10)."""
    starts, ends = _candidates(pieces, max_span_width)
    return SpanCandidates(starts.to(device), ends.to(device))


@lru_cache(maxsize=64)
def _candidates(pieces: int, max_span_width: int) -> tuple[Tensor, Tensor]:
    widths = range(1, min(max_span_width, pieces) + 1)
    starts = torch.cat([torch.arange(pieces - width + 1) for width in widths])
    ends = torch.cat([torch.arange(width - 1, pieces) for width in widths])
    return starts, ends


def allowed_spans(block_mask: Bool[Tensor, "*row pieces"], candidates: SpanCandidates) -> Bool[Tensor, "*row span"]:
    """Whether both ends of a span lie in the block."""
    return block_mask[..., candidates.starts] & block_mask[..., candidates.ends]


def correct_spans(
    start_positions: Int[Tensor, "*row answer"],
    end_positions: Int[Tensor, "*row answer"],
    candidates: SpanCandidates,
) -> Bool[Tensor, "*row span"]:
    """Whether a span is exactly one of the given answers. Positions of -1, or past the input, match nothing."""
    same_start = start_positions[..., None] == candidates.starts
    same_end = end_positions[..., None] == candidates.ends
    return (same_start & same_end).any(-2)


def best_spans(
    scores: Float[Tensor, "batch block span"],
    allowed: Bool[Tensor, "batch block span"],
    candidates: SpanCandidates,
) -> BestSpan:
    """The allowed span with the highest score over all blocks of a question; the first one on ties.

    Differs: transformers 4.37.2 takes block and span by two separate maxima, which can name a span that is not
        the best one, and answers `[CLS]` where no span is allowed.
    """
    spans = scores.size(-1)
    # An allowed span stays above the others even where its score has overflowed to minus infinity.
    finite = scores.clamp(min=torch.finfo(scores.dtype).min)
    flat = finite.masked_fill(~allowed, -torch.inf).flatten(1)
    best = flat.argmax(-1)
    exists = allowed.flatten(1).any(-1)
    candidate = best % spans
    fields = (best // spans, candidate, candidates.starts[candidate], candidates.ends[candidate])
    return BestSpan(*(torch.where(exists, field, -1) for field in fields))
