"""BERT's optimiser: AdamW with its constants, and a learning rate that rises and falls linearly.

Knows neither jobs nor the loop.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn

from realm.training.recipe import LoopSettings

_BETAS = (0.9, 0.999)
_EPSILON = 1e-6


def bert_adamw(parameters: Mapping[str, nn.Parameter], settings: LoopSettings) -> torch.optim.AdamW:
    """AdamW with BERT's constants: eps 1e-6, no decay on biases and layer norms.

    Its rates are those of no step yet: see `set_rates`.
    """
    free = [p for name, p in parameters.items() if _is_free_of_decay(name)]
    decayed = [p for name, p in parameters.items() if not _is_free_of_decay(name)]
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay, "decayed": True},
        {"params": free, "weight_decay": 0.0, "decayed": False},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=_BETAS, eps=_EPSILON, fused=True)


def learning_rate_at(settings: LoopSettings, step: int) -> float:
    """Linear warm-up, then linear decay to 0 behind the last step.

    With N steps, w of them warm-up, and the peak lr: lr (s + 1) / w where s < w, then lr (N - s) / (N - w).

    Args:
        settings: Of the run.
        step: Number of the step, from 0.

    Differs: BERT's `optimization.py` lets the rate fall from step 0 on, lr (1 - s / N), and lays the warm-up, lr s / w,
        over it: after warm-up its rate jumps to (N - w) / N of the peak and is never higher, and its first step has
        rate 0.
    """
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    remaining = settings.steps - step
    return settings.learning_rate * remaining / max(1, settings.steps - settings.warmup_steps)


def set_rates(optimizer: torch.optim.Optimizer, settings: LoopSettings, step: int) -> None:
    """Give the optimiser the rates of a step.

    Without bias correction, BERT's own update, m and v being the moments,

        p <- p - lr (m / (sqrt(v) + eps) + decay p)

    is torch's, which divides m by 1 - b1^t and v by 1 - b2^t, at other rates:

        c = sqrt(1 - b2^t) / (1 - b1^t)     lr' = lr / c     eps' = eps / sqrt(1 - b2^t)     decay' = decay c

    Args:
        optimizer: As `bert_adamw` makes it.
        settings: Of the run.
        step: Number of the step, from 0; t = step + 1. A parameter that was without gradient in some steps counts
            fewer, which matters as little as the correction itself after some hundred steps.
    """
    rate = learning_rate_at(settings, step)
    corrected, epsilon = 1.0, _EPSILON
    if not settings.bias_correction:
        root = math.sqrt(1 - _BETAS[1] ** (step + 1))
        corrected = root / (1 - _BETAS[0] ** (step + 1))
        epsilon = _EPSILON / root
    for group in optimizer.param_groups:
        group["lr"] = rate / corrected
        group["eps"] = epsilon
        group["weight_decay"] = settings.weight_decay * corrected if group["decayed"] else 0.0


def _is_free_of_decay(name: str) -> bool:
    return name.endswith("bias") or "LayerNorm" in name or "layer_norm" in name
