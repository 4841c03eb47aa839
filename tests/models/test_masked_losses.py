"""Losses of masked pieces equal their equations written out term by term; utilities measure what candidates add."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from realm.models.masked_losses import (
    marginal_mlm,
    null_probability,
    per_span,
    per_token,
    retrieval_utility,
    span_retrieval_utility,
    target_log_probs,
)

NUMBERS = st.floats(-8, 8, width=32)


def softmax(scores: list[float]) -> list[float]:
    """e^x over the sum of all e^x, in double precision."""
    total = sum(math.exp(score) for score in scores)
    return [math.exp(score) / total for score in scores]


def mlm_case(batch: int = 2, cand: int = 3, mask: int = 4, vocab: int = 5, seed: int = 0) -> dict[str, Tensor]:
    make = torch.Generator().manual_seed(seed)
    return {
        "vocab_scores": torch.randn(batch, cand, mask, vocab, generator=make) * 2,
        "retrieval_scores": torch.randn(batch, cand, generator=make) * 2,
        "targets": torch.randint(0, vocab, (batch, mask), generator=make),
        "weights": torch.randint(0, 2, (batch, mask), generator=make).float(),
    }


def mlm_by_hand(
    vocab_scores: Any, retrieval_scores: Any, targets: Any, weights: Any
) -> tuple[float, list[list[float]]]:
    """The loss, and its gradient with respect to the retrieval scores: sum_j w_j (p(n|x) - p(n|x, y_j)) / sum w."""
    loss, total, pulls = 0.0, 0.0, []
    for b, scores in enumerate(retrieval_scores.tolist()):
        prior, pull = softmax(scores), [0.0] * len(scores)
        for j, target in enumerate(targets[b].tolist()):
            weight = float(weights[b, j])
            if target == -100 or weight == 0.0:
                continue
            joint = [prior[n] * softmax(vocab_scores[b, n, j].tolist())[target] for n in range(len(prior))]
            loss -= weight * math.log(sum(joint))
            total += weight
            for n in range(len(prior)):
                pull[n] += weight * (prior[n] - joint[n] / sum(joint))
        pulls.append(pull)
    return (loss / total, [[p / total for p in pull] for pull in pulls]) if total else (0.0, pulls)


@pytest.mark.parametrize("seed", range(5))
def test_marginal_mlm_is_its_equation(seed: int) -> None:
    case = mlm_case(seed=seed)
    case["targets"][0, 1] = -100
    case["weights"][0, 1] = 1.0
    assert marginal_mlm(**case).item() == pytest.approx(mlm_by_hand(**case)[0], rel=1e-5)


def test_marginal_mlm_counts_fractions_of_a_weight() -> None:
    case = mlm_case()
    case["weights"] = torch.tensor([[0.25, 0.0, 0.5, 1.0], [0.0, 0.125, 0.0, 2.0]])
    assert marginal_mlm(**case).item() == pytest.approx(mlm_by_hand(**case)[0], rel=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_marginal_mlm_pulls_the_retriever_from_prior_to_posterior(seed: int) -> None:
    case = mlm_case(seed=seed)
    case["retrieval_scores"].requires_grad_()
    marginal_mlm(**case).backward()
    found = case["retrieval_scores"].grad
    assert found is not None
    wanted = torch.tensor(mlm_by_hand(**{key: value.detach() for key, value in case.items()})[1])
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found.sum(-1), torch.zeros(2), atol=1e-6, rtol=0.0)


@pytest.mark.parametrize("seed", range(3))
def test_marginal_mlm_with_one_candidate_is_plain_cross_entropy(seed: int) -> None:
    case = mlm_case(cand=1, seed=seed)
    case["weights"] = torch.ones(2, 4)
    wanted = functional.cross_entropy(case["vocab_scores"].flatten(0, 2), case["targets"].flatten())
    torch.testing.assert_close(marginal_mlm(**case), wanted)


def test_marginal_mlm_ignores_scores_and_retrieval_where_the_weight_is_zero() -> None:
    case = mlm_case()
    case["weights"] = torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    changed = {key: value.clone() for key, value in case.items()}
    changed["vocab_scores"][0, :, 1] += 5.0 * torch.randn(3, 5)
    changed["vocab_scores"][1], changed["retrieval_scores"][1] = 3.0, torch.randn(3)
    assert torch.equal(marginal_mlm(**case), marginal_mlm(**changed))


@given(shift=NUMBERS, seed=st.integers(0, 50))
def test_marginal_mlm_does_not_change_when_all_candidates_score_alike_higher(shift: float, seed: int) -> None:
    case = mlm_case(seed=seed)
    case["weights"][0, 0] = 1.0
    shifted = {**case, "retrieval_scores": case["retrieval_scores"] + shift}
    torch.testing.assert_close(marginal_mlm(**case), marginal_mlm(**shifted), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_marginal_mlm_in_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    case = mlm_case()
    half = {**case, **{key: case[key].to(dtype) for key in ("vocab_scores", "retrieval_scores")}}
    single = {**half, **{key: half[key].float() for key in ("vocab_scores", "retrieval_scores")}}
    assert marginal_mlm(**half).dtype == torch.float32
    assert torch.equal(marginal_mlm(**half), marginal_mlm(**single))


def predicted(batch: int = 3, cand: int = 4, mask: int = 3, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Log probabilities, retrieval scores and weights in double precision; every sentence has a mask."""
    make = torch.Generator().manual_seed(seed)
    log_probs = torch.rand(batch, cand, mask, generator=make, dtype=torch.double).log()
    scores = torch.randn(batch, cand, generator=make, dtype=torch.double) * 2
    weights = torch.randint(0, 2, (batch, mask), generator=make).double()
    weights[:, 0] = 1.0
    return log_probs, scores, weights


