"""Training speed: our loop against a bare PyTorch loop of the same model and batches, on the same machine.

    python benchmarks/training_throughput.py [--size tiny|mini|base] [--rows 64] [--max-pieces 4096] [--rounds 5]

A BERT of the size learns to fill 15 % of the pieces of synthetic rows, whose lengths spread as those of question and
block do (log-normal, at most 384; seeded). Ours is `realm.training.loop.train` with its log, TensorBoard, checks for
numbers that are no numbers, and batches made at the moment of use. The bare loop is AdamW, clipping and a linear
schedule on batches that lie ready in memory. Both use bfloat16 where the device has it. They take turns, `--rounds`
times; the medians of their tokens a second are compared (padding does not count as tokens). Writing a checkpoint
is not in it: it is printed beside. So is the share of padding, for steps of `--padding-rows` rows: the more rows a step
has, the better they group. On CUDA also: the share of the device's peak in bfloat16 (`--peak-tflops`).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from realm.features.inputs import batches_of_like_length
from realm.models.configuration import RealmConfig
from realm.models.precision import fastest_dtype
from realm.models.trunk import RealmBertModel
from realm.training.checkpoint import save_checkpoint
from realm.training.job import Figures, Job
from realm.training.loop import train
from realm.training.recipe import LoopSettings
from realm.training.schedule import bert_adamw, learning_rate_at

VOCABULARY = 30_522
LONGEST = 384
MASKED_SHARE = 0.15
SIZES = {"tiny": (2, 128, 2), "mini": (6, 384, 12), "base": (12, 768, 12)}
PEAK_TFLOPS = {"H100": 989.0, "H200": 989.0, "A100": 312.0, "L4": 121.0, "RTX 4090": 165.0}
"""Dense bfloat16, from the makers' data sheets."""
WARMUP_STEPS = 2


class Part(NamedTuple):
    ids: Tensor
    mask: Tensor
    places: Tensor
    targets: Tensor

    def to(self, device: torch.device) -> Part:
        return Part(*(tensor.to(device) for tensor in self))


class Filler(nn.Module):
    """A trunk and a layer that scores every word piece at the masked places."""

    def __init__(self, size: str) -> None:
        super().__init__()
        layers, hidden, heads = SIZES[size]
        self.config = RealmConfig(
            vocab_size=VOCABULARY, num_hidden_layers=layers, hidden_size=hidden, num_attention_heads=heads,
            intermediate_size=4 * hidden, hidden_act="gelu", attention_probs_dropout_prob=0.0,
        )  # fmt: skip
        self.trunk = RealmBertModel(self.config, add_pooling_layer=False)
        self.out = nn.Linear(hidden, VOCABULARY)

    def forward(self, part: Part) -> Tensor:
        states = self.trunk(input_ids=part.ids, attention_mask=part.mask, return_dict=True).last_hidden_state
        scores = self.out(states.flatten(0, 1)[part.places])
        return nn.functional.cross_entropy(scores.float(), part.targets, reduction="sum")


class FillerJob(Job):
    """Fills pieces in rows of random ids."""

    def __init__(self, size: str, rows: int, max_pieces: int) -> None:
        torch.manual_seed(0)
        self.model: nn.Module = Filler(size)
        self._rows, self._max_pieces = rows, max_pieces

    def rows_of(self, step: int) -> list[list[int]]:
        generator = torch.Generator().manual_seed(step)
        lengths = torch.empty(self._rows).log_normal_(5.0, 0.5, generator=generator).long().clamp(8, LONGEST)
        return [torch.randint(5, VOCABULARY, (int(n),), generator=generator).tolist() for n in lengths]

    def micro_batches(self, step: int) -> Sequence[Part]:
        rows = self.rows_of(step)
        groups = batches_of_like_length([len(row) for row in rows], self._max_pieces)
        return [pad([rows[number] for number in group], step) for group in groups]

    def loss(self, micro_batch: Part) -> tuple[Tensor, Figures]:
        part = micro_batch.to(next(self.model.parameters()).device)
        scale = 1 / (self._rows * LONGEST * MASKED_SHARE)
        return self.model(part) * scale, {}

    def save(self, folder: Path) -> None:
        folder.mkdir()


def pad(rows: Sequence[list[int]], seed: int) -> Part:
    width = max(map(len, rows))
    ids, mask = torch.zeros(len(rows), width, dtype=torch.long), torch.zeros(len(rows), width, dtype=torch.long)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
        mask[number, : len(row)] = 1
    chosen = (torch.rand(ids.shape, generator=torch.Generator().manual_seed(seed)) < MASKED_SHARE) & (mask == 1)
    places = chosen.flatten().nonzero().squeeze(1)
    return Part(ids, mask, places, ids.flatten()[places])


