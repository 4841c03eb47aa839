"""The scorer: inner products of questions and candidates, however the candidates are laid out."""

from __future__ import annotations

import pytest
import torch
from tiny import embedded, gradients, pieces, shake, tiny, tiny_config
from torch import Tensor

from realm.models.embedder import RealmEmbedder
from realm.models.scorer import RealmScorer, RealmScorerOutput, flatten_candidates

ALLOWED = {"atol": 2e-5, "rtol": 0.0}


def inputs(questions: int = 2, candidates: int = 3) -> dict[str, Tensor]:
    mask = torch.ones(questions, candidates, 5, dtype=torch.long)
    mask[0, 1, 3:] = 0
    segments = (torch.arange(5) > 2).long().expand(questions, candidates, -1)
    return {
        "input_ids": pieces(questions, 4),
        "attention_mask": (torch.arange(4) < 3).long().expand(questions, -1),
        "candidate_input_ids": pieces(questions, candidates, 5, seed=1),
        "candidate_attention_mask": mask,
        "candidate_token_type_ids": segments,
    }


@torch.no_grad()
def test_relevance_is_the_inner_product_of_question_and_candidate() -> None:
    model, given = tiny(RealmScorer), inputs()
    output = model(**given)
    for q in range(2):
        question = model.embedder(
            given["input_ids"][q : q + 1], attention_mask=given["attention_mask"][q : q + 1]
        ).projected_score[0]
        torch.testing.assert_close(output.query_score[q], question, **ALLOWED)
        for n in range(3):
            candidate = model.embedder(
                given["candidate_input_ids"][q, n][None],
                attention_mask=given["candidate_attention_mask"][q, n][None],
                token_type_ids=given["candidate_token_type_ids"][q, n][None],
            ).projected_score[0]
            torch.testing.assert_close(output.candidate_score[q, n], candidate, **ALLOWED)
            wanted = sum(float(a * b) for a, b in zip(question, candidate, strict=True))
            assert output.relevance_score[q, n].item() == pytest.approx(wanted, abs=1e-4)


@torch.no_grad()
def test_flat_candidates_score_like_nested_ones() -> None:
    model, given = tiny(RealmScorer), inputs()
    flat = {key: value.flatten(0, 1) if value.dim() == 3 else value for key, value in given.items()}
    assert torch.equal(model(**flat).relevance_score, model(**given).relevance_score)


@pytest.mark.parametrize("nested", [True, False])
@torch.no_grad()
def test_embedded_candidates_score_like_their_ids(nested: bool) -> None:
    model, given = tiny(RealmScorer), inputs()
    wanted = model(**given).relevance_score
    ids = given.pop("candidate_input_ids")
    words = model.embedder.get_input_embeddings()(ids)
    found = model(**given, candidate_inputs_embeds=words if nested else words.flatten(0, 1)).relevance_score
    torch.testing.assert_close(found, wanted, **ALLOWED)
    given["inputs_embeds"] = embedded(model.embedder, given.pop("input_ids"))
    found = model(**given, candidate_inputs_embeds=words).relevance_score
    torch.testing.assert_close(found, wanted, **ALLOWED)


@torch.no_grad()
def test_positions_go_to_questions_and_to_candidates_only_where_they_fit() -> None:
    model, given = tiny(RealmScorer), inputs()
    positions = torch.tensor([[4, 3, 2, 1]])
    found, plain = model(**given, position_ids=positions), model(**given)
    assert torch.equal(found.candidate_score, plain.candidate_score)
    assert not torch.equal(found.query_score, plain.query_score)
    given["input_ids"], given["attention_mask"] = pieces(2, 5), torch.ones(2, 5)
    fitting = torch.tensor([[4, 3, 2, 1, 0]])
    found, plain = model(**given, position_ids=fitting), model(**given)
    assert not torch.equal(found.candidate_score, plain.candidate_score)


def test_missing_questions_or_candidates_are_named() -> None:
    model, given = tiny(RealmScorer), inputs()
    with pytest.raises(ValueError, match="You have to specify either input_ids or input_embeds"):
        model(candidate_input_ids=given["candidate_input_ids"])
    message = "You have to specify either candidate_input_ids or candidate_inputs_embeds"
    with pytest.raises(ValueError, match=message):
        model(given["input_ids"])


