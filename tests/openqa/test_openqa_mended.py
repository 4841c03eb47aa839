"""What transformers 4.37.2 gets wrong in RealmRetriever and RealmForOpenQA, one test for each, named after what
happens here. The mistakes of the networks have their tests in `tests/models`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from realm.errors import QuestionError
from realm.models.configuration import RealmConfig
from realm.openqa.model import RealmForOpenQA
from realm.openqa.retriever import RealmRetriever
from realm.text.tokenization import RealmTokenizerFast

WORDS = """[PAD] [UNK] [CLS] [SEP] [MASK] this is the first second third fourth record longer who what do n ' t
    don ##t [ ] sep ends here""".split()
TEXTS = [
    b"This is the first record",
    b"This is [SEP] the second record",
    b"This is the third record longer longer longer longer longer longer",
    b"ends here",
]


def ids(words: str) -> list[int]:
    """Ids of words as they stand in the vocabulary."""
    return [WORDS.index(word) for word in words.split()]


@pytest.fixture(scope="module")
def retriever(tmp_path_factory: pytest.TempPathFactory) -> RealmRetriever:
    path = tmp_path_factory.mktemp("words") / "vocab.txt"
    path.write_text("\n".join(WORDS) + "\n", "utf-8")
    return RealmRetriever(TEXTS, RealmTokenizerFast(str(path)))


def build(retriever: RealmRetriever | None, **changes: Any) -> RealmForOpenQA:
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "retriever_proj_size": 8,
        "span_hidden_size": 8,
        "max_span_width": 3,
        "max_position_embeddings": 40,
        "reader_seq_len": 40,
        "num_block_records": len(TEXTS),
        "searcher_beam_size": 4,
        "reader_beam_size": 2,
        "initializer_range": 0.4,
    }
    model = RealmForOpenQA(RealmConfig(vocab_size=len(WORDS), **{**sizes, **changes}), retriever)
    model.block_emb = torch.randn(len(TEXTS), model.config.retriever_proj_size)
    return model.eval()


def rows_read(model: RealmForOpenQA, question: list[int], answers: Any = None) -> tuple[list[list[int]], Any]:
    """The ids the reader was given, and what came out."""
    seen: list[Tensor] = []
    hook = model.reader.register_forward_pre_hook(
        lambda _, __, given: seen.append(given["input_ids"]), with_kwargs=True
    )
    output = model(torch.tensor([question]), answer_ids=answers)
    hook.remove()
    return seen[0].tolist(), output


@pytest.mark.parametrize("question", ["who is [UNK] [MASK] record", "do n ' t", "this [SEP] is [CLS] what"])
def test_a_questions_ids_reach_the_reader_as_they_are(retriever: RealmRetriever, question: str) -> None:
    given = [2, *ids(question), 3]
    asked = retriever([0, 3], torch.tensor([given]), None).concat_inputs["input_ids"]
    for rows in (asked.tolist(), rows_read(build(retriever), given)[0]):
        assert len(rows) == 2
        assert all(row[: len(given)] == given for row in rows)


def test_a_separator_within_a_question_does_not_hide_the_answers(retriever: RealmRetriever) -> None:
    question = [2, *ids("what [SEP] is record"), 3]
    answers = [ids("record")]
    has_answers, starts, _, _ = retriever([0], torch.tensor([question]), answers)
    assert has_answers == [True]
    assert starts == [[len(question) + 4]]
    _, output = rows_read(build(retriever, reader_beam_size=4), question, answers)
    # Three of the four texts hold it once; where it stands in the question does not count.
    assert output.reader_output.retriever_correct.sum() == 3
    assert output.reader_output.reader_correct.sum(-1).tolist().count(1) == 3


