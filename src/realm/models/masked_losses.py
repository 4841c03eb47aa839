"""Losses of masked word pieces under several candidate blocks, and how much the candidates help, as pure functions.

    vocab scores ─ target_log_probs ─┬─ per_token, per_span ─ loss
                 retrieval scores ───┴─ utilities, null_probability ─ figures for the log

Arithmetic as in `losses`. Candidate 0 is the null block. A candidate of retrieval score -inf is not there; a sentence
without any counts as one without masked pieces.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from realm.models.losses import in_full_precision, without_empty_rows

IGNORED_LABEL = -100


def target_log_probs(
    vocab_scores: Float[Tensor, "batch cand mask vocab"], targets: Int[Tensor, "batch mask"]
) -> Float[Tensor, "batch cand mask"]:
    """Log probability of the masked piece at each position, as predicted with each candidate.

        l_bnj = log softmax_v(vocab_scores_bnj)[y_bj]

    Args:
        vocab_scores: Score of every word piece at every position, before softmax.
        targets: Piece ids that were masked; -100 where there is none.

    Returns:
        Nats; 0.0, with zero gradient, where the target is -100.
    """
    batch, candidates, positions, vocab = vocab_scores.shape
    expanded = targets[:, None, :].expand(batch, candidates, positions)
    scores = in_full_precision(vocab_scores).reshape(-1, vocab)
    losses = functional.cross_entropy(scores, expanded.reshape(-1), ignore_index=IGNORED_LABEL, reduction="none")
    return -losses.view(batch, candidates, positions)


def marginal_mlm(
    vocab_scores: Float[Tensor, "batch cand mask vocab"],
    retrieval_scores: Float[Tensor, "batch cand"],
    targets: Int[Tensor, "batch mask"],
    weights: Float[Tensor, "batch mask"],
) -> Float[Tensor, ""]:
    """Loss of the masked tokens, averaged over what the retriever believes: `per_token` of vocabulary scores.

    Args:
        vocab_scores: Score of every word piece at every position, before softmax.
        retrieval_scores: Inner product of sentence and candidate.
        targets: Piece ids that were masked; -100 where there is none.
        weights: 1.0 for a masked position, 0.0 elsewhere. Positions with target -100 never count.

    Returns:
        Nats per masked token. 0.0, with zero gradient, if nothing is masked.

    Differs: transformers 4.37.2 counts -100 targets in the denominator when no `mlm_mask` is given.
    """
    weights = weights * (targets != IGNORED_LABEL)
    return per_token(target_log_probs(vocab_scores, targets), retrieval_scores, weights)


def per_token(
    log_probs: Float[Tensor, "batch cand mask"],
    retrieval_scores: Float[Tensor, "batch cand"],
    weights: Float[Tensor, "batch mask"],
    batch_weight: float | None = None,
) -> Float[Tensor, ""]:
    """Marginal loss of masked tokens, each marginalised over the candidates on its own.

        L = - sum_bj w_bj log sum_n p(n|b) p(y_bj|b,n)  /  sum_bj w_bj

    Args:
        log_probs: From `target_log_probs`.
        retrieval_scores: Inner product of sentence and candidate.
        weights: 1.0 for a masked position, 0.0 for padding.
        batch_weight: Sum of the weights of the whole batch, if this is only a part of it.

    Returns:
        Nats per masked token. 0.0, with zero gradient, if nothing is masked.

    Source: google-research `language/realm/model.py` (865fae6).
    Differs: the paper (eq. 1) marginalises whole spans, see `per_span`.
    """
    marginal, weights = _token_marginals(log_probs, retrieval_scores, weights)
    return -_weighted_mean(marginal, weights, batch_weight)


def per_span(
    log_probs: Float[Tensor, "batch cand mask"],
    retrieval_scores: Float[Tensor, "batch cand"],
    weights: Float[Tensor, "batch mask"],
    batch_sentences: float | None = None,
) -> Float[Tensor, ""]:
    """Marginal loss of masked spans: all masked pieces of a sentence are predicted from the same candidate.

        L = - mean_b log sum_n p(n|b) prod_j p(y_bj|b,n)^w_bj

    Equal to `per_token` where every sentence has one masked piece.

    Args:
        log_probs: From `target_log_probs`.
        retrieval_scores: Inner product of sentence and candidate.
        weights: 1.0 for a masked position, 0.0 for padding.
        batch_sentences: Sentences with a masked piece in the whole batch, if this is only a part of it.

    Returns:
        Nats per span, the mean over sentences that have one. 0.0, with zero gradient, if nothing is masked.

    Source: REALM, Guu et al. 2020, eq. 1.
    """
    marginal, _, present = _span_marginals(log_probs, retrieval_scores, weights)
    return -_weighted_mean(marginal, present, batch_sentences)


def retrieval_utility(
    log_probs: Float[Tensor, "batch cand mask"],
    retrieval_scores: Float[Tensor, "batch cand"],
    weights: Float[Tensor, "batch mask"],
    batch_weight: float | None = None,
) -> Float[Tensor, ""]:
    """How much better masked tokens are predicted with retrieval than from the null block alone.

        RU = sum_bj w_bj (log sum_n p(n|b) p(y_bj|b,n) - log p(y_bj|b,null))  /  sum_bj w_bj

    Returns:
        Nats per masked token, without gradient; 0.0 if all candidates predict alike, or nothing is masked.

    Source: google-research `language/realm/model.py` (865fae6); the health figure of pre-training.
    """
    log_probs, retrieval_scores = log_probs.detach(), retrieval_scores.detach()
    marginal, weights = _token_marginals(log_probs, retrieval_scores, weights)
    return _weighted_mean(marginal - log_probs[:, 0], weights, batch_weight)


def span_retrieval_utility(
    log_probs: Float[Tensor, "batch cand mask"],
    retrieval_scores: Float[Tensor, "batch cand"],
    weights: Float[Tensor, "batch mask"],
    batch_sentences: float | None = None,
) -> Float[Tensor, ""]:
    """The same for whole spans, to be logged beside `per_span`.

        RU = mean_b ( log sum_n p(n|b) p(y_b|b,n) - log p(y_b|b,null) ),   p(y_b|b,n) = prod_j p(y_bj|b,n)^w_bj

    Returns:
        Nats per span, without gradient; 0.0 if all candidates predict alike, or nothing is masked.
    """
    marginal, spans, present = _span_marginals(log_probs.detach(), retrieval_scores.detach(), weights)
    return _weighted_mean(marginal - spans[:, 0], present, batch_sentences)


def null_probability(retrieval_scores: Float[Tensor, "batch cand"]) -> Float[Tensor, ""]:
    """Mean belief of the retriever that no block helps, p(null|b), without gradient.

    Returns:
        0.0 to 1.0, the mean over sentences that have candidates; 0.0 if none has.
    """
    scores, present = without_empty_rows(retrieval_scores.detach())
    return _weighted_mean(scores.softmax(-1)[:, 0], present.to(scores.dtype), None)


def _token_marginals(log_probs: Tensor, retrieval_scores: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """log sum_n p(n|b) p(y_bj|b,n) of each position, and the weights that count."""
    scores, present = without_empty_rows(retrieval_scores)
    joint = scores.log_softmax(-1)[..., None] + _counted(log_probs, weights)
    return torch.logsumexp(joint, 1), weights.to(joint.dtype) * present[:, None]


def _span_marginals(log_probs: Tensor, retrieval_scores: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """log sum_n p(n|b) p(y_b|b,n) of each sentence, log p(y_b|b,n), and 1.0 for the sentences that count."""
    scores, present = without_empty_rows(retrieval_scores)
    weights = weights.to(scores.dtype)
    spans = (_counted(log_probs, weights) * weights[:, None]).sum(-1)
    present = present & (weights > 0).any(-1)
    return torch.logsumexp(scores.log_softmax(-1) + spans, -1), spans, present.to(scores.dtype)


def _counted(log_probs: Tensor, weights: Tensor) -> Tensor:
    """Full precision, and 0.0 at positions that do not count: there, even -inf must leave no trace."""
    return in_full_precision(log_probs).masked_fill((weights == 0)[:, None], 0.0)


def _weighted_mean(values: Tensor, weights: Tensor, total: float | None) -> Tensor:
    given = weights.sum() if total is None else weights.new_tensor(total)
    # Where nothing counts the numerator is 0 as well, and dividing by 1 keeps it and its gradient so.
    return (values * weights).sum() / torch.where(given > 0, given, torch.ones_like(given))