def span_by_hand(log_probs: Tensor, scores: Tensor, weights: Tensor) -> list[tuple[list[float], list[float]]]:
    """p(n|x) and p(n|x) p(y|x, n) of each candidate, by sentence."""
    found = []
    for b, row in enumerate(scores.tolist()):
        prior = softmax(row)
        products = [
            math.prod(math.exp(float(log_probs[b, n, j])) for j in range(weights.size(1)) if weights[b, j])
            for n in range(len(prior))
        ]
        found.append((prior, [p * q for p, q in zip(prior, products, strict=True)]))
    return found


@pytest.mark.parametrize("seed", range(4))
def test_loss_per_span_is_equation_one_of_the_paper(seed: int) -> None:
    log_probs, scores, weights = predicted(seed=seed)
    joints = [sum(joint) for _, joint in span_by_hand(log_probs, scores, weights)]
    wanted = -sum(map(math.log, joints)) / len(joints)
    assert per_span(log_probs, scores, weights).item() == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_loss_per_span_pulls_the_retriever_from_prior_to_posterior(seed: int) -> None:
    log_probs, scores, weights = predicted(seed=seed)
    scores.requires_grad_()
    per_span(log_probs, scores, weights).backward()
    assert scores.grad is not None
    for b, (prior, joint) in enumerate(span_by_hand(log_probs, scores.detach(), weights)):
        wanted = [-(j / sum(joint) - p) / 3 for p, j in zip(prior, joint, strict=True)]
        assert scores.grad[b].tolist() == pytest.approx(wanted, abs=1e-12)
        assert scores.grad[b].sum().item() == pytest.approx(0.0, abs=1e-12)


def test_candidate_that_predicts_better_than_average_is_pushed_up_and_the_others_down() -> None:
    log_probs, scores, weights = predicted()
    scores.requires_grad_()
    per_span(log_probs, scores, weights).backward()
    assert scores.grad is not None
    for b, (prior, joint) in enumerate(span_by_hand(log_probs, scores.detach(), weights)):
        better = [j / p > sum(joint) for p, j in zip(prior, joint, strict=True)]
        assert (scores.grad[b] < 0).tolist() == better


@pytest.mark.parametrize("loss", [per_token, per_span])
def test_retriever_learns_as_if_supervised_where_one_candidate_alone_knows_the_answer(loss: Any) -> None:
    scores = torch.randn(2, 5, dtype=torch.double, requires_grad=True)
    log_probs = torch.full((2, 5, 1), -torch.inf, dtype=torch.double)
    known = torch.tensor([3, 0])
    log_probs[torch.arange(2), known] = 0.0
    loss(log_probs, scores, torch.ones(2, 1)).backward()
    supervised = scores.detach().clone().requires_grad_()
    functional.cross_entropy(supervised, known).backward()
    torch.testing.assert_close(scores.grad, supervised.grad)


def test_per_token_and_per_span_are_the_same_where_every_sentence_has_one_masked_piece() -> None:
    log_probs, scores, _ = predicted()
    weights = torch.eye(3)
    torch.testing.assert_close(per_span(log_probs, scores, weights), per_token(log_probs, scores, weights))


def test_per_span_asks_one_candidate_for_the_whole_span() -> None:
    # Each candidate knows one half: token by token both halves are known to somebody, as a span to nobody.
    log_probs = torch.tensor([[[0.0, -20.0], [-20.0, 0.0]]])
    scores, weights = torch.zeros(1, 2), torch.ones(1, 2)
    assert per_token(log_probs, scores, weights).item() == pytest.approx(math.log(2), abs=1e-4)
    assert per_span(log_probs, scores, weights).item() == pytest.approx(20.0, abs=1e-4)


@pytest.mark.parametrize("loss", [per_token, per_span])
def test_loss_with_one_candidate_is_that_of_a_plain_masked_language_model(loss: Any) -> None:
    log_probs, scores, weights = predicted(cand=1)
    total = weights.sum() if loss is per_token else 3
    assert loss(log_probs, scores, weights).item() == pytest.approx(float(-(log_probs[:, 0] * weights).sum() / total))


@given(order=st.permutations(range(4)), shift=NUMBERS)
def test_losses_do_not_depend_on_the_order_of_candidates_nor_on_a_common_shift(order: list[int], shift: float) -> None:
    log_probs, scores, weights = predicted()
    for loss in (per_token, per_span):
        moved = loss(log_probs[:, order], scores[:, order] + shift, weights)
        torch.testing.assert_close(loss(log_probs, scores, weights), moved)


