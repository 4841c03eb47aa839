"""Every loss as a pure function of tensors, with its equation.

Softmax arithmetic is done in float32 whatever the input's dtype, so that half precision cannot overflow.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

IGNORED_LABEL = -100


def marginal_mlm(
    vocab_scores: Float[Tensor, "batch cand mask vocab"],
    retrieval_scores: Float[Tensor, "batch cand"],
    targets: Int[Tensor, "batch mask"],
    weights: Float[Tensor, "batch mask"],
) -> Float[Tensor, ""]:
    """Loss of the masked tokens, averaged over what the retriever believes.

        L = - sum_bj w_bj log sum_n p(n|b) p(y_bj|b,n)  /  sum_bj w_bj

    Args:
        vocab_scores: Score of every word piece at every position, before softmax.
        retrieval_scores: Inner product of sentence and candidate.
        targets: Piece ids that were masked; -100 where there is none.
        weights: 1.0 for a masked position, 0.0 elsewhere. Positions with target -100 never count.

    Returns:
        Nats per masked token. 0.0, with zero gradient, if nothing is masked.

    Source: google-research `language/realm/model.py` (865fae6).
    Differs: the paper (eq. 1) marginalises whole spans; the released code, and we, each token on its own.
        transformers 4.37.2 counts -100 targets in the denominator when no `mlm_mask` is given.
    """
    weights = weights.float() * (targets != IGNORED_LABEL)
    batch, candidates, positions, vocab = vocab_scores.shape
    expanded = targets[:, None, :].expand(batch, candidates, positions)
    token_log_probs = -functional.cross_entropy(
        vocab_scores.float().reshape(-1, vocab), expanded.reshape(-1), ignore_index=IGNORED_LABEL, reduction="none"
    ).view(batch, candidates, positions)
    candidate_log_probs = retrieval_scores.float().log_softmax(-1)[..., None]
    marginal = torch.logsumexp(candidate_log_probs + token_log_probs, dim=1)
    total = weights.sum()
    # Where nothing is masked the numerator is 0 as well, and dividing by 1 keeps it and its gradient so.
    return -(marginal * weights).sum() / torch.where(total > 0, total, torch.ones_like(total))


def marginal_likelihood(
    scores: Float[Tensor, "*batch choice"], correct: Bool[Tensor, "*batch choice"]
) -> Float[Tensor, "*batch"]:
    """Negative log probability that a choice drawn from softmax(scores) is a correct one.

        L = logsumexp(scores) - logsumexp(scores where correct)

    Args:
        scores: Score of each choice; excluded choices hold the dtype's minimum.
        correct: Which choices are right; several may be.

    Returns:
        Nats, one per row. 0.0, with zero gradient, where no choice is correct.

    Source: ORQA `marginal_log_loss`; the early-update and the reader loss are both this.
    """
    scores = scores.float()
    has_any = correct.any(-1)
    # Where nothing is correct everything is called correct: both terms cancel, and so do their gradients.
    correct = correct | ~has_any[..., None]
    return torch.logsumexp(scores, -1) - torch.logsumexp(scores.masked_fill(~correct, -torch.inf), -1)


def in_batch_contrastive(
    question_vectors: Float[Tensor, "question dim"],
    block_vectors: Float[Tensor, "block dim"],
    targets: Int[Tensor, " question"],
    excluded: Bool[Tensor, "question block"] | None = None,
) -> Float[Tensor, ""]:
    """Cross entropy of each question's own block against all blocks of the batch (ICT's loss).

        L = - mean_q log softmax_b(q . b)[target(q)]

    Args:
        question_vectors: Vectors of the questions.
        block_vectors: Vectors of all blocks of the batch, at least one per question.
        targets: Row of each question's block.
        excluded: Blocks that must not count as negatives of a question (duplicates of its own block).

    Returns:
        Nats per question.

    Source: ORQA, Lee et al. 2019, section 5.
    """
    scores = (question_vectors @ block_vectors.T).float()
    if excluded is not None:
        scores = scores.masked_fill(excluded, -torch.inf)
    return functional.cross_entropy(scores, targets)


def similarity_distillation(
    scores: Float[Tensor, "row column"],
    teacher_cosines: Float[Tensor, "row column"],
    teacher_scale: float,
) -> Float[Tensor, ""]:
    """Kullback-Leibler divergence from the teacher's ranking of the batch to the student's.

        L = mean_r sum_c t_rc (log t_rc - log softmax(scores)_rc),   t = softmax(teacher_scale * cosines)

    Args:
        scores: Inner products of the student.
        teacher_cosines: Cosine similarities of the teacher, in [-1, 1].
        teacher_scale: Inverse temperature of the teacher (20 in sentence-transformers' training).

    Returns:
        Nats per row; 0.0 iff both rank with the same probabilities.
    """
    teacher = (teacher_scale * teacher_cosines.float()).log_softmax(-1)
    return functional.kl_div(scores.float().log_softmax(-1), teacher, log_target=True, reduction="batchmean")