def test_candidates_that_do_not_divide_among_the_questions_are_refused() -> None:
    with pytest.raises(ValueError, match="5 candidates cannot be divided among 2 questions"):
        tiny(RealmScorer)(pieces(2, 4), candidate_input_ids=pieces(5, 4))


@torch.no_grad()
def test_a_tuple_holds_relevance_questions_candidates() -> None:
    model, given = tiny(RealmScorer), inputs()
    named = model(**given)
    assert isinstance(named, RealmScorerOutput)
    values = model(**given, return_dict=False)
    assert [tuple(value.shape) for value in values] == [(2, 3), (2, 7), (2, 3, 7)]
    for value, wanted in zip(values, named.values(), strict=True):
        assert torch.equal(value, wanted)


def test_a_shared_embedder_is_registered_once_and_learns_from_both_sides() -> None:
    model = tiny(RealmScorer)
    assert model.query_embedder is model.embedder
    names = [name for name, _ in model.named_parameters()]
    assert not any(name.startswith("query_embedder.") for name in names)
    assert len(names) == len({id(parameter) for parameter in model.parameters()})
    model(**inputs()).relevance_score.sum().backward()
    both = gradients(model)["embedder.cls.dense.weight"]
    model.zero_grad()
    output = model(**inputs())
    torch.einsum("bd,bnd->", output.query_score.detach(), output.candidate_score).backward()
    candidates = gradients(model)["embedder.cls.dense.weight"]
    assert (both - candidates).abs().max() > 1e-4


def test_a_query_embedder_of_its_own_is_used_as_it_is_and_for_questions_only() -> None:
    query_embedder = tiny(RealmEmbedder, seed=7)
    before = {name: tensor.clone() for name, tensor in query_embedder.state_dict().items()}
    config = tiny_config()
    scorer = RealmScorer(config, query_embedder).eval()
    shake(scorer.embedder)
    assert scorer.query_embedder is query_embedder
    assert all(torch.equal(tensor, before[name]) for name, tensor in query_embedder.state_dict().items())
    assert not config.separate_query_embedder
    assert RealmScorer(config).query_embedder is not query_embedder
    output = scorer(**inputs())
    assert torch.equal(
        output.query_score,
        query_embedder(inputs()["input_ids"], attention_mask=inputs()["attention_mask"]).projected_score,
    )
    output.query_score.sum().backward()
    assert all(name.startswith("query_embedder.") for name in gradients(scorer))


def test_a_state_dict_with_alias_names_loads_and_one_with_other_weights_under_them_does_not() -> None:
    scorer, other = tiny(RealmScorer), tiny(RealmScorer, seed=5)
    own = other.state_dict()
    aliases = {f"query_{name}": tensor for name, tensor in own.items()}
    scorer.load_state_dict({**own, **aliases})
    assert torch.equal(scorer.embedder.cls.dense.weight, other.embedder.cls.dense.weight)
    aliases["query_embedder.cls.dense.bias"] = torch.zeros(7)
    with pytest.raises(RuntimeError, match=r"query_embedder\.cls\.dense\.bias"):
        scorer.load_state_dict({**own, **aliases})


def test_flattening_leaves_flat_tensors_and_none_alone() -> None:
    flat, nested = torch.zeros(6, 4), torch.arange(24).view(2, 3, 4)
    assert flatten_candidates(None, 1) is None
    assert flatten_candidates(flat, 1) is flat
    flattened = flatten_candidates(nested, 1)
    assert flattened is not None
    assert flattened.tolist() == [row for question in nested.tolist() for row in question]


@torch.no_grad()
def test_positions_of_as_many_rows_as_there_are_candidates_go_to_them() -> None:
    model, given = tiny(RealmScorer), {"input_ids": pieces(2, 5), "candidate_input_ids": pieces(2, 1, 5, seed=1)}
    positions = torch.tensor([[4, 3, 2, 1, 0], [7, 8, 9, 10, 11]])
    found = model(**given, position_ids=positions).candidate_score[:, 0]
    wanted = model.embedder(given["candidate_input_ids"][:, 0], position_ids=positions).projected_score
    torch.testing.assert_close(found, wanted, **ALLOWED)
