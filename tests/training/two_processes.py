"""What each of several processes under torchrun does in `test_distributed`; writes what it saw to FOLDER.

torchrun --nproc-per-node 2 two_processes.py FOLDER
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from toy_job import HUNTED, SETTINGS, ToyJob, ToyModel

from realm.errors import UsageError
from realm.training.distributed import Processes, leave
from realm.training.loop import train


def small_model() -> ToyModel:
    torch.manual_seed(4)
    return ToyModel(dropout=0.0)


class BrokenJob(ToyJob):
    """At step 5, the second process's only micro-batch has a loss that is no number."""

    def micro_batches(self, step: int) -> Sequence[Any]:
        parts = super().micro_batches(step)
        if step == 5 and Processes.current().rank == 1:
            return [(inputs * float("nan"), targets) for inputs, targets in parts]
        return parts


def collectives(processes: Processes) -> dict[str, Any]:
    """Sums and gatherings of values that tell the process."""
    rank = processes.rank
    parameters = [nn.Parameter(torch.zeros(3)) for _ in range(3)]
    parameters[0].grad = torch.full((3,), 1.0 + rank)
    if rank == 1:
        parameters[1].grad = torch.tensor([5.0, 6.0, 7.0])
    processes.sum_gradients(parameters)
    figures: Mapping[str, float] = {"both": 1.5 * (rank + 1), f"only_{rank}": 7.0}
    model = nn.Linear(1, 1)
    nn.init.constant_(model.weight, rank + 3.0)
    processes.spread(model)
    rows = torch.arange(6).view(3, 2)[: 1 + 2 * rank] + 100 * rank
    return {
        "share": list(processes.share(range(5))),
        "gradients": [None if p.grad is None else p.grad.tolist() for p in parameters],
        "figures": processes.sum_figures(figures),
        "rows": processes.gather_rows(rows).tolist(),
        "no_rows": processes.gather_rows(rows[: 2 * rank]).tolist(),
        "texts": processes.gather_texts("é" * rank),
        "weight": float(model.weight),
    }


def complaint(job: ToyJob, run: Path) -> str:
    try:
        train(job, SETTINGS, run)
    except UsageError as exc:
        return str(exc)
    return ""


def main(folder: Path) -> None:
    processes = Processes.current()
    seen = collectives(processes)
    reports: list[Mapping[str, float]] = []
    train(ToyJob(4, model=small_model()), SETTINGS, folder / "two", lambda _, figures: reports.append(figures))
    job = ToyJob(3, model=small_model())  # one process has two parts, the other one
    train(job, HUNTED, folder / "measured", evaluate=job.measure)
    seen["reports"] = len(reports)
    seen["weights"] = [p.tolist() for p in job.model.parameters()]
    seen["complaint"] = complaint(BrokenJob(parts=2), folder / "broken")
    own = folder / f"node-{processes.rank}"
    train(ToyJob(2, model=small_model()), SETTINGS, own)
    seen["unshared"] = complaint(ToyJob(2, model=small_model()), own)
    (folder / f"seen-{processes.rank}.json").write_text(json.dumps(seen))
    processes.barrier()
    leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