@pytest.mark.parametrize("loss", [per_token, per_span])
def test_candidate_that_is_not_there_changes_nothing(loss: Any) -> None:
    log_probs, scores, weights = predicted()
    more = torch.cat([log_probs, torch.randn(3, 2, 3)], 1), torch.cat([scores, torch.full((3, 2), -torch.inf)], 1)
    assert torch.equal(loss(*more, weights), loss(log_probs, scores, weights))
    assert retrieval_utility(*more, weights) == retrieval_utility(log_probs, scores, weights)
    assert null_probability(more[1]) == null_probability(scores)


@pytest.mark.parametrize("loss", [per_token, per_span])
def test_sentence_without_candidates_or_masks_costs_nothing_and_sends_no_gradient(loss: Any) -> None:
    log_probs, scores, weights = predicted()
    wanted = loss(log_probs[2:], scores[2:], weights[2:])
    scores[0], weights[1] = -torch.inf, 0.0
    log_probs[1] = -torch.inf  # nothing there is asked for
    scores.requires_grad_()
    log_probs.requires_grad_()
    found = loss(log_probs, scores, weights)
    found.backward()
    torch.testing.assert_close(found, wanted)
    for gradient in (scores.grad, log_probs.grad):
        assert gradient is not None
        assert gradient.isfinite().all()
        assert gradient[:2].abs().max() == 0.0


@pytest.mark.parametrize("loss", [per_token, per_span, retrieval_utility, span_retrieval_utility])
def test_figures_of_a_batch_without_any_mask_are_zero(loss: Any) -> None:
    log_probs, scores, weights = predicted()
    log_probs.requires_grad_()
    found = loss(log_probs, scores, torch.zeros_like(weights))
    assert found.item() == 0.0
    if found.requires_grad:
        found.backward()
        assert log_probs.grad is not None
        assert log_probs.grad.abs().max() == 0.0


def test_losses_of_the_parts_of_a_batch_add_up_to_that_of_the_batch() -> None:
    log_probs, scores, weights = predicted(batch=5)
    weights[4] = 0.0
    for loss, total in ((per_token, float(weights.sum())), (per_span, 4.0)):
        parts = [loss(log_probs[p], scores[p], weights[p], total) for p in (slice(0, 2), slice(2, 4), slice(4, 5))]
        torch.testing.assert_close(sum(parts), loss(log_probs, scores, weights))


def test_target_log_probs_are_those_of_the_targets_and_zero_without_one() -> None:
    scores = torch.randn(2, 3, 4, 6)
    targets = torch.tensor([[5, 0, -100, 2], [1, -100, 3, 3]])
    found = target_log_probs(scores, targets)
    for b, n, j in torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(4)).tolist():
        target = int(targets[b, j])
        wanted = 0.0 if target == -100 else math.log(softmax(scores[b, n, j].tolist())[target])
        assert found[b, n, j].item() == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_retrieval_utility_is_what_the_marginal_gains_over_the_null_block(seed: int) -> None:
    log_probs, scores, weights = predicted(seed=seed)
    null = -float((log_probs[:, 0] * weights).sum() / weights.sum())
    token = retrieval_utility(log_probs, scores, weights).item()
    assert token == pytest.approx(null - per_token(log_probs, scores, weights).item())
    null_span = -float((log_probs[:, 0] * weights).sum() / 3)
    span = span_retrieval_utility(log_probs, scores, weights).item()
    assert span == pytest.approx(null_span - per_span(log_probs, scores, weights).item())


def test_retrieval_utility_is_zero_where_all_candidates_predict_alike() -> None:
    log_probs, scores, weights = predicted()
    alike = log_probs[:, :1].expand_as(log_probs)
    assert retrieval_utility(alike, scores, weights).item() == pytest.approx(0.0, abs=1e-12)
    assert span_retrieval_utility(alike, scores, weights).item() == pytest.approx(0.0, abs=1e-12)


def test_null_probability_is_the_mean_belief_in_candidate_zero() -> None:
    scores = torch.tensor([[2.0, 0.0, 1.0], [-1.0, 3.0, 0.0], [-torch.inf] * 3])
    wanted = (softmax(scores[0].tolist())[0] + softmax(scores[1].tolist())[0]) / 2
    assert null_probability(scores).item() == pytest.approx(wanted)
    assert null_probability(scores[2:]).item() == 0.0


def test_gradients_of_masked_losses_are_those_of_finite_differences() -> None:
    vocab_scores = torch.randn(2, 3, 2, 4, dtype=torch.double, requires_grad=True)
    scores = torch.randn(2, 3, dtype=torch.double, requires_grad=True)
    targets, weights = torch.tensor([[1, 3], [2, -100]]), torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    assert torch.autograd.gradcheck(lambda v, s: marginal_mlm(v, s, targets, weights), (vocab_scores, scores))
    assert torch.autograd.gradcheck(
        lambda v, s: per_span(target_log_probs(v, targets), s, weights), (vocab_scores, scores)
    )
