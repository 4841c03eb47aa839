"""`realm index`, killed: the last complete version stays, and the next run ends where a clean one does."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from tiny_model import digests, stories, write_jsonl

import realm
from realm.errors import KnowledgeBaseError
from realm.openqa.ask import OpenQA, Searching
from realm.openqa.indexing import index_sources
from realm.openqa.knowledge_base import KnowledgeBase
from realm.openqa.model_folder import ModelFolder
from realm.openqa.writer import KnowledgeBaseWriter
from realm.records import Document

QUESTIONS = ["Who wrote the opera?", "which river crossed Paris", "where was the dragon lost?"]
OLD = stories(6, seed=1)
NEW = [*OLD[:3], *stories(48, seed=2, sentences=1)[3:]]  # three the same, three changed, 42 new


class Nursery:
    """See nursery.py."""

    def __init__(self, log: Path) -> None:
        sources = str(Path(realm.__file__).parents[1])
        self.log = log
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("nursery.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": sources, "OMP_NUM_THREADS": "1"},
        )
        self._read()

    def _read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def start(self, kb: Path, source: Path, model: Path, kill_at: int | None = None) -> int:
        """Begin a run; gives its process id."""
        return self.begin(kb, ["index", str(source), "--kb", str(kb), "--model", str(model)], kill_at)

    def begin(self, kb: Path, argv: list[str], kill_at: int | None = None) -> int:
        """Begin any command; gives its process id."""
        job = {"argv": argv, "folder": str(kb), "log": str(self.log), "kill_at": kill_at}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return int(self._read())

    def wait(self) -> tuple[int, int]:
        """Exit status of the run, and how many events it had."""
        status, events = self._read().split()
        return int(status), int(events)

    def run(self, kb: Path, source: Path, model: Path, kill_at: int | None = None) -> tuple[int, int]:
        """A run from beginning to end."""
        self.start(kb, source, model, kill_at)
        return self.wait()


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """Children that run the command line and can be killed."""
    one = Nursery(tmp_path_factory.mktemp("nursery") / "log")
    yield one
    one.process.kill()
    one.process.communicate()


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory, tiny: ModelFolder) -> Path:
    """What a run that nobody disturbs makes of the new stories."""
    folder = tmp_path_factory.mktemp("clean")
    index_sources(folder / "kb", [write_jsonl(folder / "new.jsonl", NEW)], tiny)
    return folder / "kb"


def answers(kb: Path) -> list[tuple[str | None, float]]:
    qa = OpenQA.load(kb)
    # By vectors alone: how rare a word is also depends on blocks that are gone.
    found = qa.ask_many(QUESTIONS, searching=Searching(hybrid=False))
    return [(answer.text, round(answer.confidence, 3)) for answer in found]


def assert_equal_contents(kb: Path, clean: Path, documents: list[Document]) -> None:
    one, other = (KnowledgeBase.open(folder) for folder in (kb, clean))
    one.verify()
    for document in documents:
        assert one.document(document.id).text == other.document(document.id).text == document.text
    assert one.manifest.documents == other.manifest.documents == len(documents)
    contents = []
    for base in (one, other):
        gone = set(base.tombstones.tolist())
        rows = [row for row in range(base.manifest.blocks) if row not in gone]
        blocks = [stored.block for stored in base.take_blocks(rows)]
        contents.append(
            {block.id: (block, base.vectors.take(np.array([row]))) for row, block in zip(rows, blocks, strict=True)}
        )
        assert len(contents[-1]) == len(rows)
    assert contents[0].keys() == contents[1].keys()
    for key, (block, vector) in contents[0].items():
        assert block == contents[1][key][0]
        np.testing.assert_allclose(vector, contents[1][key][1], rtol=2**-9, atol=1e-4)
    assert answers(kb) == answers(clean)


def wait_for_progress(kb: Path, seconds: float = 30.0) -> None:
    """Until the run has completed a step since now."""
    path = kb / "pending.json"
    before = path.stat().st_mtime_ns if path.exists() else 0
    end = time.monotonic() + seconds
    while time.monotonic() < end and (not path.exists() or path.stat().st_mtime_ns == before):
        time.sleep(0.001)


def test_killed_again_and_again_it_keeps_the_last_version_and_ends_as_a_clean_run(
    nursery: Nursery, tmp_path: Path, tiny: ModelFolder, clean: Path
) -> None:
    kb, source = tmp_path / "kb", write_jsonl(tmp_path / "source.jsonl", OLD)
    index_sources(kb, [source], tiny)
    before = answers(kb)
    write_jsonl(source, NEW)
    chance = random.Random(5)
    for attempt in range(6):
        if attempt % 2:  # from outside, at any moment, also while Lance writes
            child = nursery.start(kb, source, tiny.folder)
            wait_for_progress(kb)
            time.sleep(chance.random() * 0.03)
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            status, _ = nursery.wait()
        else:  # from inside, between two things it does
            status, _ = nursery.run(kb, source, tiny.folder, kill_at=chance.randint(2, 40))
        if status == 0:  # on a busy machine it may be done before it is killed
            break
        assert status == -signal.SIGKILL
        assert KnowledgeBase.open(kb).manifest.version == 1
        assert answers(kb) == before
    report = index_sources(kb, [source], tiny)
    assert report.resumed == (status != 0)
    assert report.unchanged > 3
    assert_equal_contents(kb, clean, NEW)
    assert not (kb / "pending.json").exists()


def test_a_first_run_that_is_killed_leaves_no_knowledge_base_and_the_next_one_makes_it(
    nursery: Nursery, tmp_path: Path, tiny: ModelFolder, clean: Path
) -> None:
    kb, source = tmp_path / "kb", write_jsonl(tmp_path / "source.jsonl", NEW)
    for kill_at in (1, 2, 3, 9, 33):
        status, _ = nursery.run(kb, source, tiny.folder, kill_at)
        assert status == -signal.SIGKILL
        with pytest.raises(KnowledgeBaseError, match=r"No knowledge base|no complete version yet"):
            OpenQA.load(kb)
    assert nursery.run(kb, source, tiny.folder)[0] == 0
    assert_equal_contents(kb, clean, NEW)


def test_another_process_is_kept_out_while_one_writes(
    nursery: Nursery, tmp_path: Path, tiny: ModelFolder, shared_kb: Path
) -> None:
    kb, source = shutil.copytree(shared_kb, tmp_path / "kb"), write_jsonl(tmp_path / "source.jsonl", OLD)
    with KnowledgeBaseWriter(kb, tiny.reference, 16, 288):
        before = digests(kb)
        assert nursery.run(kb, source, tiny.folder)[0] == 2
        assert digests(kb) == before
    last_line = nursery.log.read_text(encoding="utf-8").splitlines()[-1]
    assert last_line == f"realm: {kb} is being written by another process. Wait until it is done."


def test_killed_at_each_thing_it_does_last_it_has_either_version_and_the_next_run_the_new_one(
    nursery: Nursery, tmp_path: Path, tiny: ModelFolder
) -> None:
    source, clean = write_jsonl(tmp_path / "source.jsonl", OLD), tmp_path / "clean"
    status, events = nursery.run(clean, source, tiny.folder)
    assert status == 0
    is_published = []
    for kill_at in range(events - 88, events + 1, 11):  # from the list of files to the last file deleted
        kb = tmp_path / f"kb{kill_at}"
        assert nursery.run(kb, source, tiny.folder, kill_at)[0] == -signal.SIGKILL
        is_published.append((kb / "kb.json").exists())
        assert nursery.run(kb, source, tiny.folder)[0] == 0
        assert_equal_contents(kb, clean, OLD)
    assert is_published == sorted(is_published)
    assert set(is_published) == {True, False}
