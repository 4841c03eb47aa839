"""The training loop's arithmetic: schedule, weight decay, clipping, micro-batches and logged figures."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from toy_job import ROWS, SETTINGS, ToyJob, ToyModel

from realm.errors import RecipeError
from realm.models.configuration import RealmConfig
from realm.models.reader import RealmReader
from realm.training.loop import train
from realm.training.recipe import LoopSettings
from realm.training.schedule import bert_adamw, learning_rate_at

pytest.importorskip("accelerate", reason="training needs the extra `train`")


@pytest.mark.parametrize(
    ("steps", "warmup", "expected"),
    [
        (8, 4, [0.25, 0.5, 0.75, 1.0, 1.0, 0.75, 0.5, 0.25]),
        (4, 0, [1.0, 0.75, 0.5, 0.25]),
        (3, 1, [1.0, 1.0, 0.5]),
        (2, 1, [1.0, 1.0]),
        (4, 3, [1 / 3, 2 / 3, 1.0, 1.0]),
        (1, 0, [1.0]),
    ],
)
def test_learning_rate_rises_and_falls_linearly(steps: int, warmup: int, expected: list[float]) -> None:
    settings = LoopSettings(steps=steps, learning_rate=3e-4, warmup_steps=warmup)
    assert [learning_rate_at(settings, step) for step in range(steps)] == pytest.approx([3e-4 * e for e in expected])


def test_weight_decay_spares_biases_and_layer_norms() -> None:
    config = RealmConfig(
        vocab_size=20,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        span_hidden_size=4,
    )
    parameters = dict(RealmReader(config).named_parameters())
    before = {name: p.detach().clone().fill_(2.0) for name, p in parameters.items()}
    for name, p in parameters.items():
        p.data.copy_(before[name])
        p.grad = torch.zeros_like(p)
    bert_adamw(parameters, LoopSettings(steps=1, learning_rate=0.1, warmup_steps=0, weight_decay=0.25)).step()
    # Without a gradient AdamW only shrinks: by learning rate times decay.
    shrunk = {name for name, p in parameters.items() if torch.allclose(p, before[name] * (1 - 0.1 * 0.25))}
    same = {name for name, p in parameters.items() if torch.equal(p, before[name])}
    matrices = {name for name, p in parameters.items() if p.dim() > 1}
    assert shrunk == matrices
    assert same == parameters.keys() - matrices
    assert {"qa_outputs.layer_normalization.weight", "realm.embeddings.LayerNorm.weight"} <= same


def adamw_by_hand(job: ToyJob, settings: LoopSettings) -> tuple[dict[str, Tensor], list[float]]:
    """Kingma and Ba's algorithm 1 with decoupled decay, in float64, on one batch a step; and the gradient norms.

    BERT's AdamW is the same without the two divisions that correct the bias of the moments.
    """
    model = job.model.double()
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    first, second = ({name: torch.zeros_like(model.get_parameter(name)) for name in names} for _ in range(2))
    norms = []
    for step in range(settings.steps):
        inputs = torch.cat([part[0] for part in job.micro_batches(step)]).double()
        model.zero_grad()
        ((model(inputs) - inputs.sum(-1)) ** 2).mean().backward()
        gradients = {name: model.get_parameter(name).grad for name in names}
        norms.append(math.sqrt(sum(float((g**2).sum()) for g in gradients.values())))
        rate = learning_rate_at(settings, step)
        for name, gradient in gradients.items():
            gradient = gradient * min(1.0, settings.clip_norm / norms[-1])
            first[name] = 0.9 * first[name] + 0.1 * gradient
            second[name] = 0.999 * second[name] + 0.001 * gradient**2
            mean, square = first[name], second[name]
            if settings.bias_correction:
                mean, square = mean / (1 - 0.9 ** (step + 1)), square / (1 - 0.999 ** (step + 1))
            decay = settings.weight_decay if name in ("dense.weight", "out.weight") else 0.0
            p = model.get_parameter(name)
            p.data -= rate * decay * p.data + rate * mean / (square.sqrt() + 1e-6)
    return {name: model.get_parameter(name).detach() for name in names}, norms


@pytest.mark.parametrize("bias_correction", [False, True])
@pytest.mark.parametrize("clip_norm", [0.5, 100.0])
@pytest.mark.parametrize("parts", [1, 2, 8])
def test_training_is_adamw_with_clipping_however_the_batch_is_split(
    tmp_path: Path, parts: int, clip_norm: float, bias_correction: bool
) -> None:
    settings = dataclasses.replace(
        SETTINGS, clip_norm=clip_norm, weight_decay=0.1, log_every_steps=1, bias_correction=bias_correction
    )
    torch.manual_seed(3)
    start = ToyModel(dropout=0.0).state_dict()
    jobs = []
    for _ in range(2):
        model = ToyModel(dropout=0.0)
        model.load_state_dict(start)
        jobs.append(ToyJob(parts, model=model))
    expected, norms = adamw_by_hand(jobs[0], settings)
    train(jobs[1], settings, tmp_path)
    assert max(norms) > 0.5  # so that the smaller limit clips
    for name, value in expected.items():
        torch.testing.assert_close(jobs[1].model.get_parameter(name).double(), value, atol=2e-5, rtol=0)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["gradient_norm"] for line in lines] == pytest.approx(norms, rel=1e-3)


class CountingJob(ToyJob):
    """Figures that tell step and part: part p of step s reports 10 s + p."""

    def micro_batches(self, step: int) -> list[tuple[int, int]]:  # type: ignore[override]
        return [(step, part) for part in range(step + 1)]

    def loss(self, micro_batch: tuple[int, int]) -> tuple[Tensor, Mapping[str, float]]:  # type: ignore[override]
        step, part = micro_batch
        value = 10.0 * step + part
        return self.model(torch.zeros(1, 4)).sum() * 0 + value, {"figure": value}


def test_figures_are_summed_over_parts_and_averaged_over_steps(tmp_path: Path) -> None:
    settings = LoopSettings(steps=5, learning_rate=0.1, warmup_steps=0, log_every_steps=2)
    reports: list[tuple[int, Mapping[str, float]]] = []
    train(CountingJob(), settings, tmp_path, lambda step, figures: reports.append((step, dict(figures))))
    of_step = [sum(10.0 * step + part for part in range(step + 1)) for step in range(5)]
    expected = [(2, (of_step[0] + of_step[1]) / 2), (4, (of_step[2] + of_step[3]) / 2), (5, of_step[4])]
    assert [(step, figures["figure"]) for step, figures in reports] == expected
    assert [(step, figures["loss"]) for step, figures in reports] == expected
    logged = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert logged == [{"step": step, **figures} for step, figures in reports]
    assert all(figures["seconds_per_step"] > 0 for _, figures in reports)


def test_every_row_is_logged_once(tmp_path: Path) -> None:
    reports: list[float] = []
    train(ToyJob(parts=4), SETTINGS, tmp_path, lambda _, figures: reports.append(figures["rows"]))
    assert reports == [ROWS] * 4


def test_model_learns_in_training_mode_and_is_saved_in_evaluation_mode(tmp_path: Path) -> None:
    modes: list[bool] = []

    class Watching(ToyJob):
        def save(self, folder: Path) -> None:
            modes.append(self.model.training)
            super().save(folder)

    job = Watching(before_step=lambda _: modes.append(job.model.training))
    job.model.eval()
    train(job, dataclasses.replace(SETTINGS, steps=2, warmup_steps=1), tmp_path)
    assert modes == [True, True, False]


def test_frozen_parameters_stay_as_they_are(tmp_path: Path) -> None:
    job = ToyJob()
    frozen = job.model.get_submodule("frozen")
    before = [p.clone() for p in frozen.parameters()]
    train(job, SETTINGS, tmp_path)
    assert all(torch.equal(p, b) for p, b in zip(frozen.parameters(), before, strict=True))
    assert isinstance(frozen, nn.Linear)


class TwicePassedJob(ToyJob):
    """Runs every part a first time without autograd, as jobs with cached gradients do; notes the format of numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.formats: set[torch.dtype] = set()
        self.model.get_submodule("dense").register_forward_hook(lambda *hook: self.formats.add(hook[2].dtype))

    def gradients(self, step: int, backward: Callable[[Tensor], None]) -> dict[str, float]:
        for part in self.micro_batches(step):
            with torch.no_grad():
                self.loss(part)
        return super().gradients(step, backward)


