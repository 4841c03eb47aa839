"""The encoder: word-piece scores per candidate, the marginal loss over them, every documented layout of inputs."""

from __future__ import annotations

import math

import pytest
import torch
from tiny import PIECES, embedded, pieces, tiny
from torch import Tensor
from transformers.modeling_outputs import MaskedLMOutput

from realm.models.encoder import RealmKnowledgeAugEncoder

ALLOWED = {"atol": 2e-5, "rtol": 0.0}


def inputs(labels: bool = True) -> dict[str, Tensor]:
    """Two sentences with three candidates each."""
    mask = torch.ones(2, 3, 5, dtype=torch.long)
    mask[1, 2, 4:] = 0
    given = {
        "input_ids": pieces(2, 3, 5),
        "attention_mask": mask,
        "token_type_ids": (torch.arange(5) > 2).long().expand(2, 3, -1),
        "relevance_score": torch.tensor([[0.5, -1.0, 2.0], [0.0, 0.3, -0.4]]),
    }
    if labels:
        given["labels"] = torch.tensor([[-100, 4, 7, -100, 29], [3, -100, -100, 2, 5]])
    return given


def loss_by_hand(logits: Tensor, given: dict[str, Tensor], mask: Tensor) -> float:
    """- sum over masked pieces of log sum_n p(n) p(piece | n), divided by how many there are."""
    loss, count = 0.0, 0
    for b, row in enumerate(given["labels"].tolist()):
        priors = given["relevance_score"][b].double().softmax(-1).tolist()
        for t, label in enumerate(row):
            if label != -100 and mask[b, t]:
                chances = [logits[b * 3 + n, t].double().softmax(-1)[label].item() for n in range(3)]
                loss -= math.log(sum(prior * chance for prior, chance in zip(priors, chances, strict=True)))
                count += 1
    return loss / count


@torch.no_grad()
def test_the_loss_is_the_mean_over_labelled_pieces_of_the_marginal_over_candidates() -> None:
    model, given = tiny(RealmKnowledgeAugEncoder), inputs()
    output = model(**given)
    wanted = loss_by_hand(output.logits, given, torch.ones(2, 5))
    assert output.loss.shape == ()
    assert output.loss.item() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.long, torch.bool, torch.float32])
@torch.no_grad()
def test_a_mask_of_any_type_chooses_which_labels_count(dtype: torch.dtype) -> None:
    model, given = tiny(RealmKnowledgeAugEncoder), inputs()
    # Also 1 where there is no label: that never counts.
    mask = torch.tensor([[1, 1, 0, 0, 1], [0, 1, 0, 1, 0]])
    output = model(**given, mlm_mask=mask.to(dtype))
    assert output.loss.item() == pytest.approx(loss_by_hand(output.logits, given, mask), rel=1e-5)


def test_the_loss_reaches_the_relevance_scores() -> None:
    model, given = tiny(RealmKnowledgeAugEncoder), inputs()
    given["relevance_score"].requires_grad_()
    model(**given).loss.backward()
    gradient = given["relevance_score"].grad
    assert gradient is not None
    assert gradient.abs().min() > 0.0
    torch.testing.assert_close(gradient.sum(-1), torch.zeros(2), atol=1e-6, rtol=0.0)


@torch.no_grad()
def test_flat_inputs_give_what_nested_ones_give() -> None:
    model, given = tiny(RealmKnowledgeAugEncoder), inputs()
    flat = {key: value.flatten(0, 1) if value.dim() == 3 else value for key, value in given.items()}
    nested = model(**given)
    assert nested.logits.shape == (6, 5, PIECES)
    assert torch.equal(model(**flat).logits, nested.logits)
    assert torch.equal(model(**flat).loss, nested.loss)


@pytest.mark.parametrize("nested", [True, False])
@torch.no_grad()
def test_embedded_pieces_give_what_their_ids_give(nested: bool) -> None:
    model, given = tiny(RealmKnowledgeAugEncoder), inputs()
    wanted = model(**given)
    words = embedded(model, given.pop("input_ids"))
    assert words.dim() == 4
    found = model(**given, inputs_embeds=words if nested else words.flatten(0, 1))
    assert torch.equal(found.logits, wanted.logits)
    assert torch.equal(found.loss, wanted.loss)


@torch.no_grad()
def test_positions_are_taken_per_candidate_flat_or_once_for_all() -> None:
    model, given = tiny(RealmKnowledgeAugEncoder), inputs()
    row = torch.tensor([4, 0, 1, 2, 7])
    wanted = model(**given, position_ids=row[None]).logits
    assert torch.equal(model(**given, position_ids=row.expand(2, 3, -1)).logits, wanted)
    assert torch.equal(model(**given, position_ids=row.expand(6, -1)).logits, wanted)
    assert not torch.equal(model(**given).logits, wanted)


@torch.no_grad()
def test_masks_and_segments_may_be_left_out() -> None:
    model, given = tiny(RealmKnowledgeAugEncoder), inputs()
    ids = given["input_ids"]
    said = model(ids, attention_mask=torch.ones_like(ids), token_type_ids=torch.zeros_like(ids))
    torch.testing.assert_close(model(ids).logits, said.logits, **ALLOWED)
    assert model(ids).loss is None
    assert model(ids, relevance_score=given["relevance_score"]).loss is None


def test_labels_without_relevance_scores_are_refused() -> None:
    given = inputs()
    del given["relevance_score"]
    message = "You have to specify `relevance_score` when `labels` is specified in order to compute loss."
    with pytest.raises(ValueError, match=message):
        tiny(RealmKnowledgeAugEncoder)(**given)


@pytest.mark.parametrize("scores", [(2, 1), (2, 2), (1, 3)])
def test_counts_that_do_not_agree_are_refused(scores: tuple[int, int]) -> None:
    given = {**inputs(), "relevance_score": torch.zeros(scores)}
    with pytest.raises(ValueError, match="relevance_score"):
        tiny(RealmKnowledgeAugEncoder)(**given)


@torch.no_grad()
def test_a_tuple_holds_loss_logits_states_attentions() -> None:
    model, given = tiny(RealmKnowledgeAugEncoder), inputs()
    named = model(**given, output_attentions=True, output_hidden_states=True)
    assert isinstance(named, MaskedLMOutput)
    values = model(**given, output_attentions=True, output_hidden_states=True, return_dict=False)
    assert len(values) == 4
    assert torch.equal(values[0], named.loss)
    assert torch.equal(values[1], named.logits)
    assert [len(part) for part in values[2:]] == [3, 2]
    alone = model(given["input_ids"], return_dict=False)
    assert [tuple(value.shape) for value in alone] == [(6, 5, PIECES)]