def settings_for(steps: int) -> LoopSettings:
    return LoopSettings(
        steps=steps + WARMUP_STEPS, learning_rate=1e-4, warmup_steps=1, bias_correction=True, log_every_steps=1,
        save_every_steps=10**9, tensorboard=True,
    )  # fmt: skip


def ours(job: FillerJob, steps: int) -> float:
    """Seconds of the steps after the first ones, logging included."""
    times: list[float] = []
    with tempfile.TemporaryDirectory() as run:
        train(job, settings_for(steps), Path(run), lambda *_: times.append(time.perf_counter()))
    return times[-1] - times[WARMUP_STEPS - 1]


def bare(job: FillerJob, ready: Sequence[Sequence[Part]], steps: int, device: torch.device) -> float:
    """Seconds of the same steps without anything that is not needed to take them."""
    model = job.model.to(device).train()
    settings = settings_for(steps)
    optimizer = bert_adamw(dict(model.named_parameters()), settings)
    began = 0.0
    for step in range(settings.steps):
        if step == WARMUP_STEPS:
            synchronise(device)
            began = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(settings, step)
        optimizer.zero_grad(set_to_none=True)
        for part in ready[step]:
            with torch.autocast(device.type, torch.bfloat16, enabled=fastest_dtype(device) == torch.bfloat16):
                loss, _ = job.loss(part)
            loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    synchronise(device)
    return time.perf_counter() - began


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def padding_shares(rows: int, max_pieces: int, steps: int = 10) -> tuple[float, float]:
    """Share of padding with our grouping, and with eight rows at a time as they come."""
    job = FillerJob("tiny", rows, max_pieces)
    lengths = [[len(row) for row in job.rows_of(step)] for step in range(steps)]
    full = sum(map(sum, lengths))
    grouped = sum(part.ids.numel() for step in range(steps) for part in job.micro_batches(step))
    chunks = [of_step[first : first + 8] for of_step in lengths for first in range(0, len(of_step), 8)]
    plain = sum(max(chunk) * len(chunk) for chunk in chunks)
    return 1 - full / grouped, 1 - full / plain


def flops_of(job: FillerJob, parts: Sequence[Part]) -> float:
    """Forward and backward, without padding: 6 per weight and token, and attention's products of states."""
    model = job.model
    assert isinstance(model, Filler)
    weights = sum(p.numel() for name, p in model.trunk.named_parameters() if p.dim() == 2 and "embeddings" not in name)
    config, total = model.config, 0.0
    for part in parts:
        lengths = part.mask.sum(1).double()
        attention = 12 * config.num_hidden_layers * config.hidden_size * float((lengths**2).sum())
        total += 6 * weights * float(lengths.sum()) + attention
        total += 6 * model.out.weight.numel() * len(part.places)
    return total


def seconds_of_checkpoint(job: FillerJob) -> float:
    parameters = dict(job.model.named_parameters())
    optimizer = bert_adamw(parameters, settings_for(1))
    for p in parameters.values():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    with tempfile.TemporaryDirectory() as run:
        began = time.perf_counter()
        save_checkpoint(Path(run), 1, parameters, optimizer, {})
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--max-pieces", type=int, default=4096, help="of a micro-batch, padding included")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--padding-rows", type=int, default=256, help="of a step, where the share of padding is told")
    parser.add_argument("--peak-tflops", type=float, help="of the device, dense bfloat16")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    job = FillerJob(options.size, options.rows, options.max_pieces)
    ready = [job.micro_batches(step) for step in range(options.steps + WARMUP_STEPS)]
    timed = [part for parts in ready[WARMUP_STEPS:] for part in parts]
    tokens = sum(int(part.mask.sum()) for part in timed)
    bare(job, ready, options.steps, device)  # what is slow the first time counts for nobody
    rivals, own = [], []
    for number in range(options.rounds):
        rivals.append(tokens / bare(job, ready, options.steps, device))
        own.append(tokens / ours(job, options.steps))
        print(f"round {number + 1}: bare {rivals[-1]:,.0f}, ours {own[-1]:,.0f} tokens/s", flush=True)
    grouped, plain = padding_shares(options.padding_rows, options.max_pieces)
    found = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads",
        "size": options.size,
        "rows_per_step": options.rows,
        "micro_batches_per_step": len(timed) / options.steps,
        "bare_tokens_per_second": statistics.median(rivals),
        "our_tokens_per_second": statistics.median(own),
        "ratio": statistics.median(own) / statistics.median(rivals),
        "padding_rows": options.padding_rows,
        "padding_share": grouped,
        "padding_share_as_they_come": plain,
        "checkpoint_seconds": seconds_of_checkpoint(job),
    }
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        peak = options.peak_tflops or next((value for key, value in PEAK_TFLOPS.items() if key in name), None)
        achieved = flops_of(job, timed) / (tokens / statistics.median(own)) / 1e12
        found |= {"achieved_tflops": achieved, "peak_share": None if peak is None else achieved / peak}
        found["peak_memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
