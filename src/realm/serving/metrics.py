"""What a server measures of itself, for Prometheus. One registry a service; nothing global.

`realm_stage_seconds` counts a batch once for embed, search and read, which questions of a batch share, and a request
once for queue and total.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

CONTENT_TYPE = CONTENT_TYPE_LATEST

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters, gauges and histograms of one service."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._stages = self._histogram("stage_seconds", "Seconds of each stage of answering.", _SECONDS, ("stage",))
        self._batch = self._histogram("batch_questions", "Questions answered together.", _SIZES)
        self._depth = self._gauge("queue_questions", "Questions that wait.")
        self._version = self._gauge("knowledge_base_version", "Version of the knowledge base that answers.")
        self._documents = self._gauge("knowledge_base_documents", "Documents in that version.")
        self._is_ready = self._gauge("ready", "1 after the first real answer.")
        self._swaps = Counter(
            "realm_swaps", "Newer versions of the knowledge base moved to.", ("result",), registry=self._registry
        )
        self._errors = Counter("realm_errors", "Requests refused or failed.", ("code",), registry=self._registry)
        self._responses = Counter("realm_responses", "Responses by status.", ("status",), registry=self._registry)
        self._writes = Counter("realm_documents_written", "Documents changed.", ("change",), registry=self._registry)
        for result in ("done", "failed"):
            self._swaps.labels(result)
        for stage in ("queue", "embed", "search", "read", "total"):
            self._stages.labels(stage)

    def watch_queue(self, waiting: Callable[[], int]) -> None:
        """Ask `waiting` for the depth of the queue whenever somebody looks."""
        self._depth.set_function(waiting)

    def batch(self, questions: int, waited_seconds: Sequence[float]) -> None:
        """A batch begins."""
        self._batch.observe(questions)
        for seconds in waited_seconds:
            self._stages.labels("queue").observe(seconds)

    def stages(self, seconds: Mapping[str, float]) -> None:
        """A batch was answered; seconds of all of it, by stage."""
        for stage, took in seconds.items():
            self._stages.labels(stage).observe(took)

    def answered(self, seconds: float) -> None:
        """A request was answered, so long after it came."""
        self._stages.labels("total").observe(seconds)

    def version(self, version: int, documents: int) -> None:
        """Answers come from this version now."""
        self._version.set(version)
        self._documents.set(documents)

    def ready(self) -> None:
        """There was a first real answer."""
        self._is_ready.set(1)

    def swap(self, *, failed: bool) -> None:
        """A newer version was moved to, or could not be opened."""
        self._swaps.labels("failed" if failed else "done").inc()

    def written(self, change: str, documents: int) -> None:
        """So many documents were put or removed."""
        self._writes.labels(change).inc(documents)

    def response(self, status: int) -> None:
        """A response was begun."""
        self._responses.labels(str(status)).inc()

    def error(self, code: str) -> None:
        """A request was refused or failed."""
        self._errors.labels(code).inc()

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)

    def _gauge(self, name: str, meaning: str) -> Gauge:
        return Gauge(f"realm_{name}", meaning, registry=self._registry)

    def _histogram(self, name: str, meaning: str, buckets: Sequence[float], labels: Sequence[str] = ()) -> Histogram:
        return Histogram(f"realm_{name}", meaning, labels, buckets=buckets, registry=self._registry)
