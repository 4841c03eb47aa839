"""Exact search among many vectors: a scan of int8 codes against a full scan of float32 vectors.

    python benchmarks/exact_search.py FOLDER [--rows 13353718] [--rival-rows ROWS] [--repeats 5]

Makes clustered vectors of the size and spread of layer-normalised projections (128 numbers, norm near 11; seeded) in
FOLDER, unless an earlier run left them there, and their codes and sketches. Then times, for one question with k = 5 and
k = 5000 and for 16 questions with k = 5: ours, and what transformers 4.37.2 does (`RealmRetriever`: an einsum over all
float32 vectors, then topk). Questions come from the same distribution. The rival's vectors take 512 bytes a row of
memory; where there is less, `--rival-rows` lets it scan fewer, and its times are scaled up. The results must be the
same: rows and order are compared with the scan of float16 vectors, and scores with the rival's.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from realm.index.code_segments import CodeSegment
from realm.index.codes import CodeStore, build_codes
from realm.index.exact import ExactIndex
from realm.index.segments import Segment
from realm.index.sketches import SketchSegment, SketchStore, build_sketches
from realm.index.vectors import VectorStore, VectorWriter

DIM = 128
CLUSTERS = 4096
PIECE_ROWS = 1 << 16
# Of a vector's variance, what its cluster explains.
SHARED = 0.5


def clustered(random: np.random.Generator, centres: np.ndarray, rows: int) -> np.ndarray:
    own = random.standard_normal((rows, DIM), dtype=np.float32) * np.float32((1 - SHARED) ** 0.5)
    own += centres[random.integers(len(centres), size=rows)]
    own -= own.mean(axis=1, keepdims=True)
    return own / own.std(axis=1, keepdims=True)


def centres_of(random: np.random.Generator) -> np.ndarray:
    return random.standard_normal((CLUSTERS, DIM), dtype=np.float32) * np.float32(SHARED**0.5)


def prepared(folder: Path, rows: int) -> tuple[VectorStore, CodeStore, SketchStore]:
    entries = folder / f"entries-{rows}.json"
    folder = folder / f"vectors-{rows}"
    if not entries.is_file():
        random = np.random.default_rng(0)
        centres = centres_of(random)
        start = time.perf_counter()
        with VectorWriter(folder, DIM) as writer:
            for first in range(0, rows, PIECE_ROWS):
                writer.append(clustered(random, centres, min(PIECE_ROWS, rows - first)))
            segments = writer.publish()
        made = time.perf_counter()
        store = VectorStore(folder, segments, DIM)
        coded = build_codes(store, folder)
        halfway = time.perf_counter()
        sketched = build_sketches(store, folder)
        seconds = [made - start, halfway - made, time.perf_counter() - halfway]
        print("vectors made in {:.0f} s, codes in {:.0f} s, sketches in {:.0f} s".format(*seconds))
        lists: dict[str, tuple[Any, ...]] = {
            "vectors": segments,
            "codes": coded,
            "sketches": sketched,
        }
        entries.write_text(json.dumps({name: [dataclasses.asdict(part) for part in lists[name]] for name in lists}))
    saved = json.loads(entries.read_text())
    vectors = VectorStore(folder, [Segment.from_json(entry) for entry in saved["vectors"]], DIM)
    codes = CodeStore(folder, [CodeSegment.from_json(entry) for entry in saved["codes"]], DIM)
    return vectors, codes, SketchStore(folder, [SketchSegment.from_json(entry) for entry in saved["sketches"]], DIM)


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def resident_mib() -> dict[str, int]:
    """Memory of this process: its own, and pages of mapped files, which the system takes back when it needs them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = {line.split(":")[0]: int(line.split()[1]) >> 10 for line in lines if line.startswith("Rss")}
    return {"own": found["RssAnon"], "mapped files": found["RssFile"]}


def all_float32(store: VectorStore, rows: int) -> torch.Tensor:
    vectors = torch.empty((rows, DIM))
    for first, halves in store.chunks(PIECE_ROWS):
        if first < rows:
            vectors[first : first + len(halves)] = torch.from_numpy(halves[: rows - first])
    return vectors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=13_353_718)
    parser.add_argument("--rival-rows", type=int)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    store, codes, sketches = prepared(arguments.folder, arguments.rows)
    centres = centres_of(np.random.default_rng(0))
    queries = clustered(np.random.default_rng(1), centres, 16)
    index, plain = ExactIndex(store, codes=codes, sketches=sketches), ExactIndex(store)
    cases = [(queries[:1], 5), (queries[:1], 5000), (queries, 5)]

    ours = [median_seconds(lambda case=case: index.search(*case), arguments.repeats) for case in cases]
    memory = resident_mib()
    scans = [median_seconds(lambda case=case: plain.search(*case), 1) for case in cases]
    for case in cases:
        found, expected = index.search(*case), plain.search(*case)
        assert np.array_equal(found.rows, expected.rows), "rows differ from the scan of float16 vectors"
        assert np.array_equal(found.scores, expected.scores), "scores differ from the scan of float16 vectors"

    rival_rows = arguments.rival_rows or store.rows
    block_emb = all_float32(store, rival_rows)

    def rival(questions: np.ndarray, k: int) -> torch.Tensor:
        scores = torch.einsum("BD,QD->QB", block_emb, torch.from_numpy(questions))
        return torch.topk(scores, k=k, sorted=True).values

    rivals = [median_seconds(lambda case=case: rival(*case), max(1, arguments.repeats // 2)) for case in cases]
    if rival_rows == store.rows:
        for case in cases:
            assert np.allclose(index.search(*case).scores, rival(*case), rtol=1e-4, atol=1e-4), "scores differ"
    print(f"{store.rows:,} x {DIM} vectors, {torch.get_num_threads()} threads of {os.cpu_count()} processors")
    scale = store.rows / rival_rows
    for (questions, k), own, scan, other in zip(cases, ours, scans, rivals, strict=True):
        print(
            f"{len(questions):2} question(s), k = {k:4}: ours {own:7.4f} s, float16 scan {scan:7.4f} s, "
            f"einsum + topk on float32 {other * scale:7.4f} s ({other * scale / own:.1f} x ours)"
        )
    print(f"memory after our searches, MiB: {memory}; the rival's vectors: {store.rows * DIM * 4 >> 20:,} MiB")
    print("results: identical to the float16 scan, rows, order and scores")


if __name__ == "__main__":
    main()
