"""How many questions a second a server answers, and how long each takes. Loopback only, bounded.

    python benchmarks/serving.py --kb KB QUESTIONS.jsonl [--requests 320] [--clients 16] [--load 0.5]

The server runs in a process of its own, as `realm serve` starts it; nothing is cached, every request asks one question.
Three ways of asking, one JSON object with requests per second, median and 99th percentile of the latency of each:

    one    a client that asks again when it has its answer
    many   16 such clients. They always wait for all that were asked before, so their latency is at least
           16 / throughput: p99 <= 4 x the latency of one would take 4 x the throughput of one.
    open   questions come at random (Poisson) whether or not others have been answered, at a share of the throughput of
           `many`. Latency is counted from when a question was due, so waiting for a free client would count too.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

_WARM_UP = 16
_SEED = 20200210
_MOST_AT_ONCE = 200


@contextmanager
def server(kb: Path, log: Path, *options: str) -> Iterator[tuple[str, int]]:
    """`realm serve` on a free port: its address and process id. It must end in order."""
    line = [sys.executable, "-m", "realm", "serve", "--kb", str(kb), "--port", "0", *options]
    with log.open("w") as errors, subprocess.Popen(line, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        if not url:
            raise SystemExit(f"the server did not start; see {log}")
        try:
            yield url.removeprefix("http://"), process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            if process.wait(120):
                raise SystemExit(f"the server ended with {process.returncode}; see {log}")


def ask_all(address: str, questions: Sequence[str], clients: int, top: int) -> tuple[float, list[float]]:
    """Ask every question once, `clients` at a time.

    Returns:
        Seconds for all, and for each.
    """
    left, lock = iter(questions), threading.Lock()
    seconds: list[float] = []
    failures: list[str] = []

    def client() -> None:
        connection = http.client.HTTPConnection(address, timeout=120)
        while True:
            with lock:
                question = next(left, None)
            if question is None:
                break
            begin = time.perf_counter()
            failures.extend(ask_one(connection, question, top))
            seconds.append(time.perf_counter() - begin)
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(clients)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = time.perf_counter() - begin
    require_all(questions, seconds, failures)
    return total, seconds


def ask_at_random(address: str, questions: Sequence[str], per_second: float, top: int) -> tuple[float, list[float]]:
    """Ask every question once, at moments that know nothing of the answers; returns what `ask_all` does."""
    moments = random.Random(_SEED)
    own = threading.local()
    seconds: list[float] = []
    failures: list[str] = []

    def ask(question: str, due: float) -> None:
        if not hasattr(own, "connection"):
            own.connection = http.client.HTTPConnection(address, timeout=120)
        failures.extend(ask_one(own.connection, question, top))
        seconds.append(time.perf_counter() - due)

    begin = due = time.perf_counter()
    with ThreadPoolExecutor(_MOST_AT_ONCE) as clients:
        for question in questions:
            due += moments.expovariate(per_second)
            time.sleep(max(0.0, due - time.perf_counter()))
            clients.submit(ask, question, due)
    total = time.perf_counter() - begin
    require_all(questions, seconds, failures)
    return total, seconds


def ask_one(connection: http.client.HTTPConnection, question: str, top: int) -> list[str]:
    """Ask a question; what went wrong, if something did."""
    body = json.dumps({"question": question, "top": top})
    connection.request("POST", "/v1/ask", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    text = response.read()
    return [] if response.status == 200 else [text.decode()]


def require_all(questions: Sequence[str], seconds: Sequence[float], failures: Sequence[str]) -> None:
    """End if a question was not answered."""
    if failures or len(seconds) != len(questions):
        raise SystemExit(f"{len(questions) - len(seconds)} lost, {len(failures)} failed, such as: {failures[:1]}")


def figures(total: float, seconds: Sequence[float]) -> dict[str, float]:
    """Rate and latencies in milliseconds."""
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return {
        "per_second": round(len(seconds) / total, 2),
        "p50_ms": round(1000 * cuts[49], 1),
        "p99_ms": round(1000 * cuts[98], 1),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("questions", type=Path, help="JSON lines with `question`.")
    parser.add_argument("--kb", type=Path, required=True)
    parser.add_argument("--requests", type=int, default=320)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--load", type=float, default=0.5, help="Of `open`: share of the throughput of `many`.")
    parser.add_argument("--top", type=int, default=5)
    parser.add_argument("--log", type=Path, default=Path(os.devnull))
    options = parser.parse_args()
    lines = options.questions.read_text("utf-8").splitlines()
    texts = itertools.cycle(json.loads(line)["question"] for line in lines)
    questions = list(itertools.islice(texts, options.requests))
    with server(options.kb, options.log) as (address, _):
        ask_all(address, questions[:_WARM_UP], options.clients, options.top)
        single = ask_all(address, questions[: max(options.requests // 4, 20)], 1, options.top)
        many = ask_all(address, questions, options.clients, options.top)
        rate = options.load * len(questions) / many[0]
        free = ask_at_random(address, questions, rate, options.top)
        again = ask_all(address, questions[: max(options.requests // 4, 20)], 1, options.top)
    # Before and after, so that a machine that slows down does not flatter either.
    one = figures(single[0] + again[0], single[1] + again[1])
    crowd, at_random = figures(*many), figures(*free)
    print(
        json.dumps(
            {
                "one": one,
                "clients": options.clients,
                "many": crowd,
                "load": options.load,
                "open": at_random,
                "throughput_ratio": round(crowd["per_second"] / one["per_second"], 2),
                "p99_ratio": round(crowd["p99_ms"] / one["p50_ms"], 2),
                "open_p99_ratio": round(at_random["p99_ms"] / one["p50_ms"], 2),
            }
        )
    )


if __name__ == "__main__":
    main()