def test_only_the_block_is_cut_and_never_the_question(retriever: RealmRetriever) -> None:
    question = [2, *ids("who is the first record"), 3]
    longest = len(question) + 4
    rows = retriever([2, 3], torch.tensor([question]), None, max_length=longest).concat_inputs["input_ids"].tolist()
    assert rows[0] == [*question, *ids("this is the"), 3]
    assert rows[1] == [*question, *ids("ends here"), 3, 0]
    found = retriever([2], torch.tensor([question]), [ids("third")], max_length=longest)
    assert found.has_answers == [False]
    with pytest.raises(QuestionError, match="The question has 5 word pieces; with a block at most 8 fit"):
        retriever([2], torch.tensor([question]), None, max_length=8)


def test_special_pieces_in_the_text_of_a_block_are_text(retriever: RealmRetriever) -> None:
    question = [2, *ids("what"), 3]
    found = retriever([1], torch.tensor([question]), [ids("second record")])
    body = ids("this is [ sep ] the second record")
    assert found.concat_inputs["input_ids"].tolist() == [[*question, *body, 3]]
    assert found.concat_inputs["special_tokens_mask"].tolist() == [[1, 0, 1, *[0] * len(body), 1]]
    assert (found.has_answers, found.start_pos, found.end_pos) == ([True], [[9]], [[10]])


ANSWERS: dict[str, Any] = {
    "lists": [ids("the first"), ids("here")],
    "tuples": (tuple(ids("the first")), tuple(ids("here"))),
    "tensor": torch.tensor([ids("the first"), [*ids("here"), -1]]),
    "array": np.array([ids("the first"), [-1, *ids("here")]]),
    "tensors": [torch.tensor(ids("the first")), torch.tensor(ids("here"))],
    "padded lists": [[*ids("the first"), -1, -1], [*ids("here"), -1], [-1]],
}


@pytest.mark.parametrize("form", ANSWERS)
def test_answers_are_found_in_every_form_and_minus_one_is_ignored(retriever: RealmRetriever, form: str) -> None:
    question = [2, *ids("what"), 3]
    found = retriever([0, 1, 3], torch.tensor([question]), ANSWERS[form])
    assert found.has_answers == [True, False, True]
    assert found.start_pos == [[5], [-1], [4]]
    assert found.end_pos == [[6], [-1], [4]]
    model = build(retriever, reader_beam_size=4)
    output = model(torch.tensor([question]), answer_ids=ANSWERS[form]).reader_output
    assert output.retriever_correct.sum() == 2
    assert output.reader_correct.sum() == 2
    assert output.loss.item() > 0.0


@pytest.mark.parametrize("nothing", [[[-1]], [[]], [], torch.full((1, 2), -1)])
def test_no_answer_is_nowhere(retriever: RealmRetriever, nothing: Any) -> None:
    question = [2, *ids("what"), 3]
    found = retriever([0, 1], torch.tensor([question]), nothing)
    assert (found.has_answers, found.start_pos, found.end_pos) == ([False] * 2, [[]] * 2, [[]] * 2)
    output = build(retriever)(torch.tensor([question]), answer_ids=nothing).reader_output
    assert output.loss.item() == 0.0
    assert not output.reader_correct.any()


def test_one_question_takes_its_answers_also_in_the_form_of_a_batch(retriever: RealmRetriever) -> None:
    model, question = build(retriever, reader_beam_size=4), torch.tensor([[2, *ids("what"), 3]])
    answers = [ids("the first"), [*ids("here"), -1]]
    wanted = model(question, answer_ids=answers).reader_output
    assert wanted.loss.item() > 0.0
    for form in ([answers], torch.tensor([answers]), [torch.tensor(answers)]):
        found = model(question, answer_ids=form).reader_output
        assert torch.equal(found.loss, wanted.loss)
        assert torch.equal(found.reader_correct, wanted.reader_correct)
    with pytest.raises(ValueError, match="1 questions need as many lists of answers; found 2"):
        model(question, answer_ids=[answers, answers])


