"""The reader: span scores, the best span and the losses as one would write them down, for one question or several."""

from __future__ import annotations

import math

import pytest
import torch
from tiny import embedded, gradients, pieces, reading, tiny
from torch import Tensor
from torch.nn import functional

from realm.models.reader import RealmReader, RealmReaderOutput

ALLOWED = {"atol": 2e-5, "rtol": 0.0}
Span = tuple[int, int, int]


def scores_by_hand(model: RealmReader, given: dict[str, Tensor]) -> dict[Span, float]:
    """Score of every allowed span (block, start, end), in the order in which the reader counts them."""
    head, scores = model.qa_outputs, {}
    trunk_inputs = {key: given[key] for key in ("input_ids", "attention_mask", "token_type_ids")}
    halves = head.dense_intermediate(model.realm(**trunk_inputs).last_hidden_state)
    for block, states in enumerate(halves):
        for width in range(1, model.config.max_span_width + 1):
            for start in range(len(states) - width + 1):
                end = start + width - 1
                if not (given["block_mask"][block, start] and given["block_mask"][block, end]):
                    continue
                span = torch.relu(states[start, :5] + states[end, 5:])
                norm = head.layer_normalization
                span = functional.layer_norm(span, (5,), norm.weight, norm.bias, 1e-3)
                score = span @ head.dense_output.weight[0] + head.dense_output.bias[0]
                scores[(block, start, end)] = float(score + given["relevance_score"][block])
    return scores


def nats(chances: dict[Span, float] | dict[int, float], right: set[Span] | set[int]) -> float:
    """- log of the share of e^score that is right; 0 where nothing is."""
    total = sum(math.exp(score) for score in chances.values())
    share = sum(math.exp(score) for key, score in chances.items() if key in right) / total
    return -math.log(share) if share else 0.0


def answers_of(given: dict[str, Tensor], blocks: int) -> set[Span]:
    both = (given["start_positions"], given["end_positions"])
    return {
        (block, start, end)
        for block in range(blocks)
        for start, end in zip(*(side[block].tolist() for side in both), strict=True)
    }


@pytest.mark.parametrize("seed", range(4))
@torch.no_grad()
def test_losses_and_best_span_are_those_of_a_search_through_all_spans(seed: int) -> None:
    model, given = tiny(RealmReader, seed=seed), reading(blocks=3, seed=seed)
    output = model(**given)
    scores = scores_by_hand(model, given)
    block, start, end = max(scores, key=lambda span: scores[span])
    assert (output.block_idx.item(), output.start_pos.item(), output.end_pos.item()) == (block, start, end)
    # 8 spans of one piece, 7 of two, 6 of three.
    assert output.candidate.item() == sum([8, 7, 6][: end - start]) + start
    relevance = dict(enumerate(given["relevance_score"].tolist()))
    retriever_loss = nats(relevance, {0, 1})
    reader_loss = nats(scores, answers_of(given, 3) & scores.keys())
    assert output.retriever_loss.item() == pytest.approx(retriever_loss, abs=2e-5)
    assert output.reader_loss.item() == pytest.approx(reader_loss, abs=2e-5)
    assert output.loss.item() == pytest.approx(retriever_loss + reader_loss, abs=2e-5)


@torch.no_grad()
def test_more_blocks_may_be_retrieved_than_are_read() -> None:
    model, given = tiny(RealmReader), reading(blocks=4)
    read = {
        key: value[:2] if key in ("input_ids", "attention_mask", "token_type_ids") else value
        for key, value in given.items()
    }
    output = model(**read)
    alone = model(**{key: value[:2] for key, value in given.items()})
    assert torch.equal(output.reader_loss, alone.reader_loss)
    assert output.reader_correct.shape == (2, 21)
    wanted = nats(dict(enumerate(given["relevance_score"].tolist())), {0, 1})
    assert output.retriever_loss.item() == pytest.approx(wanted, abs=2e-5)
    assert torch.equal(output.retriever_correct, given["has_answers"])


@pytest.mark.parametrize("missing", ["relevance_score", "block_mask", "start_positions", "end_positions"])
def test_fewer_scores_masks_or_positions_than_blocks_are_refused(missing: str) -> None:
    given = reading(blocks=3)
    given[missing] = given[missing][:1]
    with pytest.raises(ValueError, match=f"3 blocks are to be read, but {missing} is given for 1"):
        tiny(RealmReader)(**given)


@torch.no_grad()
def test_a_batch_of_questions_gives_what_the_questions_give_one_by_one() -> None:
    model = tiny(RealmReader)
    each = [reading(blocks=3, seed=seed) for seed in range(4)]
    # One question without any answer, and one without a span to choose.
    each[1]["has_answers"][:] = False
    each[1]["start_positions"][:] = each[1]["end_positions"][:] = -1
    each[2]["block_mask"][:] = False
    together = model(**{key: torch.stack([given[key] for given in each]) for key in each[0]})
    singly = [model(**given) for given in each]
    for name in ("retriever_correct", "reader_correct", "block_idx", "candidate"):
        assert torch.equal(together[name], torch.stack([output[name] for output in singly])), name
    for name in ("start_pos", "end_pos"):
        assert torch.equal(together[name], torch.cat([output[name] for output in singly])), name
    for name in ("loss", "retriever_loss", "reader_loss"):
        mean = sum(float(output[name]) for output in singly) / 4
        assert together[name].item() == pytest.approx(mean, abs=2e-5)
        assert together[name].shape == ()
    assert together.block_idx.tolist()[2] == -1


