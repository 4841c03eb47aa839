"""Losses equal their equations written out term by term, and their gradients are the textbook ones."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from realm.models.losses import (
    in_batch_contrastive,
    marginal_likelihood,
    marginal_mlm,
    similarity_distillation,
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


@given(rows=st.lists(st.lists(st.tuples(NUMBERS, st.booleans()), min_size=4, max_size=4), min_size=1, max_size=3))
def test_marginal_likelihood_is_its_equation(rows: list[list[tuple[float, bool]]]) -> None:
    scores = torch.tensor([[score for score, _ in row] for row in rows])
    correct = torch.tensor([[right for _, right in row] for row in rows])
    found = marginal_likelihood(scores, correct)
    for number, row in enumerate(rows):
        chances = softmax([score for score, _ in row])
        right = sum(chance for chance, (_, is_right) in zip(chances, row, strict=True) if is_right)
        wanted = -math.log(right) if right else 0.0
        assert found[number].item() == pytest.approx(wanted, abs=2e-5)


def test_marginal_likelihood_pulls_from_all_choices_to_the_correct_ones() -> None:
    scores = torch.tensor([0.5, -1.0, 2.0, 0.1], requires_grad=True)
    correct = torch.tensor([True, False, False, True])
    marginal_likelihood(scores, correct).backward()
    prior = softmax(scores.tolist())
    right = prior[0] + prior[3]
    wanted = [p - (p / right if is_right else 0.0) for p, is_right in zip(prior, correct.tolist(), strict=True)]
    assert scores.grad is not None
    assert scores.grad.tolist() == pytest.approx(wanted, abs=1e-6)
    assert scores.grad.sum().item() == pytest.approx(0.0, abs=1e-6)


def test_marginal_likelihood_has_no_gradient_in_rows_where_nothing_is_correct() -> None:
    scores = torch.tensor([[1.0, 2.0], [3.0, 1.0]], requires_grad=True)
    loss = marginal_likelihood(scores, torch.tensor([[False, False], [True, False]]))
    loss.sum().backward()
    assert loss[0].item() == 0.0
    assert scores.grad is not None
    assert scores.grad[0].tolist() == [0.0, 0.0]
    assert scores.grad[1].abs().min() > 0.0


def test_marginal_likelihood_is_zero_where_everything_is_correct() -> None:
    assert marginal_likelihood(torch.tensor([4.0, -3.0]), torch.tensor([True, True])).item() == 0.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_marginal_likelihood_is_finite_where_excluded_choices_hold_the_lowest_number(dtype: torch.dtype) -> None:
    scores = torch.tensor([-500.0, 3.0], dtype=dtype)
    scores[1] = torch.finfo(dtype).min
    scores.requires_grad_()
    loss = marginal_likelihood(scores, torch.tensor([True, False]))
    loss.backward()
    assert loss.item() == 0.0
    assert scores.grad is not None
    assert scores.grad.isfinite().all()


def test_in_batch_contrastive_is_its_equation() -> None:
    questions, blocks = torch.randn(3, 4), torch.randn(5, 4)
    targets = torch.tensor([4, 0, 2])
    excluded = torch.zeros(3, 5, dtype=torch.bool)
    excluded[0, 1] = excluded[2, 4] = True
    loss = 0.0
    for q in range(3):
        kept = [b for b in range(5) if not excluded[q, b]]
        scores = [sum(float(questions[q, d] * blocks[b, d]) for d in range(4)) for b in kept]
        loss -= math.log(softmax(scores)[kept.index(int(targets[q]))]) / 3
    assert in_batch_contrastive(questions, blocks, targets, excluded).item() == pytest.approx(loss, rel=1e-5)
    nothing = torch.zeros(3, 5, dtype=torch.bool)
    with_nothing_excluded = in_batch_contrastive(questions, blocks, targets, nothing)
    assert torch.equal(in_batch_contrastive(questions, blocks, targets), with_nothing_excluded)


def test_in_batch_contrastive_sends_no_gradient_to_excluded_blocks() -> None:
    questions, blocks = torch.randn(1, 4), torch.randn(3, 4, requires_grad=True)
    in_batch_contrastive(questions, blocks, torch.tensor([0]), torch.tensor([[False, True, False]])).backward()
    assert blocks.grad is not None
    assert blocks.grad[1].abs().max() == 0.0
    assert blocks.grad[[0, 2]].abs().amin(-1).min() > 0.0


def test_similarity_distillation_is_its_equation() -> None:
    scores, cosines = torch.randn(2, 3), torch.rand(2, 3) * 2 - 1
    wanted = 0.0
    for row in range(2):
        teacher = softmax([20.0 * c for c in cosines[row].tolist()])
        student = softmax(scores[row].tolist())
        wanted += sum(t * (math.log(t) - math.log(s)) for t, s in zip(teacher, student, strict=True)) / 2
    assert similarity_distillation(scores, cosines, 20.0).item() == pytest.approx(wanted, rel=1e-4)


@given(
    cosines=st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=4),
    moved=st.floats(0.25, 4),
    shift=NUMBERS,
)
def test_similarity_distillation_is_zero_iff_both_rank_with_the_same_probabilities(
    cosines: list[float], moved: float, shift: float
) -> None:
    teacher = torch.tensor([cosines])
    # A shift of a row does not change its probabilities; moving one entry alone does.
    equal = similarity_distillation(3.0 * teacher + shift, teacher, 3.0).item()
    student = 3.0 * teacher + shift
    student[0, 0] += moved
    different = similarity_distillation(student, teacher, 3.0).item()
    assert equal == pytest.approx(0.0, abs=2e-6)
    assert different > 1e-5
