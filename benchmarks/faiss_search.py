"""FAISS over clustered vectors: build, opening, latency, recall and memory, beside plain FAISS.

    python benchmarks/faiss_search.py FOLDER [--rows 13353718] [--rivals flat,ivfpq]

Vectors are those of `synthetic_vectors.py`, questions are drawn from the same mixture, and one question is asked at
a time. Each side runs in a fresh process of its own, whose memory is read from the kernel: `rss` is all that is
resident, `anon` the part that is not pages of files. Recall is against the exact index. Rivals, as one would use
FAISS by itself: `flat` is IndexFlatIP over float32; `ivfpq` is `IVFn,PQm` of 8 bits with nprobe 32.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from synthetic_vectors import WIKIPEDIA_ROWS, clustered_queries, write_clustered_vectors

from realm.index.exact import ExactIndex
from realm.index.faiss_build import build_faiss
from realm.index.faiss_entry import FaissEntry
from realm.index.faiss_index import FaissIndex
from realm.index.vectors import VectorStore

ASKED = {5: 300, 5000: 50}
RIVAL_NPROBE = 32
BATCH = 1 << 16


def resident() -> dict[str, float]:
    """Memory of this process now, in MB."""
    names = {"VmRSS:": "rss", "RssAnon:": "anon", "VmHWM:": "peak"}
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {names[line[0]]: round(int(line[1]) / 1024) for line in lines if line and line[0] in names}


def build(store: VectorStore, folder: Path) -> dict[str, Any]:
    before, start = resident(), time.perf_counter()
    progress = lambda rows: print(f"\r{rows:,} rows added", end="", file=sys.stderr)  # noqa: E731
    entry = build_faiss(store, folder / "faiss", ExactIndex(store), progress=progress)
    seconds = time.perf_counter() - start
    (folder / "entry.json").write_text(json.dumps(dataclasses.asdict(entry)))
    cpu = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu.ru_utime + cpu.ru_stime, 1),
        "before": before,
        "after": resident(),
        "file_mb": entry.bytes >> 20,
        "points": [dataclasses.asdict(point) for point in entry.points],
        "target_reached": entry.target_reached,
    }


def answer(store: VectorStore, folder: Path) -> dict[str, Any]:
    entry = FaissEntry.from_json(json.loads((folder / "entry.json").read_text()))
    start = time.perf_counter()
    index = FaissIndex(folder / "faiss", entry, store, ExactIndex(store))
    opening = time.perf_counter() - start
    return {"opening_seconds": round(opening, 3), **ask(folder, lambda query, k: index.search(query, k).rows)}


def flat(store: VectorStore, folder: Path) -> dict[str, Any]:
    import faiss

    start = time.perf_counter()
    index = faiss.IndexFlatIP(store.dim)
    for _, halves in store.chunks(BATCH):
        index.add(halves.astype(np.float32))
    opening = time.perf_counter() - start
    return {"opening_seconds": round(opening, 3), **ask(folder, lambda query, k: index.search(query, k)[1])}


def ivfpq(store: VectorStore, folder: Path) -> dict[str, Any]:
    import faiss

    nlist, start = math.ceil(math.sqrt(store.rows)), time.perf_counter()
    index = faiss.index_factory(store.dim, f"IVF{nlist},PQ{store.dim // 4}", faiss.METRIC_INNER_PRODUCT)
    random = np.random.default_rng(0)
    index.train(store.take(np.sort(random.choice(store.rows, min(store.rows, 64 * nlist), replace=False))))
    for _, halves in store.chunks(BATCH):
        index.add(halves.astype(np.float32))
    index.nprobe = RIVAL_NPROBE
    built = time.perf_counter() - start
    path = folder / "rival.index"
    faiss.write_index(index, str(path))
    del index
    start = time.perf_counter()
    again = faiss.read_index(str(path))
    opening = time.perf_counter() - start
    again.nprobe = RIVAL_NPROBE
    figures = ask(folder, lambda query, k: again.search(query, k)[1])
    return {"build_seconds": round(built, 1), "opening_seconds": round(opening, 3), **figures}


def ask(folder: Path, search: Callable[[np.ndarray, int], np.ndarray]) -> dict[str, Any]:
    """Latency of single questions, recall, and memory afterwards, for each k."""
    figures: dict[str, Any] = {}
    for k, count in ASKED.items():
        # Made by another process: making them leaves pages of the vectors in memory, which answering does not need.
        queries, found, seconds = np.load(folder / f"queries-{k}.npy"), [], []
        search(queries[:1], k)
        for place in range(count):
            start = time.perf_counter()
            found.append(search(queries[place : place + 1], k)[0])
            seconds.append(time.perf_counter() - start)
        memory = resident()
        truth = np.load(folder / f"truth-{k}.npy")
        shared = [len(np.intersect1d(mine, best)) / len(best) for mine, best in zip(found, truth, strict=True)]
        p50, p95 = (round(1000 * float(np.quantile(seconds, share)), 2) for share in (0.5, 0.95))
        figures[f"k={k}"] = {"p50_ms": p50, "p95_ms": p95, "recall": round(float(np.mean(shared)), 4), **memory}
    return figures


ROLES: dict[str, Callable[[VectorStore, Path], dict[str, Any]]] = {
    "build": build,
    "answer": answer,
    "flat": flat,
    "ivfpq": ivfpq,
}


def main() -> None:
    """Write the vectors, then let each side run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=WIKIPEDIA_ROWS)
    parser.add_argument("--rivals", default="flat,ivfpq", help="which to run, with commas between; may be empty")
    parser.add_argument("--role", choices=ROLES, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    store = write_clustered_vectors(asked.folder / "vectors", asked.rows)
    if asked.role:
        print(json.dumps(ROLES[asked.role](store, asked.folder)))
        return
    print(f"{store.rows:,} x {store.dim}", flush=True)
    for k, count in ASKED.items():
        start = time.perf_counter()
        queries = clustered_queries(store, count)
        np.save(asked.folder / f"queries-{k}.npy", queries)
        np.save(asked.folder / f"truth-{k}.npy", ExactIndex(store).search(queries, k).rows)
        print(f"exact, {count} questions at once, k={k}: {time.perf_counter() - start:.1f} s", flush=True)
    for role in ("build", "answer", *filter(None, asked.rivals.split(","))):
        command = [sys.executable, __file__, str(asked.folder), "--rows", str(asked.rows), "--role", role]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        print(f"\n{role}")
        for name, value in json.loads(done.stdout).items():
            print(f"  {name}: {value}", flush=True)


if __name__ == "__main__":
    main()
