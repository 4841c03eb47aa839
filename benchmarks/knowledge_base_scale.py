"""How a knowledge base of many blocks behaves: opening, taking blocks, adding documents, compacting, disk, memory.

    python benchmarks/knowledge_base_scale.py FOLDER --blocks 1000000

Makes a knowledge base of synthetic documents with random vectors in FOLDER (or goes on with one that is there), then
measures in processes of their own, so that nothing is in memory that a user would not have there. "Cold" is the first
time in a new process; the files may still be in the system's page cache. No model is needed: a vector costs nothing
here, so the times for adding are those of everything but embedding.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from realm.artifacts import sha256_of_text
from realm.corpus.chunking import ChunkedDocument, document_hash
from realm.openqa.compaction import compact
from realm.openqa.knowledge_base import KnowledgeBase
from realm.openqa.manifest import ModelReference
from realm.openqa.memory import format_bytes
from realm.openqa.writer import KnowledgeBaseWriter
from realm.records import Block, Document

DIM = 128
BLOCKS_PER_DOCUMENT = 5
BLOCKS_PER_STEP = 512
PIECES_PER_BLOCK = 230
MODEL = ModelReference("synthetic", "0" * 64)
WORDS = [f"{first}{middle}{last}" for first in "bdfgklmnprst" for middle in ("a", "e", "io", "ur") for last in "lnrst"]
EMBEDDING_BLOCKS_PER_SECOND = 20.0
"""What realm-mini embeds on two cores; adding should take no longer than that again."""


def documents(first: int, count: int) -> Iterator[ChunkedDocument]:
    """Documents of five blocks of 200 made-up words of Zipf's frequencies."""
    for number in range(first, first + count):
        chance = random.Random(number)
        texts = [" ".join(chance.choices(WORDS, WEIGHTS, k=200)) for _ in range(BLOCKS_PER_DOCUMENT)]
        document = Document(
            f"synthetic/{number}", f"Document {number}", " ".join(texts), metadata={"n": str(number % 10)}
        )
        start, blocks, content = 0, [], document_hash(document)
        for text in texts:
            ids = tuple(chance.randrange(1000, 30_000) for _ in range(PIECES_PER_BLOCK))
            id = sha256_of_text(document.id, content, str(start))[:32]
            blocks.append(Block(id, document.id, document.title, start, start + len(text), text, ids))
            start += len(text) + 1
        yield ChunkedDocument(document, content, (2000, 2001), tuple(blocks))


WEIGHTS = [1 / rank for rank in range(1, len(WORDS) + 1)]


