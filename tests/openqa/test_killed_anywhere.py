"""Index, embed, update, prune, remove and compact, killed at random moments: nothing that was complete is ever lost.

Eight kills in a usual run; `REALM_KILLS=100 pytest tests/openqa/test_killed_anywhere.py` for more.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pytest
from test_killed_index import Nursery
from tiny_model import stories, write_jsonl

from realm.errors import KnowledgeBaseError
from realm.openqa.compaction import compact
from realm.openqa.indexing import index_sources
from realm.openqa.knowledge_base import KnowledgeBase
from realm.openqa.model_folder import ModelFolder
from realm.openqa.verification import verify_folder
from realm.records import Document

KILLS = int(os.environ.get("REALM_KILLS", "8"))
Contents = dict[str, Document]


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """Children that run the command line and can be killed."""
    one = Nursery(tmp_path_factory.mktemp("nursery") / "log")
    yield one
    one.process.kill()
    one.process.communicate()


class Expected:
    """What a knowledge base must hold, told without it: documents by id, and the vector of any block."""

    def __init__(self, model: ModelFolder) -> None:
        self._model = model
        self._vectors: dict[str, np.ndarray] = {}

    def check(self, base: KnowledgeBase, contents: Contents) -> None:
        """Documents, blocks and vectors are those of `contents`, and every character of them is in a block."""
        documents = {id: base.document(id) for batch in base.documents.ids() for id, _ in batch}
        assert {id: (one.title, one.text) for id, one in documents.items()} == {
            id: (one.title, one.text) for id, one in contents.items()
        }
        gone = set(base.tombstones.tolist())
        rows = [row for row in range(base.manifest.blocks) if row not in gone]
        embedded = [row for row in rows if row < base.manifest.embedded]
        vectors = base.vectors.take(np.array(embedded, dtype=np.int64))
        covered = dict.fromkeys(contents, 0)
        for found, vector in zip_longest(base.take_blocks(rows), vectors):
            block = found.block
            assert block.text == contents[block.document_id].text[block.start : block.end]
            covered[block.document_id] += len("".join(block.text.split()))
            if vector is None:
                continue
            if block.id not in self._vectors:
                row = self._model.inputs.block(found.title_ids, block.token_ids, 288)
                self._vectors[block.id] = self._model.embed([row])[0]
            np.testing.assert_allclose(vector, self._vectors[block.id], rtol=2**-9, atol=1e-4)
        assert covered == {id: len("".join(one.text.split())) for id, one in contents.items()}


class Fate:
    """Commands by chance, and what each makes of the contents."""

    def __init__(self, kb: Path, source: Path, model: Path) -> None:
        self._chance = random.Random(11)
        self._kb, self._source, self._model = kb, source, model
        self._stories = stories(12, seed=3, sentences=2)

    def command(self, before: Contents) -> tuple[list[str], Contents]:
        """Arguments of a command, and what the contents are after it."""
        kind = self._chance.choice(["index", "index", "words", "embed", "prune", "remove", "compact"])
        options = ["--kb", str(self._kb)]
        if kind == "compact":
            return ["compact", *options, "--discard-pending"], before
        options.append("--discard-pending")
        if kind == "embed":
            return ["embed", *options], before
        if kind == "remove" and len(before) > 3:
            ids = self._chance.sample(sorted(before), 2)
            return ["remove", *ids, *options], {id: one for id, one in before.items() if id not in ids}
        chosen = self._chance.sample(self._stories, 6)
        documents = [replace(one, text=f"{one.text} {self._chance.randrange(2)}.") for one in chosen]
        write_jsonl(self._source, documents)
        after = {} if kind == "prune" else before
        argv = ["index", str(self._source), "--model", str(self._model), *options]
        more = {"prune": ["--prune"], "words": ["--words-only"]}.get(kind, [])
        return [*argv, *more], {**after, **{one.id: one for one in documents}}


def run_killed(nursery: Nursery, kb: Path, argv: list[str], chance: random.Random, seconds: float) -> int:
    """Run a command and kill it from inside or outside; gives its exit status."""
    if chance.random() < 0.5:
        nursery.begin(kb, argv, kill_at=chance.randint(1, 150))
        return nursery.wait()[0]
    child = nursery.begin(kb, argv)
    time.sleep(chance.random() * seconds)
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    return nursery.wait()[0]


@pytest.mark.slow
def test_killed_at_any_moment_it_opens_at_the_last_complete_version_and_the_next_run_goes_on(
    nursery: Nursery, tmp_path: Path, tiny: ModelFolder
) -> None:
    kb, source = tmp_path / "kb", tmp_path / "source.jsonl"
    contents = {one.id: one for one in stories(9, seed=3, sentences=2)}
    index_sources(kb, [write_jsonl(source, contents.values())], tiny)
    chance, fate, expected = random.Random(7), Fate(kb, source, tiny.folder), Expected(tiny)
    kills, seconds, again = 0, 1.0, None
    while kills < KILLS:
        reader, held = KnowledgeBase.open(kb), contents
        # A killed run is as often begun again as followed by another one.
        argv, after = again if again and chance.random() < 0.5 else fate.command(contents)
        begin = time.monotonic()
        status = run_killed(nursery, kb, argv, chance, seconds)
        assert status in (0, -signal.SIGKILL), nursery.log.read_text(encoding="utf-8")
        if status == 0:
            seconds = max(seconds, time.monotonic() - begin)
        kills += status != 0
        verify_folder(kb)
        base = KnowledgeBase.open(kb)
        is_new = status == 0 or base.manifest.version > reader.manifest.version
        expected.check(base, after if is_new else contents)
        again = None if is_new or "remove" in argv else (argv, after)
        contents = after if is_new else contents
        try:
            expected.check(reader, held)
        except KnowledgeBaseError as exc:
            assert "compact" in argv
            assert "dropped by realm compact" in str(exc)  # noqa: PT017
    compact(kb, discard_pending=True)
    verify_folder(kb)
    expected.check(KnowledgeBase.open(kb), contents)
    assert KnowledgeBase.versions(kb) == [KnowledgeBase.open(kb).manifest.version]


@pytest.mark.slow
def test_readers_see_one_consistent_version_while_others_write(
    nursery: Nursery, tmp_path: Path, tiny: ModelFolder
) -> None:
    kb, source = tmp_path / "kb", tmp_path / "source.jsonl"
    contents = {one.id: one for one in stories(9, seed=3, sentences=2)}
    index_sources(kb, [write_jsonl(source, contents.values())], tiny)
    fate, expected = Fate(kb, source, tiny.folder), Expected(tiny)
    possible = [contents]
    is_done = threading.Event()
    failures: list[BaseException] = []
    seen: list[int] = []

    def read() -> None:
        try:
            while not is_done.is_set():
                base = KnowledgeBase.open(kb)
                texts = {id: base.document(id).text for batch in base.documents.ids() for id, _ in batch}
                held = [one for one in possible if {id: d.text for id, d in one.items()} == texts]
                assert held, f"version {base.manifest.version} is none that was written"
                expected.check(base, held[0])
                seen.append(base.manifest.version)
        except KnowledgeBaseError as exc:
            if "dropped by realm compact" in str(exc):
                return read()
            failures.append(exc)
        except BaseException as exc:  # noqa: BLE001 - told in the main thread
            failures.append(exc)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(6):
        argv, after = fate.command(possible[-1])
        possible.append(after)
        nursery.begin(kb, argv)
        status, _ = nursery.wait()
        assert status == 0, nursery.log.read_text(encoding="utf-8")
    is_done.set()
    reader.join()
    assert not failures, failures[0]
    assert seen == sorted(seen)
    assert len(set(seen)) > 2
