"""The job `pretrain`: its loss and figures by hand, its candidates, what it leaves behind, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pretrain_towns import TOWNS, town_documents, town_recipe, town_sources, write_towns
from tiny_trunk import write_lines
from torch import Tensor
from transformers import AutoModel, AutoModelForMaskedLM

import realm.features.auto  # noqa: F401 - makes the Auto classes know realm
from realm.cli.main import main
from realm.errors import RealmError, RecipeError, SourceError, TrainingError
from realm.models.embedder import RealmEmbedder
from realm.models.encoder import RealmKnowledgeAugEncoder
from realm.text.tokenization import RealmTokenizer
from realm.training.candidates import NULL_ROW, content_digest
from realm.training.distributed import Processes
from realm.training.heartbeat import TrainerBeat
from realm.training.job_report import JobReport
from realm.training.loop import train
from realm.training.pretrain import Part, PretrainJob
from realm.training.pretrain_inputs import Example
from realm.training.recipe import as_toml
from realm.training.snapshots import snapshot_folders


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("towns")
    write_towns(found)
    return found


def job_of(trunk: Path, folder: Path, run: Path, **changes: Any) -> PretrainJob:
    return PretrainJob(town_recipe(trunk, folder, **changes), run)


def ready(job: PretrainJob, step: int = 0) -> PretrainJob:
    """The job with its first snapshot, without dropout."""
    job.model.eval()
    job.begin_step(step)
    return job


def gradients_of_step(job: PretrainJob, step: int) -> tuple[dict[str, float], dict[str, Tensor]]:
    job.model.zero_grad()
    figures = job.gradients(step, lambda loss: loss.backward())
    return figures, {name: p.grad.clone() for name, p in job.model.named_parameters() if p.grad is not None}


def examples_of(job: PretrainJob, step: int) -> list[Example]:
    """Sentences of a step with their candidates."""
    origins = job._sentences.draw(step, Processes())
    found = job._finder.find([job._collator.question(one) for one in origins.sentences], origins)
    pairs = zip(origins.sentences, found.rows, strict=True)
    return [Example(sentence, rows) for sentence, rows in pairs if rows is not None]


def by_hand(job: PretrainJob, examples: list[Example]) -> Iterator[tuple[list[float], list[list[float]]]]:
    """Retrieval scores of an example, and log probabilities of its masked pieces, one input at a time."""
    builder, networks = job._builder, job.networks
    cls, sep = builder.cls_id, builder.sep_id

    def tensors(first: list[int], second: list[int] | None) -> dict[str, Tensor]:
        ids, segments = [cls, *first, sep], [0] * (len(first) + 2)
        if second is not None:
            ids, segments = [*ids, *second, sep], [*segments, *[1] * (len(second) + 1)]
        return {"input_ids": torch.tensor([ids]), "token_type_ids": torch.tensor([segments])}

    def vector(first: list[int], second: list[int] | None) -> Tensor:
        found: Tensor = networks.embedder(**tensors(first, second), return_dict=True).projected_score[0]
        return found

    for sentence, rows in examples:
        question, scores, log_probs = vector(sentence.ids, None), [], []
        for row in rows:
            block = None if row == NULL_ROW else job._sources.corpus.take([row])[0]
            title, body = ([], []) if block is None else (block.title_ids, block.body_ids)
            scores.append(float(question @ vector(title, body)))
            logits = networks.encoder(**tensors(sentence.ids, body), return_dict=True).logits[0].log_softmax(-1)
            places = zip(sentence.positions, sentence.targets, strict=True)
            log_probs.append([float(logits[position + 1, target]) for position, target in places])
        yield scores, log_probs


def logsumexp(values: list[float]) -> float:
    top = max(values)
    return top + math.log(sum(math.exp(value - top) for value in values))


@pytest.mark.parametrize("marginal", ["token", "span"])
@pytest.mark.parametrize("null_document", [True, False])
def test_loss_and_figures_of_a_step_are_their_equations(
    trunk: Path, folder: Path, tmp_path: Path, marginal: str, null_document: bool
) -> None:
    job = ready(job_of(trunk, folder, tmp_path, marginal=marginal, null_document=null_document))
    examples = examples_of(job, 0)
    tokens, spans, utilities, span_utilities, nulls, tops = [], [], [], [], [], []
    with torch.no_grad():
        for scores, log_probs in by_hand(job, examples):
            counted = range(0 if null_document else 1, len(scores))
            total = logsumexp([scores[n] for n in counted])
            beliefs = {n: scores[n] - total for n in counted}
            marginals = [
                logsumexp([beliefs[n] + log_probs[n][j] for n in counted]) for j in range(len(log_probs[0]))
            ]  # fmt: skip
            tokens += marginals
            utilities += [value - log_probs[0][j] for j, value in enumerate(marginals)]
            spans.append(logsumexp([beliefs[n] + sum(log_probs[n]) for n in counted]))
            span_utilities.append(spans[-1] - sum(log_probs[0]))
            nulls.append(math.exp(beliefs[0]) if null_document else 0.0)
            tops.append(math.exp(max(beliefs.values())))
    figures, _ = gradients_of_step(job, 0)
    losses = tokens if marginal == "token" else spans
    assert figures["loss"] == pytest.approx(-sum(losses) / len(losses), rel=1e-4)
    assert figures["gold_log_prob"] == pytest.approx(sum(tokens) / len(tokens), rel=1e-4)
    assert figures["retrieval_utility"] == pytest.approx(sum(utilities) / len(utilities), rel=1e-3, abs=1e-5)
    if marginal == "span":
        wanted = sum(span_utilities) / len(spans)
        assert figures["span_retrieval_utility"] == pytest.approx(wanted, rel=1e-3, abs=1e-5)
    assert figures["null_probability"] == pytest.approx(sum(nulls) / len(nulls), rel=1e-3)
    assert figures["top_1_share"] == pytest.approx(sum(tops) / len(tops), rel=1e-3)
    assert figures["examples"] == len(examples)
    assert figures["masked_pieces"] == len(tokens)
    assert 0 <= figures["padding_share"] <= 0.1
    assert 0 < figures["retrieval_share"] < 1


def test_gradients_are_the_same_in_many_parts_as_in_one(trunk: Path, folder: Path, tmp_path: Path) -> None:
    whole, whole_gradients = gradients_of_step(ready(job_of(trunk, folder, tmp_path / "a", micro_rows=1000)), 0)
    parts, parts_gradients = gradients_of_step(ready(job_of(trunk, folder, tmp_path / "b", micro_rows=4)), 0)
    timed = {"padding_share", "retrieval_share", "stale_seconds"}
    assert whole.keys() == parts.keys()
    for key in whole.keys() - timed:
        assert parts[key] == pytest.approx(whole[key], rel=1e-4, abs=1e-6), key
    assert whole_gradients.keys() == parts_gradients.keys()
    for name, gradient in whole_gradients.items():
        torch.testing.assert_close(parts_gradients[name], gradient, atol=2e-5, rtol=1e-3)


def test_both_networks_learn_unless_the_retriever_is_frozen(trunk: Path, folder: Path, tmp_path: Path) -> None:
    def trained(job: PretrainJob) -> set[str]:
        gradients = gradients_of_step(ready(job), 0)[1]
        return {name.split(".")[0] for name, gradient in gradients.items() if gradient.abs().sum() > 0}

    assert trained(job_of(trunk, folder, tmp_path / "a")) == {"embedder", "encoder"}
    frozen = job_of(trunk, folder, tmp_path / "b", freeze_retriever=True, dropout=0.3)
    assert trained(frozen) == {"encoder"}
    frozen.model.train()
    assert frozen.networks.encoder.training
    assert not frozen.networks.embedder.training
    for step in range(7):
        frozen.begin_step(step)
    assert [path.name for path in (tmp_path / "b" / "snapshots").iterdir()] == ["step-00000000"]


def test_candidates_are_the_null_block_then_the_best_ones_without_the_origin(
    trunk: Path, folder: Path, tmp_path: Path
) -> None:
    job = ready(job_of(trunk, folder, tmp_path))
    corpus = job._sources.corpus
    blocks = corpus.take(range(len(corpus)))
    digests = [content_digest(block.title, block.text) for block in blocks]
    origins = job._sentences.draw(0, Processes())
    questions = [job._collator.question(sentence) for sentence in origins.sentences]
    found = job._finder.find(questions, origins)
    assert len(found.rows) == 6
    dropped = 0
    with torch.no_grad():
        vectors = [
            job.networks.embedder(
                torch.tensor([row.ids]), token_type_ids=torch.tensor([row.segments]), return_dict=True
            ).projected_score[0]
            for row in [*(job._builder.block(b.title_ids, b.body_ids, 80) for b in blocks), *questions]
        ]
    for number, rows in enumerate(found.rows):
        scores = [float(vectors[len(blocks) + number] @ vector) for vector in vectors[: len(blocks)]]
        ranked = sorted(range(len(blocks)), key=lambda row: -scores[row])
        wanted = [row for row in ranked[:4] if digests[row] != int(origins.digests[number])]
        dropped += len(wanted) == 3
        assert rows == [NULL_ROW, *wanted[:3]]
    assert found.origins_dropped == dropped > 0
    with_origin = ready(job_of(trunk, folder, tmp_path / "b", drop_origin=False))
    assert with_origin._finder.find(questions, origins).origins_dropped == 0


def test_examples_are_a_function_of_step_and_snapshot(trunk: Path, folder: Path, tmp_path: Path) -> None:
    one, two = (ready(job_of(trunk, folder, tmp_path / name)) for name in "ab")
    for step in (5, 0, 3):
        assert examples_of(one, step) == examples_of(two, step)
    # The trained embedder may change as it will: the snapshot's own tower asks.
    with torch.no_grad():
        one.networks.embedder.cls.dense.weight.mul_(-1)
    assert examples_of(one, 1) == examples_of(two, 1)
    fresh = ready(job_of(trunk, folder, tmp_path / "c", query_tower="fresh"))
    assert examples_of(fresh, 1) == examples_of(two, 1)
    with torch.no_grad():
        fresh.networks.embedder.cls.dense.weight.mul_(-1)
        fresh.networks.embedder.cls.dense.bias.mul_(-1)
    assert examples_of(fresh, 1) != examples_of(two, 1)


def test_held_out_blocks_are_told_by_their_content_and_never_learned_from(
    trunk: Path, folder: Path, tmp_path: Path
) -> None:
    job = job_of(trunk, folder, tmp_path)
    blocks = job._sources.corpus.take(range(2 * TOWNS))
    held_out = {b.text for b in blocks if content_digest(b.title, b.text) < 0.2 * 2**64}
    assert 0 < len(held_out) < TOWNS
    digests = {content_digest(b.title, b.text) for b in blocks if b.text in held_out}
    learned = {int(digest) for step in range(12) for digest in job._sentences.draw(step, Processes()).digests}
    assert not learned & digests
    assert len(learned) == len(blocks) - len(held_out)
    assert {int(digest) for digest in job._sentences.held_out().digests} <= digests


def test_shares_of_two_processes_are_the_whole_step(trunk: Path, folder: Path, tmp_path: Path) -> None:
    job = job_of(trunk, folder, tmp_path)
    parts = [job._sentences.draw(2, Processes(rank, 2)).sentences for rank in range(2)]
    whole = job._sentences.draw(2, Processes()).sentences
    assert [parts[place % 2][place // 2] for place in range(len(whole))] == whole


def test_training_lowers_the_loss_and_leaves_folders_that_open_by_themselves(
    trunk: Path, folder: Path, tmp_path: Path
) -> None:
    recipe = town_recipe(trunk, folder, steps=30, learning_rate=3e-3, log_every_steps=10, refresh_every_steps=15,
                         evaluate_every_steps=0, questions=str(question_file(tmp_path)))  # fmt: skip
    job = PretrainJob(recipe, tmp_path)
    before = ready(job).held_out_figures()
    train(job, recipe.loop(), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] < lines[0]["loss"] - 0.5
    assert {"retrieval_utility", "null_probability", "top_1_share", "gold_log_prob", "stale_steps", "stale_seconds",
            "snapshot_step", "examples_per_second", "padding_share", "retrieval_share", "origins_dropped",
            "seconds_left"} <= lines[0].keys()  # fmt: skip
    assert [line["snapshot_step"] for line in lines] == pytest.approx([0, 7.5, 15])
    after = job.held_out_figures()
    assert next(iter(after)) == "held_out_gold_log_prob"
    assert after["held_out_gold_log_prob"] == pytest.approx(-after["held_out_loss"])
    assert after["held_out_loss"] < before["held_out_loss"]
    assert 0 <= after["recall_5"] <= 1
    model = tmp_path / "model"
    embedder, encoder = (
        AutoModel.from_pretrained(model / "embedder"),
        AutoModelForMaskedLM.from_pretrained(model / "encoder"),
    )
    assert isinstance(embedder, RealmEmbedder)
    assert isinstance(encoder, RealmKnowledgeAugEncoder)
    for opened, kept in ((embedder, job.networks.embedder), (encoder, job.networks.encoder)):
        for name, value in kept.state_dict().items():
            if not (opened is embedder and "predictions" in name):
                assert torch.equal(opened.state_dict()[name], value), name
    assert RealmTokenizer.from_pretrained(model / "encoder").mask_token_id == job._tokenizer.special_id("[MASK]")
    # A next run starts where this one ended.
    again = job_of(trunk, folder, tmp_path / "again", encoder=str(model / "encoder"), embedder=str(model / "embedder"))
    assert torch.equal(again.networks.encoder.cls.predictions.bias, job.networks.encoder.cls.predictions.bias)


def question_file(folder: Path) -> Path:
    records = [
        {"question": f"when was the old bridge of {record['text'].split()[4]} built?", "answer": [year]}
        for record in town_documents()[::2]
        if (year := record["text"].split(". ")[0].split()[-1])
    ]
    return write_lines(folder / "questions.jsonl", records)


@pytest.mark.parametrize("key", ["reset_encoder", "reset_retriever"])
def test_reset_half_of_the_result_is_as_it_was_at_the_start(
    trunk: Path, folder: Path, tmp_path: Path, key: str
) -> None:
    job = job_of(trunk, folder, tmp_path, **{key: True})
    start = {name: value.clone() for name, value in job.model.state_dict().items()}
    with torch.no_grad():
        for parameter in job.model.parameters():
            parameter += 0.1
    job.save(tmp_path / "model")
    kinds = {"embedder": RealmEmbedder, "encoder": RealmKnowledgeAugEncoder}
    for half, kind in kinds.items():
        weights = kind.from_pretrained(tmp_path / "model" / half).state_dict()
        wanted = start if half.startswith("e" if key == "reset_encoder" else "emb") and (
            (half == "encoder") == (key == "reset_encoder")) else job.model.state_dict()  # fmt: skip
        name = "realm.encoder.layer.0.output.dense.weight"
        assert torch.equal(weights[name], wanted[f"{half}.{name}"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"candidates": 1}, "candidates must be at least 2; found 1"),
        ({"candidates": 30}, "24 blocks were retrieved for 30 candidates"),
        ({"masking": "names"}, "masking must be one of salient, random_token, random_span"),
        ({"query_seq_len": 90}, "query_seq_len and candidate_seq_len are together 170 word pieces; .* takes 160"),
        ({"held_out_share": 0.9, "batch_sentences": 3, "corpus": "few.jsonl"}, "leaves none of"),
        ({"first_trained_layer": 9}, "first_trained_layer is 9"),
        ({"tagger": "nltk"}, "tagger is 'nltk'; expected \"rules\""),
        ({"embedder": "nowhere"}, "No trained model in nowhere"),
        ({"encoder": "nowhere"}, "No trunk in nowhere"),
        ({"corpus": "nowhere.jsonl"}, "nowhere.jsonl"),
        ({"corpus": "no_names.jsonl"}, "None of 3 blocks has a name or a date to mask"),
        ({"questions": "unanswered.jsonl"}, "no question has an answer to look for"),
    ],
)
def test_impossible_recipes_are_refused_in_one_line(
    trunk: Path, folder: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    write_lines(tmp_path / "no_names.jsonl", [{"title": "", "text": f"it is {word} here."} for word in ("a", "b", "c")])
    write_lines(tmp_path / "unanswered.jsonl", [{"question": "who?"}])
    write_lines(tmp_path / "few.jsonl", [r for r in town_documents() if is_held_out(r)][:2])
    with pytest.raises(RealmError, match=said) as caught:
        examples_of(ready(job_of(trunk, folder, tmp_path / "run", data=str(tmp_path), **changes)), 0)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, RecipeError | SourceError | ValueError)


def is_held_out(record: dict[str, Any]) -> bool:
    return content_digest(record["title"], record["text"]) < 0.9 * 2**64


def test_no_block_held_out_is_said_when_it_is_measured(trunk: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"held_out_share is 0.0, so none of 24 blocks is held out"):
        ready(job_of(trunk, folder, tmp_path, held_out_share=0.0, evaluate_every_steps=0)).held_out_figures()


def test_corpus_that_holds_every_block_twice_is_refused_before_the_run_ends(trunk: Path, tmp_path: Path) -> None:
    records = town_documents()
    write_lines(tmp_path / "towns-corpus.jsonl", [*records, *({**r, "id": f"{r['id']} copy"} for r in records)])
    recipe = town_recipe(trunk, tmp_path, evaluate_every_steps=0)
    run = tmp_path / "run"
    with pytest.raises(
        RecipeError, match=r"^None of 36 sentences .*: skipped_duplicate_candidates 36\. Mend the corpus"
    ):
        train(PretrainJob(recipe, run), recipe.loop(), run)
    assert not (run / "finished.json").exists()


@pytest.mark.parametrize("tower", ["fresh", "snapshot"])
def test_broken_retriever_is_named_whichever_tower_asks(trunk: Path, folder: Path, tmp_path: Path, tower: str) -> None:
    class Broken(PretrainJob):
        def begin_step(self, step: int) -> None:
            super().begin_step(step)
            if step == 1:
                torch.nn.init.constant_(self.networks.embedder.cls.dense.weight, math.nan)

    recipe = town_recipe(trunk, folder, evaluate_every_steps=0, query_tower=tower, refresh_every_steps=100)
    with pytest.raises(TrainingError, match=r"^Step 2, micro-batch 1 of .* is not finite"):
        train(Broken(recipe, tmp_path / "run"), recipe.loop(), tmp_path / "run")


def test_trainer_of_a_frozen_retriever_gives_a_sign_of_life_at_every_step(
    trunk: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats: list[str] = []
    monkeypatch.setattr(TrainerBeat, "beat", lambda _, doing: beats.append(doing))
    for refresh, steps in (("other_process", [1, 2, 3]), ("in_step", [])):
        run = tmp_path / refresh
        job = ready(job_of(trunk, folder, run, freeze_retriever=True))
        job = job_of(trunk, folder, run, freeze_retriever=True, refresh=refresh)
        job.restore({"snapshot": snapshot_folders(run)[0].name})
        for step in (1, 2, 3):
            job.begin_step(step)
        assert beats == [f"step {step}" for step in steps]
        beats.clear()


def test_random_masks_need_no_names(trunk: Path, tmp_path: Path) -> None:
    texts = ("a river near a bridge.", "it was a mill by a church.", "people stands on it.", "which river has a tower?")
    write_lines(tmp_path / "plain.jsonl", [{"title": "", "text": text} for text in texts])
    for masking in ("random_token", "random_span"):
        job = job_of(trunk, tmp_path, tmp_path / masking, corpus=str(tmp_path / "plain.jsonl"), masking=masking,
                     candidates=3, held_out_share=0.0, evaluate_every_steps=0)  # fmt: skip
        figures, _ = gradients_of_step(ready(job), 0)
        assert figures["examples"] == 6
        assert {sentence.kind for sentence, _ in examples_of(job, 0)} == {masking}


def test_command_line_trains_and_assembles_and_tells_mistakes_in_one_line(
    trunk: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def realm(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["realm", "train", *map(str, arguments)])
        return main()

    recipe = tmp_path / "recipe.toml"
    recipe.write_text(as_toml(town_recipe(trunk, folder, steps=2)), encoding="utf-8")
    assert realm("pretrain", recipe, "--out", tmp_path / "run") == 0
    assert realm("assemble", tmp_path / "run", "--out", tmp_path / "model") == 0
    assert (tmp_path / "model" / "model.safetensors").is_file()
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "dev_held_out_retrieval_utility" in line] == [0, 2]
    capsys.readouterr()
    for setting, said in (
        ("candidates=1", "candidates must be at least 2"),
        ("candidats=3", "did you mean 'candidates'?"),
        ("corpus=nowhere.jsonl", "nowhere.jsonl: there is no such file"),
        ("refresh=never", "refresh must be one of in_step, in_turns, other_process"),
    ):
        assert realm("pretrain", recipe, "--out", tmp_path / "other", "--set", setting) == 2
        shown = capsys.readouterr().err
        assert said in shown
        assert shown.count("\n") == 1
    assert realm("assemble", tmp_path / "other", "--out", tmp_path / "model") == 2


def test_snapshot_of_another_corpus_is_refused(trunk: Path, folder: Path, tmp_path: Path) -> None:
    job = ready(job_of(trunk, folder, tmp_path / "run"))
    write_lines(tmp_path / "other.jsonl", town_documents(seed=9))
    other = job_of(trunk, tmp_path, tmp_path / "run", corpus=str(tmp_path / "other.jsonl"))
    assert job.parents()["corpus"] != other.parents()["corpus"]
    with pytest.raises(RealmError, match="is a snapshot of another corpus"):
        other.restore(job.state())


def test_loss_of_parts_counts_what_the_whole_batch_has(trunk: Path, folder: Path, tmp_path: Path) -> None:
    job = ready(job_of(trunk, folder, tmp_path))
    parts = job.micro_batches(0)
    assert len(parts) > 1
    first = parts[0]
    alone = Part(first.inputs, float((first.inputs.targets >= 0).sum()), float(len(first.inputs.targets)))
    with torch.no_grad():
        loss, _ = job.loss(alone)
        scaled, _ = job.loss(first)
    assert float(scaled) == pytest.approx(float(loss) * alone.tokens / first.tokens, rel=1e-5)


def test_sources_opened_before_can_be_handed_in(trunk: Path, folder: Path, tmp_path: Path) -> None:
    recipe = town_recipe(trunk, folder)
    sources = town_sources(trunk, recipe)
    one = PretrainJob(dataclasses.replace(recipe, corpus="nowhere"), tmp_path, sources)
    assert one.parents() == PretrainJob(recipe, tmp_path).parents()


def test_job_tells_how_its_sources_and_vectors_come_about(trunk: Path, tmp_path: Path) -> None:
    opened: list[tuple[str, int]] = []
    embedded: list[int] = []
    report = JobReport(lambda *told: opened.append(told), lambda progress: embedded.append(progress.done))
    write_towns(tmp_path)
    recipe = town_recipe(trunk, tmp_path, masking="random_span")
    job = PretrainJob(recipe, tmp_path / "run", report=report)
    blocks = len(job._sources.corpus)
    assert opened[0][0] == "reading blocks"
    assert dict(opened) == {"reading blocks": blocks, "looking for names": blocks}
    job.begin_step(0)
    assert embedded[-1] == blocks