def write(kb: Path, first: int, count: int) -> dict[str, float]:
    """Add documents in steps and publish; seconds of making them are not counted."""
    made = documents(first, count)
    vectors = np.random.default_rng(first)
    begin = time.perf_counter()
    with KnowledgeBaseWriter(kb, MODEL, DIM, 288) as writer:
        opened = time.perf_counter() - begin
        took = {"open": opened, "put": 0.0, "blocks": 0.0}
        while step := list(islice(made, BLOCKS_PER_STEP // BLOCKS_PER_DOCUMENT)):
            rows = sum(len(cut.blocks) for cut in step)
            begin = time.perf_counter()
            writer.put(step, vectors.standard_normal((rows, DIM), dtype=np.float32))
            took["put"] += time.perf_counter() - begin
            took["blocks"] += rows
        begin = time.perf_counter()
        writer.publish()
        took["publish"] = time.perf_counter() - begin
    return took | {"rss": peak_bytes()}


def read(kb: Path) -> dict[str, float]:
    """Open, take five blocks cold and warm, look documents up."""
    begin = time.perf_counter()
    base = KnowledgeBase.open(kb)
    opened = time.perf_counter() - begin
    chance = random.Random(0)

    def timed(action: Callable[[], None]) -> float:
        begin = time.perf_counter()
        action()
        return time.perf_counter() - begin

    def take() -> None:
        base.take_blocks([chance.randrange(base.manifest.blocks) for _ in range(5)])

    def look_up() -> None:
        base.document_versions([f"synthetic/{chance.randrange(base.manifest.documents)}" for _ in range(5)])

    cold, cold_ids = timed(take), timed(look_up)
    return {
        "open": opened,
        "take_cold": cold,
        "take_warm": float(np.median([timed(take) for _ in range(50)])),
        "ids_cold": cold_ids,
        "ids_warm": float(np.median([timed(look_up) for _ in range(20)])),
        "rss": peak_bytes(),
    }


def drop_versions(kb: Path) -> dict[str, float]:
    """Compact."""
    begin = time.perf_counter()
    report = compact(kb)
    return {"seconds": time.perf_counter() - begin, "freed": report.freed_bytes, "rss": peak_bytes()}


def peak_bytes() -> float:
    """The most memory this process has held."""
    # Not ru_maxrss, which begins with what the process that started this one held.
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024.0


def in_own_process(action: str, kb: Path, *numbers: int) -> dict[str, float]:
    """Run one of the functions above in a new process."""
    line = [sys.executable, __file__, str(kb), "--run", action, *map(str, numbers)]
    done = subprocess.run(line, stdout=subprocess.PIPE, check=True, text=True)
    return {key: float(value) for key, value in json.loads(done.stdout).items()}


def disk_bytes(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """Make, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--blocks", type=int, default=1_000_000)
    parser.add_argument("--run", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        action, *numbers = options.run
        actions: dict[str, Callable[..., dict[str, float]]] = {"write": write, "read": read, "compact": drop_versions}
        print(json.dumps(actions[action](options.folder, *map(int, numbers))))
        return
    kb = options.folder
    there = KnowledgeBase.open(kb).manifest.documents if (kb / "kb.json").exists() else 0
    count = options.blocks // BLOCKS_PER_DOCUMENT
    if there < count:
        begin = time.perf_counter()
        took = in_own_process("write", kb, there, count - there)
        print(
            f"made {took['blocks']:,.0f} blocks: put {took['put']:.1f} s "
            f"({took['blocks'] / took['put']:,.0f} blocks/s), publish {took['publish']:.1f} s, "
            f"memory {format_bytes(took['rss'])}; {time.perf_counter() - begin:.0f} s with the making of texts"
        )
    print(f"on disk: {format_bytes(disk_bytes(kb))}")
    show_reading("before", in_own_process("read", kb))
    size, documents_now = disk_bytes(kb), KnowledgeBase.open(kb).manifest.documents
    took = in_own_process("write", kb, documents_now, 1000)
    seconds = took["open"] + took["put"] + took["publish"]
    embedding = took["blocks"] / EMBEDDING_BLOCKS_PER_SECOND
    print(
        f"adding 1,000 documents ({took['blocks']:,.0f} blocks): {seconds:.2f} s (open {took['open']:.2f}, put "
        f"{took['put']:.2f}, publish {took['publish']:.2f}); embedding them at {EMBEDDING_BLOCKS_PER_SECOND:.0f} "
        f"blocks/s takes {embedding:.0f} s, so all of it {(embedding + seconds) / embedding:.2f} x; "
        f"{format_bytes(disk_bytes(kb) - size)} more on disk; memory {format_bytes(took['rss'])}"
    )
    show_reading("after", in_own_process("read", kb))
    took = in_own_process("compact", kb)
    print(
        f"compacting: {took['seconds']:.1f} s, {format_bytes(max(took['freed'], 0))} freed, "
        f"memory {format_bytes(took['rss'])}"
    )
    show_reading("compacted", in_own_process("read", kb))


def show_reading(name: str, took: dict[str, float]) -> None:
    """One line."""
    print(
        f"{name}: open {took['open'] * 1e3:.0f} ms; 5 blocks cold {took['take_cold'] * 1e3:.0f} ms, warm "
        f"{took['take_warm'] * 1e3:.1f} ms; 5 ids cold {took['ids_cold'] * 1e3:.0f} ms, "
        f"warm {took['ids_warm'] * 1e3:.1f} ms; memory {format_bytes(took['rss'])}"
    )


if __name__ == "__main__":
    main()
