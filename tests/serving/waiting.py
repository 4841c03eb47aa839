"""Waiting for what another thread does, with an end; and limits under which nothing takes long."""

from __future__ import annotations

import time
from collections.abc import Callable

from realm.serving.limits import Limits
from realm.serving.service import Service

QUICK = Limits(poll_seconds=0.05, retry_seconds=0.2)


def eventually(is_so: Callable[[], bool], seconds: float = 20.0) -> None:
    """Return when it is so; fail if it does not become so."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def figure(service: Service, name: str) -> float:
    """A value in the metrics, by name and labels as Prometheus writes them."""
    lines = service.metrics.text().decode().splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[-1])
