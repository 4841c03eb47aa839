"""RealmForOpenQA over any searcher, with several questions, and with its block vectors on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_model import TINY, stories
from torch import Tensor

from realm.errors import ModelError
from realm.models.attention import RealmAttention
from realm.openqa import exact_top_k as exact_top_k_file
from realm.openqa.block_vectors import BLOCK_EMB_FILE
from realm.openqa.exact_top_k import exact_top_k
from realm.openqa.model import RealmForOpenQA
from realm.openqa.retriever import RealmRetriever
from realm.text.tokenization import RealmTokenizerFast

BLOCKS = TINY["num_block_records"]
QUESTIONS = ["Who wrote it?", "which river crossed São Paulo in winter, and why", "東京"]


@pytest.fixture(scope="module")
def tokenizer(tiny_folder: Path) -> Any:
    return RealmTokenizerFast.from_pretrained(tiny_folder)


@pytest.fixture
def model(tiny_folder: Path, tokenizer: Any) -> RealmForOpenQA:
    texts = [document.text[:160].encode() for document in stories(int(BLOCKS))]
    loaded = RealmForOpenQA.from_pretrained(tiny_folder, retriever=RealmRetriever(texts, tokenizer))
    loaded.block_emb = torch.randn(int(BLOCKS), 16)
    return loaded.eval()


class Fixed:
    """A searcher that finds the same blocks for every question."""

    def __init__(self, numbers: list[int], vectors: Tensor) -> None:
        self.numbers = numbers
        self.vectors = vectors
        self.asked: list[tuple[tuple[int, ...], int]] = []

    def search(self, questions: Tensor, k: int) -> Tensor:
        self.asked.append((tuple(questions.shape), k))
        return torch.tensor(self.numbers[:k]).expand(len(questions), -1)

    def embeddings(self, block_ids: Tensor) -> Tensor:
        return self.vectors[block_ids]


def test_blocks_come_from_the_searcher_that_is_given(model: RealmForOpenQA, tokenizer: Any) -> None:
    vectors = torch.randn(int(BLOCKS), 16)
    model.searcher = searcher = Fixed([7, 2, 9], vectors)
    batch = tokenizer(QUESTIONS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        output = model(**batch)
    assert searcher.asked == [((3, 16), 3)]
    pieces = [tokenizer(stories(12)[n].text[:160], add_special_tokens=False)["input_ids"] for n in (7, 2, 9)]
    for question in range(3):
        block = int(output.reader_output.block_idx[question])
        answer = output.predicted_answer_ids[question].tolist()
        body = pieces[block]
        assert any(body[start : start + len(answer)] == answer for start in range(len(body)))


def test_a_searcher_with_the_same_vectors_gives_what_block_emb_gives(model: RealmForOpenQA, tokenizer: Any) -> None:
    batch = tokenizer(QUESTIONS[1], return_tensors="pt")
    answers = [tokenizer.convert_tokens_to_ids(["the"])]
    with torch.inference_mode():
        plain = model(**batch, answer_ids=answers)
        vector = model.embedder(**batch).projected_score
        best = (model.block_emb @ vector[0]).argsort(descending=True).tolist()
        model.searcher = Fixed(best, model.block_emb)
        model.block_emb = torch.zeros(int(BLOCKS), 16)
        searched = model(**batch, answer_ids=answers)
    torch.testing.assert_close(searched.reader_output.loss, plain.reader_output.loss)
    assert float(plain.reader_output.loss) > 0
    assert searched.predicted_answer_ids.tolist() == plain.predicted_answer_ids.tolist()


def test_a_batch_of_questions_gets_the_answers_each_gets_alone(model: RealmForOpenQA, tokenizer: Any) -> None:
    with torch.inference_mode():
        together = model(**tokenizer(QUESTIONS, padding=True, return_tensors="pt"))
        alone = [model(**tokenizer(question, return_tensors="pt")) for question in QUESTIONS]
    assert len(together.predicted_answer_ids) == len(QUESTIONS)
    for number, single in enumerate(alone):
        assert together.predicted_answer_ids[number].tolist() == single.predicted_answer_ids.tolist()
        for field in ("block_idx", "start_pos", "end_pos"):
            assert int(together.reader_output[field][number]) == int(single.reader_output[field])


def test_block_emb_lies_beside_the_weights_in_half_precision_and_is_memory_mapped(
    model: RealmForOpenQA, tokenizer: Any, tmp_path: Path
) -> None:
    model.block_emb = model.block_emb.half()
    model.save_pretrained(tmp_path)
    assert "block_emb" not in load_file(tmp_path / "model.safetensors")
    again = RealmForOpenQA.from_pretrained(tmp_path, retriever=model.retriever).eval()
    assert again.block_emb.dtype == torch.float16
    assert torch.equal(again.block_emb, model.block_emb)
    assert str(tmp_path / BLOCK_EMB_FILE) in Path("/proc/self/maps").read_text(encoding="utf-8")
    batch = tokenizer(QUESTIONS[0], return_tensors="pt")
    answers = [tokenizer.convert_tokens_to_ids(["the"])]
    with torch.inference_mode():
        half = again(**batch, answer_ids=answers)
        again.block_emb = again.block_emb.float()
        full = again(**batch, answer_ids=answers)
    torch.testing.assert_close(half.reader_output.loss, full.reader_output.loss)
    assert half.predicted_answer_ids.tolist() == full.predicted_answer_ids.tolist()


def test_a_model_can_be_saved_over_the_folder_its_block_emb_is_mapped_from(
    model: RealmForOpenQA, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path)
    again = RealmForOpenQA.from_pretrained(tmp_path)
    again.save_pretrained(tmp_path)
    assert torch.equal(RealmForOpenQA.from_pretrained(tmp_path).block_emb, model.block_emb)


def test_block_emb_can_be_put_among_the_weights_as_the_old_class_has_it(model: RealmForOpenQA, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    model.save_pretrained(tmp_path, block_emb_inside=True)
    assert not (tmp_path / BLOCK_EMB_FILE).exists()
    inside = load_file(tmp_path / "model.safetensors")
    assert inside["block_emb"].dtype == torch.float32
    assert torch.equal(RealmForOpenQA.from_pretrained(tmp_path).block_emb, model.block_emb)


def test_loading_info_comes_with_the_model_when_it_is_asked_for(model: RealmForOpenQA, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    again, found = RealmForOpenQA.from_pretrained(tmp_path, output_loading_info=True)
    assert not found["missing_keys"]
    assert torch.equal(again.block_emb, model.block_emb)


def test_block_emb_is_zero_until_given_and_has_the_models_dimensions(tiny_folder: Path) -> None:
    fresh = RealmForOpenQA.from_pretrained(tiny_folder)
    assert torch.equal(fresh.block_emb, torch.zeros(int(BLOCKS), 16))
    with pytest.raises(ModelError, match=r"shape \(12, 15\); expected \(blocks, 16\)"):
        fresh.block_emb = torch.zeros(12, 15)


def test_a_block_emb_of_another_corpus_is_refused(model: RealmForOpenQA, tmp_path: Path) -> None:
    model.block_emb = torch.zeros(7, 16)
    model.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="block_emb has 7 rows; the config says num_block_records=12"):
        RealmForOpenQA.from_pretrained(tmp_path)


def test_exact_top_k_is_a_sorted_scan_of_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact_top_k_file, "_ROWS_AT_ONCE", 7)
    for dtype in (torch.float32, torch.float16):
        rows, questions = torch.randn(50, 8).to(dtype), torch.randn(4, 8)
        for k in (1, 5, 50):
            expected = (questions @ rows.float().T).argsort(dim=-1, descending=True)[:, :k]
            assert torch.equal(exact_top_k(rows, questions, k), expected)
    with pytest.raises(ValueError, match="51 blocks are to be retrieved, but block_emb has 50 rows"):
        exact_top_k(rows, questions, 51)


def test_forward_names_what_it_lacks(tiny_folder: Path, model: RealmForOpenQA, tokenizer: Any) -> None:
    batch = tokenizer(QUESTIONS, padding=True, return_tensors="pt")
    with pytest.raises(ValueError, match="needs a retriever"):
        RealmForOpenQA.from_pretrained(tiny_folder)(**batch)
    with pytest.raises(ValueError, match="3 questions need as many lists of answers; found 2"):
        model(**batch, answer_ids=[[[5]], [[6]]])


def test_gradient_checkpointing_gives_the_same_loss_and_the_same_gradients(
    model: RealmForOpenQA, tokenizer: Any
) -> None:
    batch, answers, results = tokenizer(QUESTIONS[1], return_tensors="pt"), [tokenizer.convert_tokens_to_ids(["a"])], []
    passes: list[int] = []
    for part in model.train().modules():
        if isinstance(part, RealmAttention):
            part.register_forward_hook(lambda *_: passes.append(1))
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable()
        model.zero_grad()
        passes.clear()
        torch.manual_seed(3)
        loss = model(**batch, answer_ids=answers).reader_output.loss
        loss.backward()
        gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        results.append((loss.detach(), gradients, len(passes)))
    # Every layer was computed once more on the way back.
    assert results[1][2] == 2 * results[0][2]
    assert torch.equal(results[0][0], results[1][0])
    assert results[0][1].keys() == results[1][1].keys()
    assert {name.split(".")[0] for name in results[0][1]} == {"embedder", "reader"}
    for name, gradient in results[0][1].items():
        torch.testing.assert_close(results[1][1][name], gradient, atol=1e-6, rtol=1e-5)