@pytest.mark.parametrize("none", [0, 1])
def test_a_question_of_a_batch_may_have_no_answers(retriever: RealmRetriever, none: int) -> None:
    model, questions = build(retriever, reader_beam_size=4), torch.tensor([[2, *ids("what"), 3]] * 2)
    answers: list[Any] = [[ids("the first")], [ids("here")]]
    alone = model(questions[:1], answer_ids=answers[1 - none]).reader_output
    answers[none] = None
    output = model(questions, answer_ids=answers).reader_output
    assert output.retriever_correct.any(-1).tolist() == [none == 1, none == 0]
    # The loss is the mean over the questions, and a question without answers has none.
    assert output.loss.item() == pytest.approx(alone.loss.item() / 2)
    assert model(questions[:1], answer_ids=[None]).reader_output.loss.item() == 0.0


def test_answers_are_looked_for_in_the_block_also_where_the_question_holds_a_separator(
    retriever: RealmRetriever,
) -> None:
    question = torch.tensor([[2, *ids("what [SEP] is this"), 3]])
    answers = [ids("this"), ids("ends")]
    found = retriever([0, 3, 1], question, answers)
    assert found.start_pos == [[6], [6], [6]]
    assert retriever.block_has_answer(found.concat_inputs, answers) == found[:3]
    ids_alone = {"input_ids": retriever([0, 3], torch.tensor([[2, *ids("what"), 3]]), None).concat_inputs["input_ids"]}
    assert retriever.block_has_answer(ids_alone, answers) == ([True, True], [[3], [3]], [[3], [3]])


@pytest.mark.parametrize("training", [True, False])
def test_a_single_block_can_be_searched_and_read(retriever: RealmRetriever, training: bool) -> None:
    model = build(retriever, searcher_beam_size=1, reader_beam_size=1).train(training)
    rows, output = rows_read(model, [2, *ids("who"), 3], [ids("record")])
    assert len(rows) == 1
    assert output.reader_output.retriever_correct.shape == (1,)
    assert output.reader_output.block_idx.item() == 0
    found = retriever(np.array(2), torch.tensor([[2, 3]]), [ids("third")])
    assert found.has_answers == [True]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_networks_in_half_precision_run_with_block_vectors_in_float32(
    retriever: RealmRetriever, dtype: torch.dtype, tmp_path: Path
) -> None:
    model = build(retriever)
    model.save_pretrained(tmp_path)
    half = RealmForOpenQA.from_pretrained(tmp_path, retriever=retriever, dtype=dtype)
    assert half.reader.dtype == half.embedder.dtype == dtype
    assert half.block_emb.dtype == torch.float32
    assert torch.equal(half.block_emb, model.block_emb)
    question = torch.tensor([[2, *ids("who is the first"), 3]])
    output = half(question, answer_ids=[ids("record"), ids("here")]).reader_output
    wanted = model(question, answer_ids=[ids("record"), ids("here")]).reader_output
    assert output.loss.item() == pytest.approx(wanted.loss.item(), rel=0.1)
    output.loss.backward()
    gradients = [parameter.grad for parameter in half.parameters() if parameter.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_block_vectors_are_zero_until_they_are_given(tmp_path: Path) -> None:
    config = build(None).config
    fresh = RealmForOpenQA(config)
    assert fresh.block_emb.dtype == torch.float32
    assert torch.equal(fresh.block_emb, torch.zeros(len(TEXTS), 8))
    assert not fresh.block_emb.requires_grad
    RealmForOpenQA(config).save_pretrained(tmp_path)
    assert torch.equal(RealmForOpenQA.from_pretrained(tmp_path).block_emb, torch.zeros(len(TEXTS), 8))


def test_block_vectors_move_alone(retriever: RealmRetriever) -> None:
    model = build(retriever)
    model.block_embedding_to("meta")
    assert model.block_emb.is_meta
    assert not any(parameter.is_meta for parameter in model.parameters())
