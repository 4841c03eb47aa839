"""Exact search over the rows of one tensor, as `RealmForOpenQA` does without a searcher."""

from __future__ import annotations

import torch
from torch import Tensor

_ROWS_AT_ONCE = 1 << 18


def exact_top_k(block_emb: Tensor, questions: Tensor, k: int) -> Tensor:
    """Numbers of the `k` rows with the largest inner product, best first; scanned in pieces, in float32.

    Raises:
        ValueError: There are fewer than `k` rows.
    """
    if k > block_emb.size(0):
        raise ValueError(f"{k} blocks are to be retrieved, but block_emb has {block_emb.size(0)} rows.")
    queries = questions.to(block_emb.device, torch.float32)
    scores = queries.new_empty(len(queries), 0)
    ids = torch.empty(len(queries), 0, dtype=torch.long, device=block_emb.device)
    for start in range(0, block_emb.size(0), _ROWS_AT_ONCE):
        part = block_emb[start : start + _ROWS_AT_ONCE].float()
        part_scores, part_ids = (queries @ part.T).topk(min(k, part.size(0)), dim=-1)
        scores = torch.cat([scores, part_scores], dim=-1)
        ids = torch.cat([ids, part_ids + start], dim=-1)
        scores, order = scores.topk(min(k, scores.size(-1)), dim=-1)
        ids = ids.gather(-1, order)
    return ids
