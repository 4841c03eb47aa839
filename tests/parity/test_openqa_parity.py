"""RealmForOpenQA and RealmRetriever give what transformers 4.37.2 gave, on the same thirty blocks."""

from __future__ import annotations

import pytest
import torch
from comparison import compare_call, failures
from golden_cases import ATTENTIONS, GOLDENS, calls, case, load_model, load_retriever
from retriever_comparison import CALLS, STORED, retriever_checks

from realm.openqa.retriever import RealmRetriever


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize(("name", "call"), calls(openqa=True))
def test_a_question_gives_what_4_37_2_gave(name: str, call: str, attention: str) -> None:
    checks = compare_call(name, call, attention)
    assert checks
    assert not failures(checks), failures(checks)


@pytest.mark.parametrize("form", ["weights_bin", "weights_sharded"])
def test_other_forms_of_the_checkpoint_answer_alike(form: str) -> None:
    golden = case("openqa_gelu")
    model = load_model(golden, "sdpa", form).eval()
    found = model(**golden.part("eval_no_answers", "inputs"))
    wanted = golden.part("eval_no_answers", "outputs")
    assert torch.equal(found.predicted_answer_ids, wanted["predicted_answer_ids"])
    assert int(found.reader_output.block_idx) == int(wanted["reader_output.block_idx"])


@pytest.mark.parametrize("name", CALLS)
def test_the_retriever_returns_what_4_37_2_returned(name: str) -> None:
    checks = retriever_checks(name)
    assert not failures(checks), failures(checks)


def test_a_retriever_folder_of_4_37_2_loads_with_its_records_and_tokenizer() -> None:
    found = RealmRetriever.from_pretrained(GOLDENS / "retriever")
    assert [bytes(record).decode() for record in found.block_records] == STORED["records"]
    assert found.tokenizer.get_vocab() == load_retriever(STORED).tokenizer.get_vocab()