def test_the_gradient_of_a_batch_is_the_mean_of_the_questions_gradients() -> None:
    model, each = tiny(RealmReader), [reading(seed=seed) for seed in range(3)]
    model(**{key: torch.stack([given[key] for given in each]) for key in each[0]}).loss.backward()
    found = gradients(model)
    model.zero_grad()
    sum(model(**given).loss / 3 for given in each).backward()
    wanted = gradients(model)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_one_position_per_block_is_a_list_of_one_answer() -> None:
    model, given = tiny(RealmReader), reading(blocks=3)
    single = {key: given[key][:, 0] for key in ("start_positions", "end_positions")}
    nested = {key: given[key][:, :1] for key in ("start_positions", "end_positions")}
    found, wanted = model(**{**given, **single}), model(**{**given, **nested})
    assert torch.equal(found.reader_correct, wanted.reader_correct)
    assert torch.equal(found.loss, wanted.loss)
    both = {key: torch.stack([value, value]) for key, value in given.items()}
    batch = {key: torch.stack([value, value]) for key, value in single.items()}
    assert torch.equal(model(**{**both, **batch}).reader_correct[1], wanted.reader_correct)


@torch.no_grad()
def test_positions_without_a_single_column_mean_no_answer() -> None:
    model, given = tiny(RealmReader), reading(blocks=2)
    given["start_positions"] = given["end_positions"] = torch.zeros(2, 0, dtype=torch.long)
    output = model(**given)
    assert not output.reader_correct.any()
    assert output.reader_loss.item() == 0.0


@torch.no_grad()
def test_masks_and_segments_may_be_left_out_and_the_mask_may_be_per_pair() -> None:
    model, given = tiny(RealmReader), reading(answers=False)
    given["token_type_ids"][:] = 0
    wanted = model(**given, output_hidden_states=True).hidden_states[-1]
    left_out = {key: value for key, value in given.items() if key not in ("token_type_ids", "attention_mask")}
    found = model(**left_out, output_hidden_states=True).hidden_states[-1]
    torch.testing.assert_close(found, wanted, **ALLOWED)
    given["attention_mask"] = torch.ones(2, 8, 8)
    found = model(**given, output_hidden_states=True).hidden_states[-1]
    torch.testing.assert_close(found, wanted, **ALLOWED)


@torch.no_grad()
def test_embedded_pieces_give_what_their_ids_give() -> None:
    model, given = tiny(RealmReader), reading()
    wanted = model(**given)
    words = embedded(model, given.pop("input_ids"))
    assert torch.equal(model(**given, inputs_embeds=words).loss, wanted.loss)
    batch = {key: value[None] for key, value in given.items()}
    assert torch.equal(model(**batch, inputs_embeds=words[None]).loss, wanted.loss)


@torch.no_grad()
def test_without_all_three_of_the_answers_there_are_no_losses() -> None:
    model, given = tiny(RealmReader), reading()
    for missing in ("start_positions", "end_positions", "has_answers"):
        output = model(**{key: value for key, value in given.items() if key != missing})
        assert list(output.keys()) == ["block_idx", "candidate", "start_pos", "end_pos"]


@torch.no_grad()
def test_a_tuple_holds_the_declared_fields_in_order() -> None:
    model, given = tiny(RealmReader), reading()
    named = model(**given, output_hidden_states=True, output_attentions=True)
    assert isinstance(named, RealmReaderOutput)
    assert list(named.keys()) == list(RealmReaderOutput.__dataclass_fields__)
    values = model(**given, return_dict=False)
    assert [tuple(v.shape) for v in values] == [(), (), (), (2,), (2, 21), (), (), (1,), (1,)]
    assert torch.equal(values[5], named.block_idx)


def test_what_is_missing_or_too_short_is_named() -> None:
    model, given = tiny(RealmReader), reading()
    with pytest.raises(ValueError, match="You have to specify `relevance_score` to calculate logits and loss"):
        model(**{**given, "relevance_score": None})
    with pytest.raises(ValueError, match="You have to specify `block_mask` to separate question block"):
        model(**{**given, "block_mask": None})
    with pytest.raises(ValueError, match="You have to specify either input_ids or inputs_embeds"):
        model(**{**given, "input_ids": None})
    with pytest.raises(ValueError, match=r"must be greater than or equal to config\.max_span_width"):
        model(pieces(2, 2), relevance_score=torch.zeros(2), block_mask=torch.ones(2, 2))
