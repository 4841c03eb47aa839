"""Losses equal their equations written out term by term, and their gradients are the textbook ones."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from realm.models.losses import (
    early_update,
    in_batch_contrastive,
    inner_products,
    joint_class,
    joint_span,
    marginal_likelihood,
    similarity_distillation,
)

NUMBERS = st.floats(-8, 8, width=32)


def softmax(scores: list[float]) -> list[float]:
    """e^x over the sum of all e^x, in double precision."""
    total = sum(math.exp(score) for score in scores)
    return [math.exp(score) / total for score in scores]


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


def test_marginal_likelihood_costs_nothing_and_pulls_nothing_in_rows_without_any_choice() -> None:
    scores = torch.tensor([[-torch.inf, -torch.inf], [-torch.inf, 1.0], [2.0, -torch.inf]], requires_grad=True)
    loss = marginal_likelihood(scores, torch.tensor([[True, False], [True, False], [True, True]]))
    loss.sum().backward()
    # In the second row the right choice is not there; in the third it is the only one.
    assert loss.tolist() == [0.0, 0.0, 0.0]
    assert scores.grad is not None
    assert scores.grad.abs().max() == 0.0


def rows_of(generator: torch.Generator, *shape: int, share: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    """Random scores in double precision, and which of them are right."""
    scores = torch.randn(*shape, generator=generator, dtype=torch.double)
    return scores, torch.rand(*shape, generator=generator) < share


@pytest.mark.parametrize("seed", range(3))
def test_early_update_is_the_mean_over_questions_with_those_without_answer_as_zero(seed: int) -> None:
    scores, right = rows_of(torch.Generator().manual_seed(seed), 4, 50, share=0.1)
    right[1] = False
    wanted = 0.0
    for q in (0, 2, 3):
        chances = softmax(scores[q].tolist())
        wanted -= math.log(sum(c for c, r in zip(chances, right[q].tolist(), strict=True) if r)) / 4
    assert early_update(scores, right).item() == pytest.approx(wanted, rel=1e-9)


def test_early_update_is_finite_over_five_thousand_half_precision_scores_with_blocks_missing() -> None:
    scores = (torch.randn(2, 5000) * 60).half()
    scores[1, 100:] = -torch.inf
    scores.requires_grad_()
    right = torch.zeros(2, 5000, dtype=torch.bool)
    right[:, [3, 4000]] = True
    loss = early_update(scores, right)
    loss.backward()
    wanted = early_update(scores.detach().double(), right)
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert scores.grad is not None
    assert scores.grad.isfinite().all()
    assert scores.grad[1, 100:].abs().max() == 0.0


def test_losses_of_the_parts_of_a_batch_add_up_to_that_of_the_batch() -> None:
    make = torch.Generator().manual_seed(0)
    spans, right = rows_of(make, 5, 3, 4)
    scores, answering = rows_of(make, 5, 3)
    allowed = torch.ones_like(right)
    whole = early_update(scores, answering), joint_span(spans, scores, allowed, right)
    classes = joint_class(spans, scores, torch.tensor([0, 3, 1, 1, 2]))
    parts = [0.0, 0.0, 0.0]
    for part in (slice(0, 2), slice(2, 5)):
        parts[0] += early_update(scores[part], answering[part], 5).item()
        parts[1] += joint_span(spans[part], scores[part], allowed[part], right[part], 5).item()
        parts[2] += joint_class(spans[part], scores[part], torch.tensor([0, 3, 1, 1, 2])[part], 5).item()
    assert parts == pytest.approx([whole[0].item(), whole[1].item(), classes.item()], rel=1e-9)
    assert early_update(scores[:0], answering[:0]).item() == 0.0


@pytest.mark.parametrize("seed", range(3))
def test_joint_span_is_one_softmax_over_all_blocks_and_spans(seed: int) -> None:
    make = torch.Generator().manual_seed(seed)
    spans, right = rows_of(make, 2, 3, 4)
    scores, _ = rows_of(make, 2, 3)
    allowed = torch.rand(2, 3, 4, generator=make) < 0.7
    right[1] = ~allowed[1]  # right nowhere that counts
    total, good = 0.0, 0.0
    for z in range(3):
        for s in range(4):
            if allowed[0, z, s]:
                mass = math.exp(float(spans[0, z, s] + scores[0, z]))
                total += mass
                good += mass if right[0, z, s] else 0.0
    wanted = -math.log(good / total) / 2 if good else 0.0
    assert joint_span(spans, scores, allowed, right).item() == pytest.approx(wanted, rel=1e-9)


def test_joint_span_trains_the_retriever_towards_the_blocks_of_right_spans() -> None:
    make = torch.Generator().manual_seed(3)
    spans, _ = rows_of(make, 1, 3, 4)
    scores = torch.randn(1, 3, generator=make, dtype=torch.double, requires_grad=True)
    right = torch.zeros(1, 3, 4, dtype=torch.bool)
    right[0, 1, 2] = True
    joint_span(spans, scores, torch.ones_like(right), right).backward()
    assert scores.grad is not None
    assert (scores.grad[0] > 0).tolist() == [True, False, True]
    assert scores.grad.sum().item() == pytest.approx(0.0, abs=1e-12)


def test_joint_class_is_its_equation() -> None:
    scores, retrieval = torch.randn(2, 3, 4), torch.randn(2, 3)
    retrieval[1, 2] = -torch.inf
    wanted = 0.0
    for q, target in enumerate((2, 0)):
        mass = [[math.exp(float(scores[q, z, c] + retrieval[q, z])) for c in range(4)] for z in range(3)]
        wanted -= math.log(sum(row[target] for row in mass) / sum(map(sum, mass))) / 2
    assert joint_class(scores, retrieval, torch.tensor([2, 0])).item() == pytest.approx(wanted, rel=1e-5)


def test_gradients_of_all_losses_over_choices_are_those_of_finite_differences() -> None:
    make = torch.Generator().manual_seed(1)
    spans, right = rows_of(make, 2, 3, 4)
    scores, answering = rows_of(make, 2, 3)
    allowed = torch.rand(2, 3, 4, generator=make) < 0.8
    left, other = rows_of(make, 2, 5)[0], rows_of(make, 4, 5)[0]
    targets, excluded = torch.tensor([3, 0]), torch.tensor([[True, False, False, False], [False, True, False, False]])
    for tensor in (spans, scores, left, other):
        tensor.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: early_update(s, answering), (scores,))
    assert torch.autograd.gradcheck(lambda r, s: joint_span(r, s, allowed, right), (spans, scores))
    assert torch.autograd.gradcheck(lambda r, s: joint_class(r, s, torch.tensor([1, 2])), (spans, scores))
    assert torch.autograd.gradcheck(lambda a, b: in_batch_contrastive(a, b, targets, excluded, 0.5), (left, other))
    cosines = scores.detach().tanh()
    assert torch.autograd.gradcheck(lambda s: similarity_distillation(s, cosines, 2.0), (scores,))


def test_scale_of_in_batch_contrastive_multiplies_the_scores() -> None:
    questions, blocks, targets = torch.randn(3, 4), torch.randn(5, 4), torch.tensor([4, 0, 2])
    scaled = in_batch_contrastive(questions, blocks, targets, scale=0.5)
    torch.testing.assert_close(scaled, in_batch_contrastive(0.5 * questions, blocks, targets))


def test_a_questions_own_block_counts_even_if_it_is_called_a_duplicate() -> None:
    questions, blocks, targets = torch.randn(2, 4), torch.randn(3, 4), torch.tensor([1, 2])
    excluded = torch.tensor([[True, True, False], [False, False, True]])
    wanted = in_batch_contrastive(questions, blocks, targets, torch.tensor([[True, False, False], [False] * 3]))
    assert torch.equal(in_batch_contrastive(questions, blocks, targets, excluded), wanted)


def test_inner_products_under_autocast_keep_full_precision() -> None:
    left, right = torch.randn(3, 128) * 4, torch.randn(5, 128) * 4
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = inner_products(left, right)
    assert torch.equal(found, left @ right.T)
