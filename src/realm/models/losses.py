"""Losses over choices (blocks, spans, classes) as pure functions of tensors, each with its equation.

Softmax arithmetic is done in float32 (float64 if given) whatever the input's dtype and the autocast around it, so that
half precision cannot overflow. A choice that is not there has score -inf; a row without any costs nothing. A loss is
the mean over the rows of a batch; where the rows are only a part of the batch, `batch_rows` says how many the whole
has, and the losses of the parts add up to that of the batch.

The losses of masked pieces are in `masked_losses`.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional


def in_full_precision(scores: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Half precision as float32; float32 and float64 as they are."""
    return scores if scores.dtype == torch.float64 else scores.float()


def without_empty_rows(
    scores: Float[Tensor, "*batch choice"],
) -> tuple[Float[Tensor, "*batch choice"], Bool[Tensor, "*batch"]]:
    """Scores in full precision whose softmax is never 0 / 0, and which rows have a choice at all.

    Rows of -inf become rows of 0.0, through which no gradient flows.
    """
    scores = in_full_precision(scores)
    has_choice = (scores > -torch.inf).any(-1)
    return scores.masked_fill(~has_choice[..., None], 0.0), has_choice


def marginal_likelihood(
    scores: Float[Tensor, "*batch choice"], correct: Bool[Tensor, "*batch choice"]
) -> Float[Tensor, "*batch"]:
    """Negative log probability that a choice drawn from softmax(scores) is a correct one.

        L = logsumexp(scores) - logsumexp(scores where correct)

    Args:
        scores: Score of each choice; excluded choices hold -inf or the dtype's minimum.
        correct: Which choices are right; several may be. Choices of score -inf are never.

    Returns:
        Nats, one per row. 0.0, with zero gradient, where no choice is correct.

    Source: ORQA `marginal_log_loss`; the early-update and the reader loss are both this.
    """
    correct = correct & (scores > -torch.inf)
    scores, _ = without_empty_rows(scores)
    # Where nothing is correct everything is called correct: both terms cancel, and so do their gradients.
    correct = correct | ~correct.any(-1, keepdim=True)
    return torch.logsumexp(scores, -1) - torch.logsumexp(scores.masked_fill(~correct, -torch.inf), -1)


def early_update(
    retrieval_scores: Float[Tensor, "question block"],
    has_answer: Bool[Tensor, "question block"],
    batch_rows: int | None = None,
) -> Float[Tensor, ""]:
    """Loss of the retriever over many retrieved blocks, long before the reader can tell which of them help.

        L = mean_q 1[any block has an answer] (logsumexp_z(s_qz) - logsumexp_z(s_qz where z has an answer))

    Args:
        retrieval_scores: Inner product of question and block (ORQA: the 5,000 best); -inf where there is no block.
        has_answer: Whether the block's text holds an answer.
        batch_rows: Questions of the whole batch, if these are only a part of it.

    Returns:
        Nats per question; questions without any answering block count as 0.0.

    Source: ORQA, Lee et al. 2019, section 6 ("early update").
    """
    return _mean(marginal_likelihood(retrieval_scores, has_answer), batch_rows)


def joint_span(
    reader_scores: Float[Tensor, "question block span"],
    retrieval_scores: Float[Tensor, "question block"],
    allowed: Bool[Tensor, "question block span"],
    correct: Bool[Tensor, "question block span"],
    batch_rows: int | None = None,
) -> Float[Tensor, ""]:
    """Loss of the right answer spans under one softmax over all spans of all blocks of a question.

        L = mean_q 1[any right span] (logsumexp_zs(r_qzs + s_qz) - logsumexp_zs(r_qzs + s_qz where right))

    Args:
        reader_scores: r, score of each span by the reader alone.
        retrieval_scores: s, score of its block; what trains the question's embedder through this loss.
        allowed: Which spans lie in the block.
        correct: Which spans are an answer; those not allowed never count.
        batch_rows: Questions of the whole batch, if these are only a part of it.

    Returns:
        Nats per question; questions without a right span count as 0.0.

    Source: google-research `language/orqa/models/orqa_model.py` (865fae6).
    Differs: the paper's p(y|z,x) is a softmax inside each block; the released code, and we, take one over all.
    """
    scores = in_full_precision(reader_scores) + in_full_precision(retrieval_scores)[..., None]
    scores = scores.masked_fill(~allowed, -torch.inf)
    return _mean(marginal_likelihood(scores.flatten(1), (correct & allowed).flatten(1)), batch_rows)


