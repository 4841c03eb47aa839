"""Memory: sizes as people write them, limits that cannot be kept, and a run whose memory does not grow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_model import stories, write_jsonl

import realm
from realm.corpus.lexical import LexicalIndex
from realm.errors import UsageError
from realm.index import faiss_build
from realm.openqa import memory
from realm.openqa.estimate import estimate
from realm.openqa.indexing import index_sources
from realm.openqa.knowledge_base import KnowledgeBase
from realm.openqa.memory import MemoryLimit, format_bytes, parse_bytes, resident_bytes
from realm.openqa.model_folder import ModelFolder

SIZES = {"2GB": 2 * 10**9, "500M": 500 * 10**6, "1.5GiB": 3 << 29, " 64 kb ": 64_000, "7": 7, "1tib": 1 << 40}


@pytest.mark.parametrize("text", SIZES)
def test_sizes_are_read_as_people_write_them(text: str) -> None:
    assert parse_bytes(text) == SIZES[text]


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1,5GB", "2 GBs", "nan", "1e9", "２x"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match=r"no size in bytes\. Give one such as 2GB or 500M"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 KB"), (2.5e9, "2.5 GB"), (123e6, "123 MB")]
)
def test_sizes_are_written_for_people(count: float, text: str) -> None:
    assert format_bytes(count) == text


def test_a_limit_makes_steps_smaller_and_at_last_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    held = 500_000_000
    monkeypatch.setattr(memory, "resident_bytes", lambda: held)
    assert MemoryLimit(None, 512).blocks_per_step == 512
    assert MemoryLimit(10**10, 512).blocks_per_step == 512
    limit = MemoryLimit(760_000_000, 512)
    assert 16 <= limit.blocks_per_step < 512
    limit.check()
    sizes = [limit.blocks_per_step]
    held = 800_000_000
    while limit.blocks_per_step > 16:
        limit.check()
        sizes.append(limit.blocks_per_step)
    with pytest.raises(UsageError, match=r"--max-ram 760 MB cannot be kept: 800 MB are held.*--max-ram 0\.8GB"):
        limit.check()
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 16
    with pytest.raises(UsageError, match=r"--max-ram 400 MB is too little: .*Give --max-ram 1\.1GB"):
        MemoryLimit(400_000_000, 512)


def test_a_limit_below_what_is_held_is_refused_before_anything_is_written(tmp_path: Path, tiny: ModelFolder) -> None:
    source = write_jsonl(tmp_path / "stories.jsonl", stories(3))
    with pytest.raises(UsageError, match=r"--max-ram 1\.0 MB is too little"):
        index_sources(tmp_path / "kb", [source], tiny, max_ram_bytes=1_000_000)
    assert not (tmp_path / "kb").exists()
    index_sources(tmp_path / "kb", [source], tiny, max_ram_bytes=resident_bytes() + 2 * 10**9)
    assert KnowledgeBase.open(tmp_path / "kb").manifest.documents == 3


def test_publishing_keeps_the_limit(tmp_path: Path, tiny: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    held, given = 10**9, {}
    monkeypatch.setattr(memory, "resident_bytes", lambda: held)
    complete = LexicalIndex.complete

    def words(index: LexicalIndex, *, max_megabytes: int) -> None:
        given["words"] = max_megabytes
        complete(index, max_megabytes=max_megabytes)

    def vectors(*args: Any, ram_bytes: int, **options: Any) -> None:
        given["vectors"] = ram_bytes

    monkeypatch.setattr(LexicalIndex, "complete", words)
    monkeypatch.setattr(faiss_build, "build_faiss", vectors)
    monkeypatch.setattr(faiss_build, "MIN_VECTORS", 3)
    source = write_jsonl(tmp_path / "stories.jsonl", stories(3))
    for limit, megabytes, ram in ((held + (300 << 20), 300, 300 << 20), (None, 1024, 4 << 30)):
        index_sources(tmp_path / f"{limit}", [source], tiny, max_ram_bytes=limit, search="faiss")
        assert given == {"words": megabytes, "vectors": ram}


def test_an_estimate_is_in_proportion_to_the_characters() -> None:
    found = estimate(
        1000, 5_000_000, done_characters=50_000, done_blocks=40, done_bytes=90_000, seconds=1.5, memory_bytes=7 * 10**8
    )
    assert (found.documents, found.characters, found.blocks, found.disk_bytes) == (1000, 5_000_000, 4000, 9_000_000)
    assert found.seconds == pytest.approx(1.5 * 99)
    assert found.is_worth_telling
    assert found.summary() == (
        "to do: 1,000 documents of 5,000,000 characters, about 4,000 blocks; about 9.0 MB on disk, 700 MB of memory, "
        "2 minutes"
    )
    none = estimate(0, 0, done_characters=0, done_blocks=0, done_bytes=0, seconds=0.1, memory_bytes=1)
    assert not none.is_worth_telling


# VmHWM, and not ru_maxrss, which begins with what the process that started this one held.
PEAK = """
import json, sys
from pathlib import Path
import numpy as np
from realm.openqa import indexing
from realm.openqa.model_folder import ModelFolder
ModelFolder.embed = lambda self, rows: np.ones((len(rows), 16), dtype=np.float32)
indexing._BLOCKS_PER_STEP = 128
peaks = []
def note(report):
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    peaks.append(int(peak.split()[1]) * 1024)
indexing.index_sources(Path(sys.argv[1]), [Path(sys.argv[2])], ModelFolder.open(sys.argv[3]), progress=note)
print(json.dumps(peaks))
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_corpus(tmp_path: Path, tiny: ModelFolder) -> None:
    source = write_jsonl(tmp_path / "stories.jsonl", stories(4000))
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path / "kb"), str(source), str(tiny.folder)],
        env={**os.environ, "PYTHONPATH": str(Path(realm.__file__).parents[1]), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    peaks = json.loads(done.stdout)
    assert len(peaks) > 30
    third = len(peaks) // 3
    # What is held at once, and caches, are there after a third; the corpus itself would be several times this.
    assert peaks[-1] - peaks[third] < 40_000_000
