"""Many questions while documents come and go: no answer mixes versions, no request is lost, memory stays flat.

    python benchmarks/serving_load.py --kb KB [--questions 10000] [--clients 16] [--every-seconds 5]

Works on a copy of KB in a temporary folder. A writer in a process of its own adds, changes and removes documents as
`realm index` and `realm remove` do, and drops old versions now and then. Each document it writes says in its title
which version of the knowledge base it was written for, so every answer can be checked: all its evidence must be as the
version that the answer names had it. Loopback only, bounded. Prints one JSON object; exits with 1 if something is
wrong.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import multiprocessing.synchronize
import shutil
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serving import server

MARK = "clockwork orchard"
_MARKED = 4
_COMPACT_EVERY = 20
_SAMPLE_SECONDS = 1.0


def write(
    kb: Path,
    begun: multiprocessing.synchronize.Event,
    stop: multiprocessing.synchronize.Event,
    every_seconds: float,
) -> None:
    """Add, change and remove the marked documents until told to stop, and drop old versions now and then."""
    from realm.openqa.compaction import compact
    from realm.openqa.indexing import index_sources, remove_documents
    from realm.openqa.knowledge_base import KnowledgeBase
    from realm.openqa.model_folder import ModelFolder

    base = KnowledgeBase.open(kb).manifest
    model = ModelFolder.open(base.model.name)
    version, source, step = base.version, kb.parent / "marked.jsonl", 0
    model.inputs, model.networks  # noqa: B018 - loaded before the first question, not during the load
    begun.set()
    while not stop.wait(every_seconds):
        step += 1
        if step % 3 == 0:
            version = remove_documents(kb, ["marked/0"])[1].version
        else:
            version += 1
            lines = [
                {
                    "id": f"marked/{number}",
                    "title": f"version {version}",
                    "text": f"The {MARK} number {number} opened in the year {1000 + version}.",
                }
                for number in range(_MARKED)
            ]
            source.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
            manifest = index_sources(kb, [source], model).manifest
            assert manifest is not None
            assert manifest.version == version
        if step % _COMPACT_EVERY == 0:
            version = compact(kb).manifest.version


@dataclass
class Load:
    """What the clients have seen so far."""

    address: str
    questions: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    asked: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    versions: set[int] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)

    def client(self) -> None:
        """Ask until all questions have been asked."""
        connection = http.client.HTTPConnection(self.address, timeout=120)
        newest = 0
        while True:
            with self.lock:
                self.asked += 1
                number = self.asked
            if number > self.questions:
                break
            question = f"In which year did the {MARK} number {number % _MARKED} open?"
            body = json.dumps({"question": question, "top": 1 + number % 3})
            try:
                connection.request("POST", "/v1/ask", body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                found = json.loads(response.read())
            except (OSError, http.client.HTTPException, ValueError) as exc:
                self.wrong.append(f"lost: {exc!r}")
                connection.close()
                continue
            with self.lock:
                self.statuses[response.status] += 1
                if response.status == 200:
                    self.versions.add(found["version"])
                    self.check(found, newest)
                    newest = found["version"]
        connection.close()

    def check(self, found: dict[str, Any], newest: int) -> None:
        """Every piece of evidence must be as the version that answered had it."""
        version = found["version"]
        if version < newest:
            self.wrong.append(f"version {version} after {newest}")
        marked = [one for one in found["answers"][0]["evidence"] if one["document_id"].startswith("marked/")]
        titles = {one["title"] for one in marked if one["document_version"] == version}
        for one in marked:
            written = one["document_version"]
            if written > version or one["title"] != f"version {written}" or f"{1000 + written}." not in one["text"]:
                self.wrong.append(f"version {version} gave {one['document_id']} of {written}: {one['title']}")
        if len(titles) > 1 or len({one["document_version"] for one in marked}) > 1:
            self.wrong.append(f"version {version} mixed {sorted(one['title'] for one in marked)}")


def resident_bytes(process: int) -> int:
    """Proportional set size: memory that is shared counts in part."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text("ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss_Anon:"))


def main() -> None:
    """Run the load and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kb", type=Path, required=True)
    parser.add_argument("--questions", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--every-seconds", type=float, default=5.0)
    parser.add_argument("--log", type=Path, default=Path("serving_load.log"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        kb = Path(shutil.copytree(options.kb, Path(folder) / "kb"))
        with server(kb, options.log) as (address, process):
            result = run(kb, Load(address, options.questions), process, options.clients, options.every_seconds)
    print(json.dumps(result))
    raise SystemExit(not result["is_right"])


def run(kb: Path, load: Load, process: int, clients: int, every_seconds: float) -> dict[str, Any]:
    """Questions and changes at the same time; memory is compared between the second fifth and the last one."""
    context = multiprocessing.get_context("spawn")
    begun, stop = context.Event(), context.Event()
    writer = context.Process(target=write, args=(kb, begun, stop, every_seconds))
    writer.start()
    if not begun.wait(300):
        raise SystemExit("the writer did not begin")
    threads = [threading.Thread(target=load.client) for _ in range(clients)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    samples: list[tuple[float, int]] = []
    while any(thread.is_alive() for thread in threads):
        samples.append((min(1.0, load.asked / load.questions), resident_bytes(process)))
        time.sleep(_SAMPLE_SECONDS)
    seconds = time.perf_counter() - begin
    stop.set()
    writer.join()
    early = [size for share, size in samples if 0.2 <= share < 0.4] or [samples[0][1]]
    late = [size for share, size in samples if share >= 0.8] or [samples[-1][1]]
    growth = (sum(late) / len(late)) / (sum(early) / len(early)) - 1
    answered = load.statuses[200]
    return {
        "questions": load.questions,
        "answered": answered,
        "statuses": dict(load.statuses),
        "per_second": round(answered / seconds, 2),
        "versions": len(load.versions),
        "wrong": load.wrong[:5],
        "memory_mb": [round(sum(part) / len(part) / 1e6, 1) for part in (early, late)],
        "memory_growth": round(growth, 4),
        "writer_exit": writer.exitcode,
        "is_right": answered == load.questions and not load.wrong and writer.exitcode == 0 and abs(growth) <= 0.05,
    }


if __name__ == "__main__":
    main()
