"""How fast documents are read and cut into blocks, and how much memory that takes.

    python benchmarks/chunking.py SOURCE... [--tokenizer FOLDER] [--documents N] [--processes 1 2]

Prints megabytes of UTF-8 text per second of wall clock and per second of processor time (of all processes together),
and the most memory that the reading process and its largest helper held. Each measurement runs in a process of its
own, so that none inherits the memory or the known words of another.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from realm.corpus.chunking import chunk_documents
from realm.corpus.readers import read_documents
from realm.records import Document
from realm.text.pieces import PieceTokenizer


class Figures(NamedTuple):
    """What one run did."""

    megabytes: float
    documents: int
    blocks: int
    wall_seconds: float
    cpu_seconds: float
    own_mebibytes: float
    helper_mebibytes: float


def measure(sources: list[Path], documents: int | None, tokenizer: Path, processes: int) -> Figures:
    """Read, and cut with so many processes; 0 reads only."""
    pieces = PieceTokenizer.from_folder(tokenizer)
    size = {"bytes": 0, "documents": 0, "blocks": 0}

    def counted() -> Iterator[Document]:
        for document in islice(read_documents(sources), documents):
            size["bytes"] += len(document.text.encode())
            size["documents"] += 1
            yield document

    begin = time.perf_counter()
    if processes:
        for chunked in chunk_documents(counted(), pieces, processes=processes):
            size["blocks"] += len(chunked.blocks)
    else:
        for _ in counted():
            pass
    wall_seconds = time.perf_counter() - begin
    own, helpers = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    # Not ru_maxrss, which counts the process that started this one, too.
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    cpu_seconds = sum(usage.ru_utime + usage.ru_stime for usage in (own, helpers))
    return Figures(
        size["bytes"] / 1e6, size["documents"], size["blocks"], wall_seconds, cpu_seconds,
        int(peak.split()[1]) / 1024, helpers.ru_maxrss / 1024,
    )  # fmt: skip


def send(pipe: object, work: Callable[..., Figures], arguments: tuple[object, ...]) -> None:
    pipe.send(work(*arguments))  # type: ignore[attr-defined]


def alone(*arguments: object) -> Figures:
    """`measure` in a fresh process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=send, args=(theirs, measure, arguments))
    process.start()
    theirs.close()
    figures: Figures = ours.recv()
    process.join()
    return figures


def built_in_tokenizer() -> Path:
    from realm.openqa.default_model import default_model_folder

    return default_model_folder()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", type=Path)
    parser.add_argument("--tokenizer", type=Path, help="folder with tokenizer.json; that of realm-mini unless given")
    parser.add_argument("--documents", type=int, help="read no more than so many")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    tokenizer = options.tokenizer or built_in_tokenizer()
    print(f"{'':24}  MB/s wall  MB/s cpu  MiB here  MiB helper")
    for processes in [0, *options.processes]:
        figures = alone(options.sources, options.documents, tokenizer, processes)
        name = f"cut, {processes} process{'es'[: 2 * (processes > 1)]}" if processes else "read"
        print(
            f"{name:24}  {figures.megabytes / figures.wall_seconds:9.2f}  "
            f"{figures.megabytes / figures.cpu_seconds:8.2f}  {figures.own_mebibytes:8.0f}  "
            f"{figures.helper_mebibytes:10.0f}"
        )
    print(f"{figures.documents:,} documents, {figures.megabytes:,.1f} MB of text, {figures.blocks:,} blocks")


if __name__ == "__main__":
    main()