@pytest.mark.parametrize("number_format", [torch.float32, torch.bfloat16])
def test_numbers_are_computed_in_the_devices_format_and_kept_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number_format: torch.dtype
) -> None:
    monkeypatch.setattr("realm.models.precision.fastest_dtype", lambda device: number_format)
    job = TwicePassedJob()
    before = {name: p.detach().clone() for name, p in job.model.named_parameters() if p.requires_grad}
    train(job, SETTINGS, tmp_path)
    assert job.formats == {number_format}
    for name, value in before.items():
        assert job.model.get_parameter(name).dtype == torch.float32
        assert not torch.equal(job.model.get_parameter(name), value), name


class Stopped(BaseException):
    pass


def stopped_at(step: int, run: Path) -> None:
    def stop(now: int) -> None:
        if now == step:
            raise Stopped

    with pytest.raises(Stopped):
        train(ToyJob(before_step=stop), SETTINGS, run)


def test_run_whose_loss_is_no_number_goes_on_with_a_lower_learning_rate(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stopped_at(6, tmp_path)
    mended = dataclasses.replace(SETTINGS, learning_rate=0.01, clip_norm=0.25, log_every_steps=1)
    train(ToyJob(), mended, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    rates = {line["step"]: line["learning_rate"] for line in lines if "learning_rate" in line and line["step"] > 4}
    assert rates == pytest.approx({step + 1: learning_rate_at(mended, step) for step in range(4, 11)})
    assert {"step": 4, "new_learning_rate": 0.01} in lines
    assert {"step": 4, "new_clip_norm": 0.25} in lines
    assert [record.message for record in caplog.records] == [
        "From step 5 on learning_rate is 0.01; it was 0.05.",
        "From step 5 on clip_norm is 0.25; it was 0.5.",
    ]


def test_run_that_goes_on_as_it_began_says_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stopped_at(6, tmp_path)
    train(ToyJob(), SETTINGS, tmp_path)
    assert not caplog.records
    assert "new_" not in (tmp_path / "log.jsonl").read_text()


def test_model_without_anything_to_train_is_refused(tmp_path: Path) -> None:
    job = ToyJob()
    job.model.requires_grad_(False)
    with pytest.raises(RecipeError, match="There is nothing to train"):
        train(job, SETTINGS, tmp_path)


def test_layers_are_not_computed_twice_where_no_network_can(tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, gradient_checkpointing=True)
    with pytest.raises(RecipeError, match="gradient_checkpointing: no network of this job can do it"):
        train(ToyJob(), settings, tmp_path)


def test_job_is_told_of_every_step_before_its_data_is_asked_for(tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []

    class Told(ToyJob):
        def begin_step(self, step: int) -> None:
            seen.append(("begin", step))

    train(Told(before_step=lambda step: seen.append(("data", step))), SETTINGS, tmp_path)
    assert seen == [(what, step) for step in range(SETTINGS.steps) for what in ("begin", "data")]
