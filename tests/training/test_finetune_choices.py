"""The job `finetune`: what it starts from, which blocks count and are read, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from finetune_towns import gradients_of_step, ready, town_recipe, write_towns
from pretrain_towns import town_documents
from tiny_embedder import tiny_embedder
from tiny_trunk import write_lines

from realm.errors import RealmError, RecipeError
from realm.models.encoder import RealmKnowledgeAugEncoder
from realm.openqa.model import RealmForOpenQA
from realm.openqa.model_folder import ModelFolder
from realm.training.distributed import Processes
from realm.training.finetune import FinetuneJob
from realm.training.tokenizer_files import copy_tokenizer


@pytest.fixture(scope="module")
def folder(trunk: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_towns(trunk, tmp_path_factory.mktemp("towns"))


def test_start_may_be_a_retriever_and_a_reader_apart(trunk: Path, folder: Path, tmp_path: Path) -> None:
    tower = tmp_path / "model" / "embedder"
    tiny = tiny_embedder(trunk)
    tiny.save_pretrained(tower)
    copy_tokenizer(trunk, tower)
    with pytest.raises(RealmError, match="num_hidden_layers is 1 in the embedder and 2 in the reader"):
        FinetuneJob(town_recipe(folder, embedder=str(tower), reader=str(trunk)), tmp_path / "run")
    whole = RealmForOpenQA.from_pretrained(folder / "start")
    whole.embedder.save_pretrained(tower)
    copy_tokenizer(trunk, tower)
    job = FinetuneJob(town_recipe(folder, embedder=str(tower), reader=str(trunk)), tmp_path / "run")
    for name, value in whole.embedder.state_dict().items():
        if "predictions" not in name:
            assert torch.equal(job.networks.open_qa.embedder.state_dict()[name], value)
    word = "embeddings.word_embeddings.weight"
    assert torch.equal(job.networks.open_qa.reader.realm.state_dict()[word], whole.reader.realm.state_dict()[word])
    assert job.parents().keys() == {"embedder", "reader", "corpus", "questions"}
    # And a run of pre-training is both.
    encoder = RealmKnowledgeAugEncoder(whole.config)
    encoder.save_pretrained(tmp_path / "model" / "encoder")
    copy_tokenizer(trunk, tmp_path / "model" / "encoder")
    job = FinetuneJob(town_recipe(folder, model=str(tmp_path)), tmp_path / "run")
    name = "encoder.layer.1.output.dense.weight"
    assert torch.equal(job.networks.open_qa.reader.realm.state_dict()[name], encoder.realm.state_dict()[name])


def test_blocks_that_do_not_count_are_left_out_of_the_softmax(folder: Path, tmp_path: Path) -> None:
    job = ready(folder, tmp_path, distant_within=3, max_positive_blocks=1)
    counts = job._collator._counts(np.array([0, 1, 1, 1, 0, 1], dtype=bool))
    assert counts.tolist() == [True, True, False, False, True, False]
    job = ready(folder, tmp_path, max_positive_blocks=2)
    counts = job._collator._counts(np.array([0, 1, 1, 1, 0, 1], dtype=bool))
    assert counts.tolist() == [True, True, True, False, True, False]


@pytest.mark.parametrize(
    ("has_answer", "blocks", "ranks"),
    [
        ([0, 0, 1, 1, 0, 1], 2, [0, 2]), ([0, 0, 1, 1, 0, 1], 3, [0, 2, 3]), ([0, 0, 0, 0], 2, [0, 1]),
        ([1, 1, 1, 0], 4, [0, 1, 2, 3]), ([1, 1, 1, 1], 2, [0, 1]), ([1, 0], 3, [0, 1]),
    ],
)  # fmt: skip
def test_contrast_reads_the_best_blocks_with_and_without_an_answer(
    folder: Path, tmp_path: Path, has_answer: list[int], blocks: int, ranks: list[int]
) -> None:
    collator = ready(folder, tmp_path, reader_blocks=blocks)._collator
    found = np.array(has_answer, dtype=bool)
    assert collator.ranks_to_read(found, "contrast") == ranks
    assert collator.ranks_to_read(found, "best") == list(range(min(blocks, len(has_answer))))


def test_only_the_marked_passage_is_right_for_a_reading_example(folder: Path, tmp_path: Path) -> None:
    for uses, right in ((True, 1), (False, 2)):
        job = ready(folder, tmp_path / str(uses), questions=("read.jsonl",), passage_supervision=uses, retrieved=24)
        asked = job._questions.draw(0, 6, Processes())
        for found in job._retrieval.find(asked, job._embed(asked).detach(), "contrast"):
            assert found.has_answer.sum() == right  # a town's year stands in both of its documents
            if uses:
                (row,) = found.rows[found.has_answer]
                assert job._corpus.take([int(row)])[0].text.startswith("The old bridge")
            assert found.has_target


def test_answer_in_the_part_that_was_cut_off_is_no_target(folder: Path, tmp_path: Path) -> None:
    job = ready(folder, tmp_path, reader_seq_len=36, max_question_pieces=20, retrieved=24, read="contrast")
    asked = [one for step in range(4) for one in job._questions.draw(step, 6, Processes())]
    found = job._retrieval.find(asked, job._embed(asked).detach(), "contrast")
    assert sum(reading.skipped["cut_off"] for one in found for reading in one.readings) > 0
    for one in found:
        for reading in one.readings:
            assert len(reading.row.ids) <= 36
            for first, last in reading.spans:
                assert reading.row.body_start <= first <= last < reading.row.body_end


@pytest.mark.slow
def test_vectors_of_a_knowledge_base_of_the_same_model_are_used(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("lance")
    from realm.openqa.indexing import index_sources

    kb = tmp_path / "kb"
    index_sources(kb, [folder / "towns-corpus.jsonl"], ModelFolder.open(str(folder / "start")))
    job = ready(folder, tmp_path / "run", corpus=str(kb), block_vectors="corpus")
    fresh = ready(folder, tmp_path / "fresh", corpus=str(kb))
    assert not (tmp_path / "run" / "snapshots").exists()
    assert job.state() == {"snapshot": None}
    ours, theirs = (gradients_of_step(one, 0)[0] for one in (job, fresh))
    assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-3)
    other = tmp_path / "other"
    model = RealmForOpenQA.from_pretrained(folder / "start")
    with torch.no_grad():
        model.embedder.cls.dense.bias.add_(1.0)
    model.save_pretrained(other)
    copy_tokenizer(folder / "start", other)
    with pytest.raises(RealmError, match="do not belong together"):
        ready(folder, tmp_path / "run", corpus=str(kb), block_vectors="corpus", model=str(other))
    with pytest.raises(RealmError, match=r"24 vectors, 0 of them .* the corpus here has 2 blocks"):
        ready(folder, tmp_path / "run", corpus=str(kb), block_vectors="corpus", max_documents=2, reader_blocks=1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"reader_blocks": 11}, "reader_blocks is 11, but only 10 blocks are retrieved"),
        ({"reader_blocks": 25, "retrieved": 50}, "reader_blocks is 25, but .* has 24 blocks"),
        ({"model": ""}, "Give either model .* or both embedder and reader"),
        ({"reader": "x"}, "Give either model"),
        ({"model": "nowhere"}, "No model at nowhere"),
        ({"train_blocks": True, "freeze_retriever": True}, "train_blocks and freeze_retriever exclude each other"),
        ({"train_blocks": True, "block_vectors": "corpus"}, "exclude each other"),
        ({"block_vectors": "corpus"}, "is no knowledge base"),
        ({"questions": ("unanswered.jsonl",)}, "no question with an answer"),
        (
            {"questions": ("unanswerable.jsonl",)},
            r"None of 6 questions tried has an answer in the 10 best of 24 blocks",
        ),
        ({"reader_seq_len": 45}, "leaves a question .* no room"),
        ({"reader_seq_len": 400}, "reader_seq_len is 400; the model takes 160"),
        ({"first_trained_layer": 3}, "first_trained_layer is 3; the network has 2 layers"),
        ({"has_answer": "words"}, "has_answer must be one of substring, tokens"),
        ({"embedder": "nowhere", "reader": "nowhere"}, "No trained model in nowhere"),
    ],
)
def test_impossible_recipes_are_refused_in_one_line(
    folder: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    for name, answers in (("unanswered", []), ("unanswerable", ["never said"])):
        records = [{"question": f"who {number}?", "answers": answers} for number in range(3)]
        write_lines(tmp_path / f"{name}.jsonl", records)
    if "unan" in str(changes):
        changes = {"questions": (str(tmp_path / changes["questions"][0]),)}
    with pytest.raises(RealmError, match=said) as caught:
        ready(folder, tmp_path / "run", **changes).micro_batches(0)
    assert "\n" not in str(caught.value)


def test_model_with_a_question_tower_is_no_start_for_training_blocks(folder: Path, tmp_path: Path) -> None:
    job = ready(folder, tmp_path / "run")
    assert job.networks.query_embedder is not None
    job.save(tmp_path / "model")
    with pytest.raises(RecipeError, match=r"has a question tower of its own; with train_blocks, .* share one"):
        ready(folder, tmp_path / "other", model=str(tmp_path / "model"), train_blocks=True)


def test_no_questions_to_measure_by_are_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no questions to measure by: name a file in dev"):
        ready(folder, tmp_path).dev_figures()


def test_run_of_another_corpus_is_refused(folder: Path, tmp_path: Path) -> None:
    job = ready(folder, tmp_path / "run")
    write_lines(tmp_path / "other.jsonl", town_documents(seed=9))
    other = FinetuneJob(town_recipe(folder, corpus=str(tmp_path / "other.jsonl")), tmp_path / "run")
    assert job.parents()["corpus"] != other.parents()["corpus"]
    with pytest.raises(RealmError, match="is a snapshot of another corpus"):
        other.restore(job.state())