def joint_class(
    class_scores: Float[Tensor, "claim block class"],
    retrieval_scores: Float[Tensor, "claim block"],
    targets: Int[Tensor, " claim"],
    batch_rows: int | None = None,
) -> Float[Tensor, ""]:
    """Loss of the right class of a claim under one softmax over all blocks and classes (FEVER, HoVer).

        L = mean_q ( logsumexp_zc(r_qzc + s_qz) - logsumexp_z(r_qzy + s_qz) ),   y = target(q)

    Args:
        class_scores: r, score of each class as read in one block.
        retrieval_scores: s, score of the block; -inf where there is no block.
        targets: Number of the right class.
        batch_rows: Claims of the whole batch, if these are only a part of it.

    Returns:
        Nats per claim.

    Source: google-research `language/orqa/models/orqa_model.py` (865fae6), classification.
    """
    scores = in_full_precision(class_scores) + in_full_precision(retrieval_scores)[..., None]
    correct = functional.one_hot(targets, scores.size(-1)).bool()[:, None, :].expand_as(scores)
    return _mean(marginal_likelihood(scores.flatten(1), correct.flatten(1)), batch_rows)


def inner_products(
    left: Float[Tensor, "row dim"], right: Float[Tensor, "column dim"], scale: float = 1.0
) -> Float[Tensor, "row column"]:
    """Every row of `left` times every row of `right`, in full precision also under autocast.

    Args:
        left: Vectors of questions.
        right: Vectors of blocks.
        scale: Factor of the scores: 1.0 as released; 1/sqrt(dim) keeps the softmax of fresh vectors soft.
    """
    with torch.autocast(left.device.type, enabled=False):
        return scale * (in_full_precision(left) @ in_full_precision(right).T)


def in_batch_contrastive(
    question_vectors: Float[Tensor, "question dim"],
    block_vectors: Float[Tensor, "block dim"],
    targets: Int[Tensor, " question"],
    excluded: Bool[Tensor, "question block"] | None = None,
    scale: float = 1.0,
) -> Float[Tensor, ""]:
    """Cross entropy of each question's own block against all blocks of the batch (ICT's loss).

        L = - mean_q log softmax_b(scale q . b)[target(q)]

    Args:
        question_vectors: Vectors of the questions.
        block_vectors: Vectors of all blocks of the batch, at least one per question.
        targets: Row of each question's block.
        excluded: Blocks that must not count as negatives of a question (duplicates of its own block). A question's
            own block always counts.
        scale: Factor of the scores.

    Returns:
        Nats per question; 0.0 without questions.

    Source: ORQA, Lee et al. 2019, section 5.
    """
    scores = inner_products(question_vectors, block_vectors, scale)
    if excluded is not None:
        scores = scores.masked_fill(excluded.scatter(1, targets[:, None], False), -torch.inf)
    return _mean(functional.cross_entropy(scores, targets, reduction="none"), None)


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
    teacher = (teacher_scale * in_full_precision(teacher_cosines)).log_softmax(-1)
    student = in_full_precision(scores).log_softmax(-1)
    return functional.kl_div(student, teacher, log_target=True, reduction="batchmean")


def _mean(losses: Float[Tensor, " row"], batch_rows: int | None) -> Float[Tensor, ""]:
    """Sum over the rows given, by the rows of the whole batch; 0.0 for no rows."""
    return losses.sum() / max(1, losses.numel() if batch_rows is None else batch_rows)
